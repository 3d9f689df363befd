"""Byte ranges (RFC 9110 §14): parts of a representation of known size.

What overlaps or lies so near that a part of its own would cost more than the gap is merged, so that an answer
is never much longer than the representation. A request for more ranges than `MOST_RANGES` gets the whole,
which §14.2 allows: hardly a client needs them, and each costs a head of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["MOST_RANGES", "ByteRange", "parse_ranges"]

MOST_RANGES = 16
_SPECIFIER = re.compile(rb"[Bb][Yy][Tt][Ee][Ss]=(.*)", re.DOTALL)
_RANGE = re.compile(rb"[ \t]*(?:([0-9]{1,19})-([0-9]{0,19})|-([0-9]{1,19}))[ \t]*")
_NEAR = 80  # bytes of the head of a part, about (RFC 9110 §15.3.7.2)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `start` up to but not including `stop`."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def content_range(self, size: int) -> bytes:
        """The Content-Range field for a representation of *size* bytes (RFC 9110 §14.4)."""
        return b"bytes %d-%d/%d" % (self.start, self.stop - 1, size)


def parse_ranges(value: bytes, size: int) -> list[ByteRange] | None:
    """The ranges that *value* asks for out of *size* bytes, in its order, or merged and in that of the bytes.

    None where the field is to be ignored: not understood, another unit, more than `MOST_RANGES`. Empty where
    all of them lie outside (416).
    """
    match = _SPECIFIER.fullmatch(value)
    if match is None:
        return None
    specs = [spec for spec in match[1].split(b",") if spec.strip(b" \t")]  # RFC 9110 §5.6.1.2: empty elements
    if not 0 < len(specs) <= MOST_RANGES:
        return None
    ranges: list[ByteRange] = []
    for spec in specs:
        one = _RANGE.fullmatch(spec)
        if one is None:
            return None
        first, last, suffix = one.groups()
        start, stop = 0, size
        if suffix is not None:
            start = max(0, size - int(suffix))
        else:
            start = int(first)
            if last and int(last) < start:
                return None  # invalid, so the field is ignored (RFC 9110 §14.1.1)
            stop = min(size, int(last) + 1) if last else size
        if start < stop:
            ranges.append(ByteRange(start, stop))
    return _merged(ranges)


def _merged(ranges: list[ByteRange]) -> list[ByteRange]:
    result: list[ByteRange] = []
    for one in sorted(ranges, key=lambda one: one.start):
        if result and one.start <= result[-1].stop + _NEAR:
            result[-1] = ByteRange(result[-1].start, max(result[-1].stop, one.stop))
        else:
            result.append(one)
    return ranges if len(result) == len(ranges) else result
