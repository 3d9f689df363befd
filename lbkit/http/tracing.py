"""Trace Context (W3C Recommendation, level 1): `traceparent` and `tracestate`.

A proxy takes part in a trace by passing it on with an id of its own as the parent of what the server does
(§3.2, "mutating the traceparent"). One that is malformed is none, and `tracestate` goes with it (§3.3); then
a new trace begins here. It is marked as sampled: else servers that follow their parent would record nothing
at all.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["TraceParent", "begin_trace", "parse_traceparent", "valid_tracestate"]

_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_KEY = rb"(?:[a-z][_0-9a-z*/-]{0,255}|[a-z0-9][_0-9a-z*/-]{0,240}@[a-z][_0-9a-z*/-]{0,13})"
_MEMBER = re.compile(_KEY + rb"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
_MOST_MEMBERS = 32  # §3.3.1.1
_SAMPLED = b"01"


@dataclass(frozen=True, slots=True)
class TraceParent:
    """One hop of a trace: hexadecimal digits, in lower case."""

    trace: bytes
    parent: bytes
    flags: bytes

    def child(self, rng: random.Random) -> TraceParent:
        """The next hop, whose parent is a new id."""
        return TraceParent(self.trace, _digits(rng, 64), self.flags)

    def __bytes__(self) -> bytes:
        """The field's value, in version 00, which is all that is known here (§3.2.2)."""
        return b"00-%b-%b-%b" % (self.trace, self.parent, self.flags)


def begin_trace(rng: random.Random) -> TraceParent:
    """A new trace, sampled."""
    return TraceParent(_digits(rng, 128), _digits(rng, 64), _SAMPLED)


def _digits(rng: random.Random, bits: int) -> bytes:
    """*bits* random ones; all zeros would be no id (§3.2.2.3)."""
    return b"%0*x" % (bits // 4, rng.getrandbits(bits) or 1)


def parse_traceparent(values: Sequence[bytes]) -> TraceParent | None:
    """What the fields of that name say; None where there is none, more than one, or one that is malformed.

    Of a version above 00 the beginning counts, which has this form (§4.3).
    """
    if len(values) != 1:
        return None
    match = _PARENT.fullmatch(values[0])
    if match is None or match[1] == b"ff" or (match[1] == b"00" and match[5] is not None):
        return None
    if match[2] == b"0" * 32 or match[3] == b"0" * 16:
        return None
    flags = match[4] if match[1] == b"00" else b"%02x" % (int(match[4], 16) & 1)
    return TraceParent(match[2], match[3], flags)


def valid_tracestate(values: Sequence[bytes]) -> bytes:
    """All fields of that name as one; empty where there is nothing, or anything malformed."""
    members = [member.strip(b" \t") for value in values for member in value.split(b",")]
    members = [member for member in members if member]
    if len(members) > _MOST_MEMBERS or not all(_MEMBER.fullmatch(member) for member in members):
        return b""
    keys = [member.partition(b"=")[0] for member in members]
    return b",".join(members) if len(set(keys)) == len(keys) else b""
