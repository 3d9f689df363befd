"""Byte ranges (RFC 9110 §14): one range of a representation of known size.

A request for several ranges gets the whole representation, which §14.2 allows; multipart answers
are an attack surface that hardly any client needs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["ByteRange", "parse_range"]

_SINGLE = re.compile(rb"bytes=[ \t]*(?:([0-9]{1,19})-([0-9]{0,19})|-([0-9]{1,19}))[ \t]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `start` up to but not including `stop`; an empty one cannot be satisfied (416)."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def content_range(self, size: int) -> bytes:
        """The Content-Range field for a representation of *size* bytes (RFC 9110 §14.4)."""
        if not len(self):
            return b"bytes */%d" % size
        return b"bytes %d-%d/%d" % (self.start, self.stop - 1, size)


def parse_range(value: bytes, size: int) -> ByteRange | None:
    """The range that *value* asks for out of *size* bytes.

    None where the field is to be ignored: not understood, another unit, several ranges. An empty
    `ByteRange` where it lies outside (416).
    """
    match = _SINGLE.fullmatch(value)
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        return ByteRange(max(0, size - int(suffix)), size)
    start = int(first)
    if last and int(last) < start:
        return None  # invalid, so the field is ignored (RFC 9110 §14.1.1)
    stop = min(size, int(last) + 1) if last else size
    return ByteRange(start, stop) if start < stop else ByteRange(0, 0)
