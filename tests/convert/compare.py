"""Reads messages before and after a conversion to 7 bits, and says where they differ.

Standard input holds one JSON object a line: name, before and after (base64). Each leaf must have
the type and the decoded octets that it had, and stand in 7 bits. Prints one line a difference.
A message with defects that make readers disagree on where its parts are is named on standard
error, and not compared.
"""

import base64
import email
import json
import sys
from email import errors

AMBIGUOUS = (
    errors.FirstHeaderLineIsContinuationDefect,
    errors.MissingHeaderBodySeparatorDefect,
    errors.NoBoundaryInMultipartDefect,
    errors.StartBoundaryNotFoundDefect,
)


def leaves(message):
    return [part for part in message.walk() if not part.is_multipart()]


def judge(name, before, after):
    before, after = email.message_from_bytes(before), email.message_from_bytes(after)
    for part in before.walk():
        for defect in part.defects:
            if isinstance(defect, AMBIGUOUS):
                print(f"not compared: {name}: {type(defect).__name__}", file=sys.stderr)
                return None
    before, after = leaves(before), leaves(after)
    if len(before) != len(after):
        return f"{len(before)} leaves are {len(after)}"
    for number, (old, new) in enumerate(zip(before, after)):
        if old.get_content_type() != new.get_content_type():
            return f"leaf {number}: {old.get_content_type()} is {new.get_content_type()}"
        if old.get_payload(decode=True) != new.get_payload(decode=True):
            return f"leaf {number}: other octets"
        if not new.get_payload().isascii():
            return f"leaf {number}: 8-bit"
    return None


for line in sys.stdin:
    message = json.loads(line)
    sides = (base64.b64decode(message[side]) for side in ("before", "after"))
    fault = judge(message["name"], *sides)
    if fault:
        print(f"{message['name']}: {fault}")
