"""Connection limits, the queue in front of them, and the retry budget of a `Pool`."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

import pytest

from lbkit.balancing import Balancer
from lbkit.errors import NoServerAvailable, PoolFull
from lbkit.health import OutlierRules
from lbkit.pool import AdminState, HealthRules, Pool, PoolSettings, Waiter, make_balancer
from lbkit.registry import NoOptions
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


def test_who_waits_for_just_one_server_still_gets_it_while_it_drains() -> None:
    pool = limited_pool(1, 1)
    fill(pool)
    line = Line(pool)
    pool.set_state("a", AdminState.DRAIN, 1.0)
    line.join("sticks to a", only=pool["a"])
    line.join("newcomer")
    pool.release(pool["a"], 2.0)
    assert line.woken == [("sticks to a", "a")], (
        "a server that drains takes those that stick to it, and nobody else"
    )
    pool.release(pool["a"], 3.0)
    pool.release(pool["b"], 3.0)
    assert line.woken[1:] == [("newcomer", "b")]


@pytest.mark.parametrize("how", ["removed", "moved", "maintenance", "down"])
def test_who_waits_for_just_one_server_takes_any_when_that_one_is_lost(how: str) -> None:
    servers = [Server(name, f"127.0.0.1:{port}", max_connections=1) for port, name in enumerate("ab", 1)]
    pool = Pool(
        "p", servers, make_balancer("round_robin", random.Random(7)), rules=HealthRules(checked=True, fall=1)
    )
    for name in "ab":
        pool.observe(name, True, "fine", 0.0)
    fill(pool)
    line = Line(pool)
    line.join("sticks to a", only=pool["a"])
    old = pool["a"]
    match how:
        case "removed":
            pool.change([pool["b"]], 1.0)
        case "moved":
            pool.change([Server("a", "127.0.0.1:9", max_connections=1), pool["b"]], 1.0)
        case "maintenance":
            pool.set_state("a", AdminState.MAINT, 1.0)
        case "down":
            pool.observe("a", False, "refused", 1.0)
    pool.release(old, 2.0)
    assert line.woken == []
    pool.release(pool["b"], 2.0)
    assert line.woken == [("sticks to a", "b")]


def test_an_owner_that_does_not_look_at_the_time_loses_little() -> None:
    """Live pools are looked at while there are sessions; the first one after a pause must not go by old news."""
    pool = make_pool(Server("a", "127.0.0.1:1", max_connections=16, slow_start=16), rise=1)
    pool.driven = True
    pool.observe("a", True, "fine", 0.0)
    assert len(fill(pool, 1.1)) == 1, "its owner will look soon"
    assert len(fill(pool, 60.0)) == 15


def test_one_that_fails_to_be_woken_does_not_keep_the_others_asleep() -> None:
    pool = limited_pool(1)
    fill(pool)
    line = Line(pool)

    def broken(waiter: Waiter) -> None:
        raise RuntimeError("a bug of whoever waits")

    pool.wait(0.0, 1.0, broken)
    line.join("next", deadline=1.0)
    with pytest.raises(RuntimeError):
        pool.advance(2.0)
    assert line.woken == [("next", None)]


def test_a_reload_refused_changes_nothing() -> None:
    pool = limited_pool(1)
    settings, rules = pool.settings, pool.rules
    with pytest.raises(ValueError, match='called "a"'):
        pool.reconfigure(
            make_servers(1) * 2,
            balancer=None,
            rules=HealthRules(outlier=OutlierRules()),
            settings=PoolSettings(max_queue=7),
            now=1.0,
        )
    assert (pool.settings, pool.rules) == (settings, rules)
    pool.set_weight("a", 2, 2.0)


def test_servers_that_are_all_full_are_not_looked_at_one_by_one() -> None:
    class Counting(Balancer):
        picks = 0

        def update(self, candidates: Sequence[Server], now: float) -> None:
            self.first = candidates[0]

        def pick(
            self, now: float, key: bytes | None = None, exclude: Collection[Server] = ()
        ) -> Server | None:
            self.picks += 1
            return None if self.first in exclude else self.first

    balancer = Counting(NoOptions(), random.Random(7))
    pool = Pool("p", [Server("a", "127.0.0.1:1", max_connections=1)], balancer)
    fill(pool)
    assert balancer.picks == 1
    with pytest.raises(PoolFull):
        pool.pick(1.0)
    assert balancer.picks == 1
    pool.release(pool["a"], 2.0)
    assert pool.pick(2.0).name == "a"
