from __future__ import annotations

import math

from lbkit.health import Advice
from lbkit.pool import AdminState, Known, Pool, Standing
from lbkit.server import Server
from tests.support.servers import make_pool, make_servers


def checked() -> Pool:
    """Servers a and b as a process that checks them knows them, at 100 s."""
    a, b = make_servers(1, 2)
    pool = make_pool(a, b, rise=2, fall=3)
    pool.observe("a", True, "connected", 10.0)
    pool.observe("b", False, "connection refused", 10.0)
    return pool


def test_another_process_gets_the_same_picture() -> None:
    pool, other = checked(), make_pool(*make_servers(1, 2), rise=2, fall=3)
    pool.observe("a", False, "timeout", 20.0)
    pool.set_state("b", AdminState.DRAIN, 20.0)
    pool.advise("a", Advice(percent=50, limit=7, reason="tired"), 20.0)
    other.learn(pool.known(100.0), 1100.0)
    for name in "ab":
        mine, its = pool.member(name), other.member(name)
        assert (its.standing, its.why, its.admin) == (mine.standing, mine.why, mine.admin)
        assert its.health.streak == mine.health.streak
        assert its.health.changed_at == mine.health.changed_at + 1000
    assert (other["a"].effective_weight, other["a"].limit) == (0.5, 7)


def test_members_are_taken_over() -> None:
    pool, other = checked(), make_pool(*make_servers(1, 2, 3), rise=2, fall=3)
    kept = other["a"]
    pool.set_weight("a", 9, 20.0)
    pool.change([pool["a"], Server("b", "127.0.0.1:99", max_connections=4)], 20.0)
    other.learn(pool.known(30.0), 30.0)
    assert [(one.name, str(one.address)) for one in other] == [("a", "127.0.0.1:1"), ("b", "127.0.0.1:99")]
    assert other["a"] is kept
    assert (kept.weight, other["b"].max_connections) == (9, 4)


def test_health_that_is_known_here_stays() -> None:
    pool, other = checked(), checked()
    for _ in range(3):
        other.observe("a", False, "errors in live traffic", 20.0)
    other.learn(pool.known(30.0), 30.0)
    assert other.member("a").standing is Standing.DOWN


def test_a_server_that_was_ready_there_does_not_start_slowly_here() -> None:
    server = Server("a", "127.0.0.1:1", weight=16, slow_start=10.0)
    pool = make_pool(server, rise=2, fall=3)
    pool.observe("a", True, "connected", 0.0)
    for age in (5.0, 60.0):
        pool.advance(age)
        other = make_pool(Server("a", "127.0.0.1:1", weight=16, slow_start=10.0), rise=2, fall=3)
        other.learn(pool.known(age), 1000.0)
        assert other["a"].effective_weight == pool["a"].effective_weight > 1


def test_a_server_that_was_ready_since_ever() -> None:
    pool = make_pool(*make_servers(1))
    (known,) = pool.known(5.0)
    assert known.ready_for is None
    assert known.ready_since(7.0) == -math.inf
    assert Known.of(pool.member("a"), 5.0) == known
