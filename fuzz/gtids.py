"""Sets of global transaction ids, which come from servers and from clients' cookies."""

from __future__ import annotations

import contextlib

from fuzz.target import Target
from lbkit.mysql.gtid import GtidSet

__all__ = ["TARGETS"]

UUID = b"3e11fa47-71ca-11e1-9e33-c80aa9429562"


def check_sets(data: bytes) -> None:
    """What is read is written so that it reads the same, and the arithmetic holds."""
    first, _, second = data.decode("utf-8", "replace").partition("\0")
    with contextlib.suppress(ValueError):
        one, other = GtidSet.parse(first), GtidSet.parse(second)
        assert GtidSet.parse(str(one)) == one
        both = one | other
        assert one <= both and other <= both
        assert both - other <= one
        assert not (one - other) or not one <= other
        assert (both - other).count + other.count == both.count


TARGETS = (
    Target(
        "gtids",
        check_sets,
        (
            UUID + b":1-5:9,\n" + UUID + b":tag:1-3\0" + UUID + b":4-20",
            b"0-1-7,0-2-9\x000-1-3",
            UUID.replace(b"-", b"") + b":1:2:3",
            b"\0",
        ),
    ),
)
