from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.http.ranges import ByteRange, parse_range

EMPTY = ByteRange(0, 0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"bytes=0-4", ByteRange(0, 5)),
        (b"Bytes=0-0", ByteRange(0, 1)),
        (b"bytes=5-", ByteRange(5, 10)),
        (b"bytes=-3", ByteRange(7, 10)),
        (b"bytes=-99", ByteRange(0, 10)),
        (b"bytes=9-99", ByteRange(9, 10)),
        (b"bytes=10-", EMPTY),
        (b"bytes=99-100", EMPTY),
        (b"bytes=4-3", None),
        (b"bytes=0-1,3-4", None),
        (b"items=0-1", None),
        (b"bytes=-", None),
        (b"bytes=a-b", None),
        (b"bytes=+1-2", None),
        (b"bytes=0x1-2", None),
        (b"bytes=99999999999999999999-", None),
    ],
)
def test_ranges_of_ten_bytes(value: bytes, expected: ByteRange | None) -> None:
    assert parse_range(value, 10) == expected


def test_an_empty_suffix_cannot_be_satisfied() -> None:
    for value, size in ((b"bytes=-0", 10), (b"bytes=-1", 0), (b"bytes=0-", 0)):
        found = parse_range(value, size)
        assert found is not None and not len(found)


def test_content_range() -> None:
    assert ByteRange(2, 5).content_range(10) == b"bytes 2-4/10"
    assert EMPTY.content_range(10) == b"bytes */10"


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 40))
def test_a_range_is_what_slicing_gives(first: int, last: int, size: int) -> None:
    data = bytes(range(size))
    found = parse_range(b"bytes=%d-%d" % (first, last), size)
    if found is not None:
        assert data[found.start : found.stop] == data[first : last + 1]
