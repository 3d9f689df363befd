from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from lbkit.pool.queue import Queue, Waiter
from tests.support.servers import make_servers

A, B, C = make_servers(1, 1, 1)


def waiter(deadline: float = math.inf, exclude=(), only=None) -> Waiter:  # type: ignore[no-untyped-def]
    return Waiter(deadline, lambda _: None, exclude, only)


def test_first_come_first_served_but_nobody_gets_what_he_does_not_want() -> None:
    queue = Queue()
    picky, stuck, any_one = waiter(exclude=[A]), waiter(only=B), waiter()
    for one in (picky, stuck, any_one):
        queue.add(one)
    assert queue.take(A) is any_one
    assert queue.take(A) is None
    assert queue.take(C) is picky
    assert queue.take(C) is None
    assert queue.take(B) is stuck
    assert len(queue) == 0


def test_who_left_is_not_there() -> None:
    queue, one = Queue(), waiter(5)
    queue.add(one)
    assert queue.remove(one)
    assert not queue.remove(one)
    assert queue.take(A) is None
    assert queue.next_deadline() == math.inf


@given(st.lists(st.integers(0, 50), max_size=30), st.lists(st.integers(0, 60), max_size=10))
def test_those_whose_time_is_over_leave_in_order_and_at_their_time(
    deadlines: list[int], looks: list[int]
) -> None:
    queue = Queue()
    waiters = [waiter(deadline) for deadline in deadlines]
    for one in waiters:
        queue.add(one)
    left = waiters
    for now in sorted(looks):
        assert queue.next_deadline() <= min((one.deadline for one in left), default=math.inf)
        over = queue.expire(now)
        assert over == [one for one in left if one.deadline <= now]
        left = [one for one in left if one.deadline > now]
    assert len(queue) == len(left)
