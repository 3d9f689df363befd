"""Connection limits, the queue in front of them, and the retry budget of a `Pool`."""

from __future__ import annotations

import random

import pytest

from lbkit.errors import NoServerAvailable, PoolFull
from lbkit.pool import AdminState, Pool, PoolSettings, Waiter, make_balancer
from lbkit.server import Outcome, Server
from tests.support.servers import make_pool, make_servers


def limited_pool(*limits: int, **settings: float) -> Pool:
    servers = [Server(chr(97 + i), f"127.0.0.1:{i + 1}", max_connections=n) for i, n in enumerate(limits)]
    balancer = make_balancer("round_robin", random.Random(7))
    return Pool("p", servers, balancer, settings=PoolSettings(**settings))  # type: ignore[arg-type]


def fill(pool: Pool, now: float = 0.0) -> list[Server]:
    taken = []
    while True:
        try:
            server = pool.pick(now)
        except PoolFull:
            return taken
        pool.acquire(server, now)
        taken.append(server)


class Line:
    """Those who wait, and what each was woken with."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.woken: list[tuple[str, str | None]] = []

    def join(self, name: str, deadline: float = 100.0, **wanted: object) -> Waiter:
        def wake(waiter: Waiter) -> None:
            self.woken.append((name, waiter.server.name if waiter.server else None))

        return self.pool.wait(0.0, deadline, wake, **wanted)  # type: ignore[arg-type]


def test_a_full_pool_says_so_and_a_dead_one_too() -> None:
    pool = limited_pool(1, 2)
    assert [server.name for server in fill(pool)] == ["a", "b", "b"]
    with pytest.raises(PoolFull, match='every server available in pool "p" is at its connection limit'):
        pool.pick(0)
    assert pool.unavailable == 0
    with pytest.raises(NoServerAvailable, match="a full .1 connections., b full") as caught:
        pool.pick(0, None, list(pool))
    assert not isinstance(caught.value, PoolFull), "nobody is left that could come free"


def test_a_place_that_comes_free_goes_to_the_first_in_line_and_never_to_a_newcomer() -> None:
    pool = limited_pool(1, 1)
    fill(pool)
    line = Line(pool)
    for name in ("first", "second", "third"):
        line.join(name)
    pool.release(pool["b"], 1.0)
    assert line.woken == [("first", "b")]
    with pytest.raises(PoolFull):
        pool.pick(1.0)
    pool.release(pool["b"], 2.0)
    pool.release(pool["a"], 2.0)
    assert line.woken == [("first", "b"), ("second", "b"), ("third", "a")]
    assert (pool.waiting, pool.queued) == (0, 3)
    assert [server.open_sessions for server in pool] == [1, 1], "acquired for those who waited"


def test_who_left_or_waited_too_long_gets_no_place() -> None:
    pool = limited_pool(1)
    fill(pool)
    line = Line(pool)
    left = line.join("left")
    line.join("late", deadline=5.0)
    line.join("patient", deadline=9.0)
    pool.leave(left)
    assert pool.next_deadline() == 5.0
    pool.advance(4.9)
    assert line.woken == []
    pool.advance(5.0)
    assert line.woken == [("late", None)]
    pool.release(pool["a"], 6.0)
    assert line.woken[1:] == [("patient", "a")]
    assert pool.queue_timeouts == 1


def test_a_pick_looks_at_the_time_where_nobody_else_does() -> None:
    pool = limited_pool(1)
    fill(pool)
    line = Line(pool)
    line.join("late", deadline=5.0)
    pool.driven = True
    with pytest.raises(PoolFull):
        pool.pick(6.0)
    assert line.woken == []
    pool.driven = False
    with pytest.raises(PoolFull):
        pool.pick(6.0)
    assert line.woken == [("late", None)]


def test_the_queue_is_bounded() -> None:
    pool = limited_pool(1, max_queue=2)
    fill(pool)
    line = Line(pool)
    line.join("one")
    line.join("two")
    with pytest.raises(PoolFull, match=r'the queue of pool "p" is full \(2 waiting\)'):
        line.join("three")
    assert pool.queue_refused == 1
    nobody = limited_pool(1, max_queue=0)
    fill(nobody)
    with pytest.raises(PoolFull, match="at its connection limit"):
        Line(nobody).join("one")


def test_those_who_tried_a_server_or_stick_to_one_wait_for_what_they_can_use() -> None:
    pool = limited_pool(1, 1)
    fill(pool)
    line = Line(pool)
    line.join("tried a", exclude=(pool["a"],))
    line.join("sticks to b", only=pool["b"])
    pool.release(pool["a"], 1.0)
    assert line.woken == []
    assert pool.pick(1.0).name == "a", "nobody in line wants it"
    pool.release(pool["b"], 1.0)
    assert line.woken == [("tried a", "b")]


def test_a_server_that_leaves_gives_no_places_and_one_that_comes_gives_its_own() -> None:
    pool = limited_pool(1, 1)
    fill(pool)
    line = Line(pool)
    line.join("one")
    pool.set_state("a", AdminState.DRAIN, 1.0)
    pool.release(pool["a"], 2.0)
    assert line.woken == []
    pool.set_state("a", AdminState.READY, 3.0)
    assert line.woken == [("one", "a")]
    line.join("two")
    pool.change([*pool, Server("c", "127.0.0.1:9", max_connections=1)], 4.0)
    assert line.woken[1:] == [("two", "c")]


def test_who_is_woken_may_free_its_place_at_once() -> None:
    pool = limited_pool(1)
    fill(pool)
    order: list[int] = []

    def join(number: int) -> None:
        def wake(waiter: Waiter) -> None:
            order.append(number)
            assert waiter.server is not None
            pool.release(waiter.server, 1.0, 0.0, Outcome.CONNECT_FAILED)

        pool.wait(0.0, 9.0, wake)

    for number in range(1000):  # were it a recursion, it would be too deep
        join(number)
    pool.release(pool["a"], 1.0)
    assert order == list(range(1000))
    assert pool["a"].open_sessions == pool.open_sessions == 0


def test_slow_start_holds_for_the_limit_too() -> None:
    pool = make_pool(Server("a", "127.0.0.1:1", max_connections=16, slow_start=16), rise=1)
    pool.observe("a", True, "fine", 0.0)
    assert len(fill(pool, 0.0)) == 1
    assert len(fill(pool, 1.0)) == 1
    assert len(fill(pool, 16.0)) == 14


def test_retries_have_a_budget() -> None:
    pool = make_pool(*make_servers(1))
    assert [pool.start_retry() for _ in range(5)] == [True] * 3 + [False] * 2, "three always"
    assert pool.retries_refused == 2
    pool.end_retry()
    assert pool.start_retry()
    for _ in range(50):
        pool.acquire(pool["a"], 0)
    assert [pool.start_retry() for _ in range(9)] == [True] * 7 + [False] * 2, "20 % of 50, three were taken"
