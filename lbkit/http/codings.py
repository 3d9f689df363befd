"""Which content coding a client gets: Accept-Encoding (RFC 9110 §12.5.3)."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["choose_coding"]

_MEMBER = re.compile(
    rb"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:[ \t]*;[ \t]*[Qq]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?[ \t]*"
)
_LONGEST = 1024


def choose_coding(accept: bytes | None, offered: Sequence[bytes]) -> bytes:
    """One of *offered*, or ``b""`` for no coding at all, by the weights of the field *accept*.

    Of several that are equally welcome the first of *offered* is taken; no coding is taken where nothing else
    is as welcome, and where nothing is (the RFC would allow 406, with which nobody is served). Members that
    cannot be read, and those of fields of more than 1 KiB, are as if they were not there.
    """
    if not accept or len(accept) > _LONGEST:
        return b""
    weights: dict[bytes, float] = {}
    for member in accept.split(b","):
        match = _MEMBER.fullmatch(member)
        if match is not None:
            name = match[1].lower().removeprefix(b"x-")  # RFC 9110 §8.4.1.3: x-gzip is gzip
            weights[name] = 1.0 if match[2] is None else float(match[2])
    others = weights.get(b"*", 0.0)
    best, weight = b"", weights.get(b"identity", 0.0)
    for coding in reversed(offered):
        one = weights.get(coding, others)
        if one > 0 and one >= weight:
            best, weight = coding, one
    return best
