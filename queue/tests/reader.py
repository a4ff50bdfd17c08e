#!/usr/bin/env python3
"""Reads a spool from outside: an independent reading of FORMAT.md, with the standard library alone.

    reader.py SPOOL

Prints each live message as a JSON object on a line of its own, in the order of the identifiers.
Where a segment has a footer, it is walked as well, and the two must agree. Exits 1 and names on
standard error what is damaged; 0 otherwise. It writes nothing and takes no lock: read a copy, or a
spool that nobody has open.
"""

import hashlib
import json
import os
import re
import struct
import sys
import zlib

BLOCK = 4096
VERSION = 2
FREE, LOG, BULK, KEPT, SUPERBLOCK = range(5)
APPEND, MOVED, UPDATE, HOLD, RELEASE, REMOVE, TOLD, VIA = range(1, 9)
NEWEST = 1 << 64


class Damage(Exception):
    """Something is not what FORMAT.md says."""


class Label:
    def __init__(self, octets):
        fields = struct.unpack_from("<8sIIIIQQQQI", octets.ljust(60, b"\0"))
        magic, self.version, self.usage, self.slot, self.epoch = fields[:5]
        self.secret, self.serial, self.first, self.size, crc = fields[5:]
        if magic != b"ANGARIUM" or zlib.crc32(octets[:56]) != crc:
            raise Damage("no label")
        if self.version != VERSION:
            raise Damage(f"version {self.version}")
        seed = struct.pack("<QIIQ", self.secret, self.slot, self.epoch, self.serial)
        self.seed = zlib.crc32(seed)

    def seal(self, offset, octets):
        return zlib.crc32(octets, zlib.crc32(struct.pack("<Q", offset), self.seed))


class Fields:
    """Octets taken from the front."""

    def __init__(self, octets):
        self.octets, self.at = octets, 0

    def take(self, count):
        part = self.octets[self.at : self.at + count]
        if len(part) < count:
            raise Damage("a record is too short")
        self.at += count
        return part

    def rest(self):
        return self.take(len(self.octets) - self.at)

    def number(self, octets):
        return int.from_bytes(self.take(octets), "little")

    def text(self, count):
        return self.take(count).decode()

    def state(self):
        kind = self.number(1)
        state = {"state": ["pending", "pending", "delivered", "failed"][kind]}
        if kind < 2:
            state.update(attempts=self.number(4), due_ms=self.number(8), reason=None)
        if kind == 3:
            flags = self.number(1)
            state.update(expired=bool(flags & 1), report_owed=bool(flags & 2))
        if kind in (1, 3):
            state["reason"] = self.text(self.number(4))
        return state


def border(number, of):
    return -(-number // of) * of


def record_at(label, octets, at, offset=None):
    """The whole record at this place, sealed for `offset`; None if there is none."""
    head = octets[at : at + 8]
    if len(head) < 8:
        return None
    crc, length = struct.unpack("<II", head)
    record = octets[at : at + length]
    if length < 24 or len(record) < length:
        return None
    sealed = label.seal(at if offset is None else offset, record[4:])
    return record if sealed == crc else None


def decode(record):
    """What a record says."""
    _, _, kind, flags, zero, count, number = struct.unpack_from("<IIBBHIQ", record)
    fields = Fields(record[24:])
    meaning = {"kind": kind, "id": number}
    if kind in (APPEND, MOVED):
        meaning.update(message(fields, kind, flags, count))
    elif kind == UPDATE:
        meaning["changes"] = [(fields.number(4), fields.state()) for _ in range(count)]
    elif kind == TOLD:
        meaning["told"] = fields.number(8)
    elif kind == VIA:
        meaning["via"] = fields.rest().decode()
    elif kind not in (HOLD, RELEASE, REMOVE):
        raise Damage(f"a record of kind {kind}")
    if fields.at != len(fields.octets) or zero:
        raise Damage("a record has octets left over")
    return meaning


def message(fields, kind, flags, recipients):
    arrived, size, told, crc, tenant, via, extents, states = struct.unpack("<QQQIIIII", fields.take(44))
    found = {"arrived": arrived, "size": size, "told": told, "crc": crc}
    found.update(held=bool(flags & 1), bulk=bool(flags & 2))
    found.update(tenant=fields.text(tenant), via=fields.text(via))
    found["extents"] = [struct.unpack("<III", fields.take(12)) for _ in range(extents)]
    end = fields.at + states
    fresh = {"state": "pending", "attempts": 0, "due_ms": 0, "reason": None}
    read = fields.state if kind == MOVED else fresh.copy
    found["recipients"] = [read() for _ in range(recipients)]
    if fields.at != end:
        raise Damage("states of another length than was said")
    if recipients > len(fields.octets) - end:
        raise Damage("more recipients than octets of the envelope")
    found["envelope"] = fields.rest()
    return found


class Segment:
    def __init__(self, spool, name, octets):
        self.spool, self.name, self.octets = spool, name, octets
        self.label, self.void = Label(octets), NEWEST

    def complain(self, at, what):
        self.spool.complain(f"{self.name} at {at}: {what}")

    def footer(self):
        """Offset, octets of the body and record of each entry, and the last group; or None."""
        octets, size = self.octets, len(self.octets)
        at = size - 32
        trailer = octets[at:]
        crc, footer_crc, length, last, count, _ = struct.unpack("<IIQQII", trailer)
        begin = at - length
        if self.label.seal(at, trailer[4:]) != crc or begin < BLOCK:
            return None
        if self.label.seal(begin, octets[begin:at]) != footer_crc or last >= self.void:
            return None
        entries = []
        while begin < at:
            offset, body = struct.unpack_from("<II", octets, begin)
            record = record_at(self.label, octets, begin + 8, offset)
            if record is None:
                self.complain(begin, "an entry of a whole footer is no record")
                return None
            entries.append((offset, body, record))
            begin += 8 + border(len(record), 8)
        if len(entries) != count:
            self.complain(at, "a whole footer has another count of records")
        return entries, last

    def head_at(self, at):
        head = self.octets[at : at + 32]
        if len(head) < 32:
            return None
        crc, count, number, serial, epoch, length = struct.unpack("<IIQQII", head)
        if self.label.seal(at, head[4:]) != crc or length < 32:
            return None
        return number, count, length

    def group(self, at, count, length):
        """The records of a group, and whether it is whole."""
        entries, next_at, end = [], at + 32, at + length
        while next_at < end:
            record = record_at(self.label, self.octets[:end], next_at)
            if record is None:
                return entries, False
            try:
                meaning = decode(record)
            except (Damage, IndexError, UnicodeDecodeError):
                return entries, False
            body = 0
            if meaning["kind"] in (APPEND, MOVED) and not meaning["bulk"]:
                body = meaning["size"]
                start = next_at + len(record)
                inline = self.octets[start : min(start + body, end)]
                if len(inline) < body or zlib.crc32(inline) != meaning["crc"]:
                    return entries, False
            entries.append((next_at, body, record))
            next_at += border(len(record) + body, 8)
        return entries, len(entries) == count and end <= len(self.octets)

    def walk(self):
        """All records of whole groups, in order, and the number of the last group."""
        entries, at, following = [], BLOCK, self.label.first
        torn = None
        while at < len(self.octets):
            head = self.head_at(at)
            if head is None:
                at += BLOCK
                continue
            number, count, length = head
            if number >= self.void:
                break
            if torn or number != following:
                self.complain(at, f"group {number} is here, {following} was to follow")
            found, whole = self.group(at, count, length)
            torn = None if whole else (at, number)
            if whole:
                entries += found
            following = number + 1
            at = border(at + length, BLOCK)
        if torn:
            self.complain(torn[0], f"group {torn[1]} is not whole")
        elif self.void != NEWEST and following < self.void:
            self.complain(at, f"groups {following} to {self.void - 1} are missing")
        return entries, following - 1

    def entries(self):
        walked, last = self.walk()
        footer = self.footer()
        if footer and footer != (walked, last):
            self.complain(0, "the footer and the groups say different things")
        return footer[0] if footer else walked


class Spool:
    def __init__(self, path):
        self.path, self.damage, self.live = path, [], {}
        segments = [self.read(name) for name in sorted(os.listdir(path)) if re.fullmatch(r"\d{8,}\.segment", name)]
        segments = [segment for segment in segments if segment]
        self.bulk = {s.label.slot: s for s in segments if s.label.usage in (BULK, KEPT)}
        self.log = sorted((s for s in segments if s.label.usage == LOG), key=lambda s: s.label.serial)
        void = NEWEST
        for segment in reversed(self.log):
            segment.void, void = void, min(void, segment.label.first)
        begin = self.begin()
        self.log = [segment for segment in self.log if segment.void > begin]
        if self.log and begin < self.log[0].label.first:
            self.complain(f"groups {begin} to {self.log[0].label.first - 1} are missing")
        for segment in self.log:
            for entry in segment.entries():
                self.apply(segment, *entry)

    def complain(self, what):
        self.damage.append(what)

    def read(self, name):
        with open(os.path.join(self.path, name), "rb") as file:
            octets = file.read()
        if not octets.strip(b"\0"):
            return None
        try:
            segment = Segment(self, name, octets)
        except Damage as damage:
            self.complain(f"{name}: {damage}")
            return None
        if segment.label.slot != int(name.split(".")[0]):
            self.complain(f"{name}: the label of another slot")
        return segment

    def begin(self):
        with open(os.path.join(self.path, "superblock"), "rb") as file:
            octets = file.read()
        slots = []
        for at in (0, BLOCK):
            block = octets[at : at + 60]
            try:
                slots.append(Label(block))
            except Damage as damage:
                # One that was never written is no damage.
                if block.strip(b"\0"):
                    self.complain(f"superblock at {at}: {damage}")
        return max(slots, key=lambda label: label.serial).first if slots else 1

    def apply(self, segment, offset, body, record):
        meaning = decode(record)
        kind, number = meaning["kind"], meaning["id"]
        known = self.live.get(number)
        if kind in (APPEND, MOVED):
            meaning.update(segment=segment, at=offset + len(record), inline=body)
            if known and kind == MOVED:
                meaning["told"] = max(meaning["told"], known["told"])
                for place, state in enumerate(known["recipients"]):
                    if ended(state) and not alike(state, meaning["recipients"][place]):
                        meaning["recipients"][place] = state
            if kind == MOVED or not known:
                self.live[number] = meaning
        elif known:
            self.change(kind, meaning, known)
        if number in self.live and all(map(ended, self.live[number]["recipients"])):
            del self.live[number]

    def change(self, kind, meaning, known):
        if kind == UPDATE:
            for recipient, state in meaning["changes"]:
                recipients = known["recipients"]
                if recipient < len(recipients) and not ended(recipients[recipient]):
                    recipients[recipient] = state
        elif kind in (HOLD, RELEASE):
            known["held"] = kind == HOLD
        elif kind == REMOVE:
            del self.live[known["id"]]
        elif kind == TOLD:
            known["told"] = max(known["told"], meaning["told"])
        elif kind == VIA:
            known["via"] = meaning["via"]

    def body(self, found):
        if not found["bulk"]:
            return found["segment"].octets[found["at"] : found["at"] + found["inline"]]
        parts = []
        for slot, block, blocks in found["extents"]:
            if slot not in self.bulk:
                self.complain(f"{found['id']:016X}: segment {slot} holds no bodies")
                continue
            octets = self.bulk[slot].octets
            size = min(max(len(octets) // 64 // BLOCK * BLOCK, BLOCK), 256 << 10)
            parts.append(octets[BLOCK + block * size :][: blocks * size])
        return b"".join(parts)[: found["size"]]

    def listing(self):
        for number, found in sorted(self.live.items()):
            body = self.body(found)
            if len(body) != found["size"] or zlib.crc32(body) != found["crc"]:
                self.complain(f"{number:016X}: the body is damaged")
            yield {
                "id": f"{number:016X}",
                "arrived_ms": found["arrived"],
                "size": found["size"],
                "held": found["held"],
                "tenant": found["tenant"],
                "via": found["via"],
                "told_ms": found["told"],
                "recipients": found["recipients"],
                "envelope_sha256": hashlib.sha256(found["envelope"]).hexdigest(),
                "body_sha256": hashlib.sha256(body).hexdigest(),
            }


def alike(state, other):
    """They differ at most in the reply."""
    return {**state, "reason": None} == {**other, "reason": None}


def ended(state):
    return state["state"] == "delivered" or state["state"] == "failed" and not state["report_owed"]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    spool = Spool(sys.argv[1])
    for line in spool.listing():
        print(json.dumps(line, ensure_ascii=False))
    for what in spool.damage:
        print(what, file=sys.stderr)
    sys.exit(1 if spool.damage else 0)


if __name__ == "__main__":
    main()
