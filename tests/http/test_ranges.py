from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.http.ranges import MOST_RANGES, ByteRange, parse_ranges


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"bytes=0-4", [(0, 5)]),
        (b"Bytes=0-0", [(0, 1)]),
        (b"bytes=5-", [(5, 10)]),
        (b"bytes=-3", [(7, 10)]),
        (b"bytes=-99", [(0, 10)]),
        (b"bytes=9-99", [(9, 10)]),
        (b"bytes=10-", []),
        (b"bytes=99-100", []),
        (b"bytes=-0", []),
        (b"bytes=4-3", None),
        (b"bytes=0-1,4-3", None),
        (b"items=0-1", None),
        (b"bytes=-", None),
        (b"bytes=", None),
        (b"bytes=,", None),
        (b"bytes=a-b", None),
        (b"bytes=+1-2", None),
        (b"bytes=0x1-2", None),
        (b"bytes=99999999999999999999-", None),
        (b"bytes = 0-1", None),
        # lists (RFC 9110 §5.6.1), here of what is near enough to be merged
        (b"bytes=0-1, 3-4", [(0, 5)]),
        (b"bytes=, 0-1 ,, 1-2,", [(0, 3)]),
        (b"bytes=0-0,99-", [(0, 1)]),
        (b"bytes=20-,99-", []),
        (b"bytes=0-,0-,0-", [(0, 10)]),
    ],
)
def test_ranges_of_ten_bytes(value: bytes, expected: list[tuple[int, int]] | None) -> None:
    found = parse_ranges(value, 10)
    assert found == (None if expected is None else [ByteRange(*one) for one in expected])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # the examples of RFC 9110 §14.1.2
        (b"bytes=0-499", [(0, 500)]),
        (b"bytes=500-999", [(500, 1000)]),
        (b"bytes=-500", [(9500, 10000)]),
        (b"bytes=9500-", [(9500, 10000)]),
        (b"bytes=0-0,-1", [(0, 1), (9999, 10000)]),
        (b"bytes= 0-999, 4500-5499, -1000", [(0, 1000), (4500, 5500), (9000, 10000)]),
        (b"bytes=500-600,601-999", [(500, 1000)]),
        (b"bytes=500-700,601-999", [(500, 1000)]),
        # the order that was asked for stays
        (b"bytes=-1,0-0", [(9999, 10000), (0, 1)]),
        (b"bytes=-1,0-9,5-20", [(0, 21), (9999, 10000)]),
    ],
)
def test_ranges_of_ten_thousand_bytes(value: bytes, expected: list[tuple[int, int]]) -> None:
    assert parse_ranges(value, 10_000) == [ByteRange(*one) for one in expected]


def test_too_many_ranges_are_no_ranges() -> None:
    many = [b"%d-%d" % (place * 1000, place * 1000) for place in range(MOST_RANGES + 1)]
    assert parse_ranges(b"bytes=" + b",".join(many), 10**6) is None
    found = parse_ranges(b"bytes=" + b",".join(many[1:]), 10**6)
    assert found is not None and len(found) == MOST_RANGES


def test_nothing_of_nothing() -> None:
    for value in (b"bytes=0-", b"bytes=-1"):
        assert parse_ranges(value, 0) == []


def test_content_range() -> None:
    assert ByteRange(2, 5).content_range(10) == b"bytes 2-4/10"


@given(
    st.lists(st.tuples(st.integers(0, 900), st.integers(0, 900)), min_size=1, max_size=8), st.integers(0, 800)
)
def test_ranges_hold_what_slicing_gives_and_nothing_twice(pairs: list[tuple[int, int]], size: int) -> None:
    found = parse_ranges(b"bytes=" + b",".join(b"%d-%d" % pair for pair in pairs), size)
    if any(last < first for first, last in pairs):
        assert found is None
        return
    assert found is not None
    places = [place for one in found for place in range(one.start, one.stop)]
    assert len(places) == len(set(places)) <= size
    assert set(places) >= {place for first, last in pairs for place in range(first, min(last + 1, size))}
