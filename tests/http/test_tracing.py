from __future__ import annotations

import random

import pytest

from lbkit.http.tracing import TraceParent, begin_trace, parse_traceparent, valid_tracestate

TRACE, PARENT = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331"


@pytest.mark.parametrize(
    ("value", "flags"),
    [
        (b"00-%b-%b-01" % (TRACE, PARENT), b"01"),
        (b"00-%b-%b-00" % (TRACE, PARENT), b"00"),
        (b"00-%b-%b-03" % (TRACE, PARENT), b"03"),
        (b"01-%b-%b-09" % (TRACE, PARENT), b"01"),
        (b"cc-%b-%b-01-what-the-future-holds" % (TRACE, PARENT), b"01"),
        (b"cc-%b-%b-01-" % (TRACE, PARENT), b"01"),
    ],
)
def test_a_good_one(value: bytes, flags: bytes) -> None:
    assert parse_traceparent([value]) == TraceParent(TRACE, PARENT, flags)


@pytest.mark.parametrize(
    "values",
    [
        [],
        [b""],
        [b"00-%b-%b-01" % (TRACE, PARENT)] * 2,
        [b"ff-%b-%b-01" % (TRACE, PARENT)],
        [b"00-%b-%b-01" % (TRACE.upper(), PARENT)],
        [b"00-%b-%b-01" % (b"0" * 32, PARENT)],
        [b"00-%b-%b-01" % (TRACE, b"0" * 16)],
        [b"00-%b-%b-01-x" % (TRACE, PARENT)],
        [b"00-%b-%b-1" % (TRACE, PARENT)],
        [b"00-%b-%b" % (TRACE, PARENT)],
        [b"cc-%b-%b-01.x" % (TRACE, PARENT)],
        [b" 00-%b-%b-01" % (TRACE, PARENT)],
        [b"0x-%b-%b-01" % (TRACE, PARENT)],
    ],
)
def test_what_is_none(values: list[bytes]) -> None:
    assert parse_traceparent(values) is None


def test_a_hop_is_a_child_of_the_one_before() -> None:
    before = TraceParent(TRACE, PARENT, b"00")
    child = before.child(random.Random(1))
    assert (child.trace, child.flags) == (TRACE, b"00") and child.parent != PARENT
    assert parse_traceparent([bytes(child)]) == child


def test_a_new_trace() -> None:
    rng = random.Random(1)
    first, second = begin_trace(rng), begin_trace(rng)
    assert first.trace != second.trace and first.flags == b"01"
    assert parse_traceparent([bytes(first)]) == first

    class Zeros(random.Random):
        def getrandbits(self, k: int) -> int:
            return 0

    assert parse_traceparent([bytes(begin_trace(Zeros()))]) is not None


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ([b"rojo=00f067aa0ba902b7"], b"rojo=00f067aa0ba902b7"),
        ([b"rojo=1 , congo=t61rcWkgMzE", b"a@b=c"], b"rojo=1,congo=t61rcWkgMzE,a@b=c"),
        ([b",, a=1,"], b"a=1"),
        ([b"1a@b=c"], b"1a@b=c"),
        ([], b""),
        ([b"a=1,a=2"], b""),
        ([b"A=1"], b""),
        ([b"1a=1"], b""),
        ([b"a"], b""),
        ([b"a="], b""),
        ([b"a=b=c"], b""),
        ([b",".join(b"k%d=1" % number for number in range(33))], b""),
    ],
)
def test_the_state(values: list[bytes], state: bytes) -> None:
    assert valid_tracestate(values) == state
