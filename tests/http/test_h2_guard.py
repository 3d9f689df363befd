from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.errors import ClientError
from lbkit.http.h2_guard import Budget, FrameGuard, H2Limits

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int = 0, size: int = 0) -> bytes:
    return size.to_bytes(3, "big") + bytes([kind, flags]) + bytes(4) + bytes(size)


def guard() -> FrameGuard:
    made = FrameGuard(H2Limits(resets=3, reset_rate=1, frames=5, frame_rate=1, windows=4, window_rate=1), 0.0)
    made.feed(PREFACE, 0.0)
    return made


def test_a_budget_refills_with_time_up_to_its_burst() -> None:
    budget = Budget(2, 0.5, now=10.0)
    assert [budget.take(10.0) for _ in range(3)] == [True, True, False]
    assert [budget.take(12.0) for _ in range(2)] == [True, False]
    assert [budget.take(1000.0) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    ("kind", "flags", "size"),
    [(0, 0, 0), (2, 0, 5), (3, 0, 4), (4, 0, 6), (6, 0, 8), (7, 0, 8), (99, 0, 3)],
    ids=["empty data", "priority", "reset", "settings", "ping", "goaway", "unknown"],
)
def test_frames_that_carry_nothing(kind: int, flags: int, size: int) -> None:
    made, one = guard(), frame(kind, flags, size)
    made.feed(one * 5, 0.0)
    made.feed(one, 1.0)
    with pytest.raises(ClientError, match="carry nothing"):
        made.feed(one, 1.0)


def test_requests_and_bodies_are_no_such_frames() -> None:
    made = guard()
    made.feed((frame(1, 5, 30) + frame(0, 0, 100) + frame(0, 1, 0)) * 500, 0.0)
    assert not made.in_block


def test_windows_have_a_budget_of_their_own() -> None:
    made = guard()
    made.feed(frame(8, 0, 4) * 4, 0.0)
    with pytest.raises(ClientError, match="WINDOW_UPDATE"):
        made.feed(frame(8, 0, 4), 0.1)


def test_windows_for_what_was_sent_are_none_too_many() -> None:
    made, window = guard(), frame(8, 0, 4)
    for _ in range(1000):
        made.sent(8192)
        made.feed(window * 4, 0.0)
    made.sent(1 << 30)
    made.feed(window * 4, 0.0)
    with pytest.raises(ClientError, match="WINDOW_UPDATE"):
        made.feed(window, 0.0)


def test_settings_are_counted_one_by_one() -> None:
    made = FrameGuard(H2Limits(settings=10), 0.0)
    made.feed(PREFACE + frame(4, 0, 36) + frame(4, 1, 0) * 20 + frame(4, 0, 24), 0.0)
    with pytest.raises(ClientError, match="settings"):
        made.feed(frame(4, 0, 6), 0.0)


def test_header_blocks() -> None:
    made = guard()
    made.feed(frame(1, 0, 10), 5.0)
    assert made.in_block
    assert made.block_since == 5.0
    made.feed(frame(9, 0, 10), 6.0)
    assert made.block_since == 5.0
    made.feed(frame(9, 0, 10) * 13, 0.0)
    assert made.in_block
    made.feed(frame(9, 4, 10), 0.0)
    assert not made.in_block
    made.feed(frame(1, 0, 10), 0.0)
    with pytest.raises(ClientError, match="does not end"):
        made.feed(frame(9, 0, 0) * 16, 0.0)
    made = guard()
    with pytest.raises(ClientError, match="does not end"):
        made.feed(frame(1, 0, 16_384) + frame(9, 0, 16_384) * 4, 0.0)


def test_resets() -> None:
    made = guard()
    for _ in range(3):
        made.reset(0.0)
    with pytest.raises(ClientError, match="given up"):
        made.reset(0.5)
    made.reset(2.0)


@given(st.lists(st.integers(1, 40), max_size=60))
def test_any_split_is_the_same(sizes: list[int]) -> None:
    data = (
        PREFACE + frame(6, 0, 8) * 3 + frame(1, 0, 70) + frame(9, 4, 3) + frame(0, 0, 50) + frame(6, 0, 8) * 2
    )
    made = FrameGuard(H2Limits(frames=5, frame_rate=0), 0.0)
    at = 0
    for size in sizes:
        made.feed(data[at : at + size], 0.0)
        at += size
    made.feed(data[at:], 0.0)
    assert not made.in_block
    with pytest.raises(ClientError):
        made.feed(frame(6, 0, 8), 0.0)
