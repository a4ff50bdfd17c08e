"""Reads a report with Python's email package and prints what it found as JSON."""

import email
import email.policy
import json
import re
import sys

octets = open(sys.argv[1], "rb").read()
report = email.message_from_bytes(octets, policy=email.policy.default)
assert report.get_content_type() == "multipart/report", report.get_content_type()
parts = list(report.iter_parts())
defects = [str(defect) for part in report.walk() for defect in part.defects]

header = {name.lower(): str(value) for name, value in report.items()}
assert len(header) == len(report.items()), "a field is there twice"
header["report-type"] = report["content-type"].params["report-type"]

boundary = b"--" + report.get_boundary().encode()


def groups(part):
    """The groups of fields; the package reads those of RFC 3464 alone, not those of RFC 6533."""
    if part.get_content_type() != "message/global-delivery-status":
        return part.get_payload()
    _, _, body = octets.split(boundary)[2].partition(b"\r\n\r\n")
    texts = body.decode("utf-8").split("\r\n\r\n")
    return [email.message_from_string(text, policy=email.policy.default) for text in texts]


fields = []
for group in groups(parts[1]):
    found = {name.lower(): str(value) for name, value in group.items()}
    assert len(found) == len(group.items()), "a field is there twice"
    if found:
        fields.append(found)

original = None
if len(parts) > 2:
    raw = octets.split(boundary)[3]
    head, _, body = raw.partition(b"\r\n\r\n")
    body = body[: -len(b"\r\n")]
    if re.search(rb"encoding: quoted-printable", head, re.I):
        import quopri

        body = quopri.decodestring(body)
    original = body.hex()

json.dump(
    {
        "defects": defects,
        "header": header,
        "human": parts[0].get_content(),
        "parts": [part.get_content_type() for part in parts],
        "fields": fields,
        "original": original,
    },
    sys.stdout,
)
