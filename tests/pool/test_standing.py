"""What makes a `Pool`'s server a candidate: health, operator, agent, live traffic, time. And `explain`."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest

from lbkit.errors import NoServerAvailable
from lbkit.health import Advice, OutlierRules, PassiveRules
from lbkit.pool import AdminState, Change, HealthRules, Pool, PoolSettings, Standing, make_balancer
from lbkit.server import Outcome, Server
from tests.support.servers import make_servers


class Told(Pool):
    """Keeps what it tells."""

    changes: list[Change]


def pool_of(*servers: Server, algorithm: str = "round_robin", panic: float = 0, **rules: object) -> Told:
    balancer = make_balancer(algorithm, random.Random(7))
    settings = PoolSettings(panic_threshold=panic)
    pool = Told("p", servers, balancer, rules=HealthRules(**rules), settings=settings)  # type: ignore[arg-type]
    pool.changes = []
    pool.on_change = pool.changes.append
    return pool


def names(pool: Pool, now: float, picks: int = 60) -> str:
    return "".join(sorted({pool.pick(now).name for _ in range(picks)}))


def told(pool: Told) -> list[tuple[str, Standing]]:
    return [(change.server.name, change.standing) for change in pool.changes]


def end(pool: Pool, server: Server, outcome: Outcome, times: int = 1, now: float = 1.0) -> None:
    for _ in range(times):
        pool.acquire(server, now)
        pool.release(server, now, 0.1, outcome)


def test_drain_and_maintenance_and_back() -> None:
    pool = pool_of(*make_servers(1, 1))
    pool.set_state("a", AdminState.DRAIN, 1)
    assert names(pool, 1) == "b"
    pool.set_state("a", AdminState.MAINT, 2)
    assert names(pool, 2) == "b"
    pool.set_state("a", AdminState.READY, 3)
    assert names(pool, 3) == "ab"
    assert told(pool) == [("a", Standing.DRAIN), ("a", Standing.MAINT), ("a", Standing.UP)]
    with pytest.raises(KeyError):
        pool.set_state("x", AdminState.DRAIN, 4)


def test_a_weight_changed_at_run_time_holds_through_a_reload_of_the_same_configuration() -> None:
    pool = pool_of(*make_servers(1, 1))
    pool.set_weight("a", 3, 1)
    assert Counter(pool.pick(1).name for _ in range(40)) == {"a": 30, "b": 10}
    pool.change(make_servers(1, 1), 2)
    assert pool["a"].weight == 3
    pool.change(make_servers(2, 1), 3)
    assert pool["a"].weight == 2, "the configuration says something new"
    for weight in (-1, 257):
        with pytest.raises(ValueError, match="not from 0 to 256"):
            pool.set_weight("a", weight, 4)


def test_drain_and_health_hold_through_a_reload() -> None:
    pool = pool_of(*make_servers(1, 1, 1), checked=True, fall=1)
    for name in "abc":
        pool.observe(name, True, "fine", 0)
    pool.observe("a", False, "refused", 1)
    pool.set_state("b", AdminState.MAINT, 1)
    pool.change(make_servers(1, 1, 1), 2)
    assert names(pool, 2) == "c"


def test_a_server_that_comes_back_starts_slowly() -> None:
    a = Server("a", "127.0.0.1:1", weight=16, slow_start=16)
    b = Server("b", "127.0.0.1:2", weight=16)
    pool = pool_of(a, b, checked=True, rise=1, fall=1)
    pool.observe("a", True, "fine", 0)
    pool.observe("b", True, "fine", 0)
    assert [a.effective_weight, b.effective_weight] == [1, 16]
    shares = [Counter(pool.pick(now).name for _ in range(3200))["a"] / 3200 for now in (0.5, 8.5, 20)]
    assert shares == [pytest.approx(part / (part + 16), abs=0.01) for part in (1, 9, 16)]
    pool.observe("a", False, "refused", 30)
    pool.observe("a", True, "fine", 40)
    assert a.effective_weight == 1
    assert "slow start for another 15.0 s" in str(pool.explain(41)[0])


def test_servers_that_are_there_from_the_first_moment_are_not_started_slowly() -> None:
    a, b = (Server(name, f"127.0.0.1:{port}", slow_start=9) for port, name in enumerate("ab", 1))
    pool = pool_of(a)
    assert a.effective_weight == 1
    pool.change([a, b], 5)
    assert (a.effective_weight, b.effective_weight) == (1, 1 / 16), "one that joins later is"


def test_backups_work_in_any_algorithm_and_only_alone() -> None:
    a, b = make_servers(1, 1)
    spares = [Server(name, f"127.0.0.1:{port}", backup=True) for port, name in enumerate("xy", 8)]
    pool = pool_of(a, b, *spares, checked=True, fall=1)
    for name in "abxy":
        pool.observe(name, True, "fine", 0)
    assert names(pool, 0) == "ab"
    pool.observe("a", False, "refused", 1)
    assert names(pool, 1) == "b"
    pool.observe("b", False, "refused", 2)
    assert names(pool, 2) == "xy"
    pool.set_state("x", AdminState.DRAIN, 3)
    assert names(pool, 3) == "y"


def test_in_a_panic_health_is_ignored_but_not_the_operator() -> None:
    pool = pool_of(*make_servers(1, 1, 1, 1), checked=True, fall=1, panic=50)
    for name in "abcd":
        pool.observe(name, True, "fine", 0)
    pool.observe("a", False, "refused", 1)
    pool.observe("b", False, "refused", 1)
    assert names(pool, 1) == "cd", "half are up: not under the threshold"
    pool.observe("c", False, "refused", 2)
    assert names(pool, 2) == "abcd"
    assert "used in a panic: under 50 % are up" in str(pool.explain(2)[0])
    pool.set_state("a", AdminState.MAINT, 3)
    assert names(pool, 3) == "bcd"
    pool.observe("b", True, "fine", 4)
    pool.observe("b", True, "fine", 4)
    assert names(pool, 4) == "bd"


def test_a_server_never_seen_alive_takes_nothing_even_in_a_panic() -> None:
    pool = pool_of(*make_servers(1, 1), checked=True, panic=100)
    with pytest.raises(NoServerAvailable):
        pool.pick(0)


@pytest.mark.parametrize(
    ("on_error", "standing"),
    [("fail_check", Standing.UP), ("fast_check", Standing.UP), ("mark_down", Standing.DOWN)],
)
def test_live_errors_count_against_health(on_error: str, standing: Standing) -> None:
    passive = PassiveRules(error_limit=4, on_error=on_error)  # type: ignore[arg-type]
    pool = pool_of(*make_servers(1, 1), checked=True, rise=2, fall=3, passive=passive)
    for name in "ab":
        pool.observe(name, True, "fine", 0)
    suspects: list[str] = []
    pool.on_suspect = lambda server: suspects.append(server.name)
    end(pool, pool["a"], Outcome.ERROR, 3)
    end(pool, pool["a"], Outcome.CANCELLED)
    assert suspects == []
    end(pool, pool["a"], Outcome.ERROR)
    assert suspects == ["a"]
    assert pool.member("a").standing is standing
    assert pool.health("a").streak == (1 if on_error == "fail_check" else 0)


def test_three_times_the_error_limit_is_down_by_failed_checks_alone() -> None:
    pool = pool_of(*make_servers(1, 1), checked=True, fall=3, passive=PassiveRules(error_limit=2))
    for name in "ab":
        pool.observe(name, True, "fine", 0)
    end(pool, pool["a"], Outcome.TIMEOUT, 6)
    assert pool.member("a").standing is Standing.DOWN
    assert "2 errors in a row in live traffic, the last one: timeout" in pool.member("a").why


def test_an_outlier_is_left_out_and_comes_back_by_itself() -> None:
    pool = pool_of(*make_servers(1, 1, 1), outlier=OutlierRules(consecutive=5))
    end(pool, pool["a"], Outcome.ERROR, 5, now=1)
    assert names(pool, 1) == "bc"
    assert "back in 20 s" in str(pool.explain(11)[0])
    end(pool, pool["b"], Outcome.ERROR, 9, now=2)
    assert names(pool, 2) == "bc", "at most one of so few"
    assert pool.next_deadline() == 21, "the next comparison of success rates"
    assert names(pool, 31) == "abc"
    assert told(pool) == [("a", Standing.EJECTED), ("a", Standing.UP)]
    assert pool.ejections == 1


def test_the_last_one_is_used_although_it_is_ejected() -> None:
    pool = pool_of(*make_servers(1), outlier=OutlierRules())
    end(pool, pool["a"], Outcome.CONNECT_FAILED, 5)
    assert pool.member("a").standing is Standing.EJECTED
    assert pool.pick(1).name == "a"
    assert "used because nobody else is left" in str(pool.explain(1)[0])


def test_results_of_servers_that_left_are_not_counted() -> None:
    pool = pool_of(*make_servers(1, 1), outlier=OutlierRules(), passive=PassiveRules(error_limit=1))
    gone = pool["a"]
    pool.acquire(gone, 0)
    pool.change([Server("a", "127.0.0.1:99"), pool["b"]], 1)
    pool.release(gone, 2, 0.1, Outcome.ERROR)
    assert (gone.open_sessions, pool.open_sessions) == (0, 0)
    assert pool.health("a").streak == 0


def test_an_agent_is_obeyed() -> None:
    pool = pool_of(*make_servers(16, 16))
    pool.advise("a", Advice(percent=25), 1)
    assert Counter(pool.pick(1).name for _ in range(50)) == {"a": 10, "b": 40}
    change = pool.advise("a", Advice(state="maint", reason="backup runs"), 2)
    assert change is not None
    assert (change.standing, change.reason) == (Standing.MAINT, "agent: backup runs")
    assert names(pool, 2) == "b"
    assert pool.advise("nobody", Advice(up=False), 3) is None


def test_stickiness_by_a_token_that_tells_nothing() -> None:
    pool = pool_of(*make_servers(1, 1))
    token = pool.token_of(pool["a"])
    assert len(token) == 16
    assert token == pool_of(*make_servers(1, 1)).token_of(pool["a"]), "the same in every process"
    assert pool.stuck_to(token) is pool["a"]
    pool.set_state("a", AdminState.DRAIN, 1)
    assert pool.stuck_to(token) is pool["a"], "draining keeps whom it has"
    pool.set_state("a", AdminState.MAINT, 2)
    assert pool.stuck_to(token) is None
    assert pool.stuck_to("a") is None
    assert pool.stuck_to("") is None


def test_explain_every_server() -> None:
    servers = [
        Server("full", "127.0.0.1:1", max_connections=1),
        Server("good", "127.0.0.1:2", weight=3),
        Server("spare", "127.0.0.1:3", backup=True),
        Server("off", "127.0.0.1:4", weight=0),
        Server("dead", "127.0.0.1:5"),
        Server("new", "127.0.0.1:6"),
    ]
    pool = pool_of(*servers, algorithm="two_choices", checked=True)
    for server in servers[:-1]:
        pool.observe(server.name, server.name != "dead", "seen", 0)
    pool.acquire(servers[0], 0)
    explained = pool.explain(1)
    assert [str(one) for one in explained] == [
        "full: not a candidate: up, full: 1 of 1 connections, score 2",
        "good: candidate: up, seen, score 0.3333",
        "spare: not a candidate: up, a backup; others are up",
        "off: not a candidate: drain, weight 0",
        "dead: not a candidate: down, seen",
        "new: not a candidate: unknown, not checked yet",
    ]
    assert [one.share for one in explained] == [0.25, 0.75, 0, 0, 0, 0]


def test_the_balancer_hears_of_a_change_only_where_it_changes_anything() -> None:
    class Counting(type(make_balancer("round_robin", random.Random(7)))):  # type: ignore[misc]
        updates = 0

        def update(self, candidates, now) -> None:  # type: ignore[no-untyped-def]
            type(self).updates += 1
            super().update(candidates, now)

    balancer = Counting(None, random.Random(7))
    pool = Pool("p", [*make_servers(1, 1), Server("x", "127.0.0.1:9", backup=True)], balancer)
    before = Counting.updates
    pool.set_state("x", AdminState.MAINT, 1)
    pool.observe("a", True, "fine", 1)
    assert Counting.updates == before
    pool.set_weight("a", 2, 1)
    assert Counting.updates == before + 1


def test_a_panic_is_about_the_servers_in_use_so_that_a_backup_that_is_up_prevents_it() -> None:
    a, b, c = make_servers(1, 1, 1)
    spare = Server("x", "127.0.0.1:9", backup=True)
    pool = pool_of(a, b, c, spare, checked=True, fall=1, panic=50)
    for name in "abcx":
        pool.observe(name, True, "fine", 0)
    for name in "abc":
        pool.observe(name, False, "refused", 1)
    assert names(pool, 1) == "x", "Envoy panics when no priority has enough healthy hosts"
    pool.observe("x", False, "refused", 2)
    assert names(pool, 2) == "abc", "nobody is up at all"


def test_ejections_by_success_rate_are_counted_too() -> None:
    rules = OutlierRules(consecutive=1000, interval=10, rate_requests=10, deviations=1.0)
    pool = pool_of(*make_servers(1, 1, 1, 1, 1), outlier=rules)
    for server in pool:
        end(pool, server, Outcome.ERROR if server.name == "a" else Outcome.DONE, 10)
    pool.advance(10)
    assert pool.member("a").standing is Standing.EJECTED
    assert pool.ejections == 1


def test_a_check_that_passes_does_not_hide_why_the_agent_took_the_server_out() -> None:
    pool = pool_of(*make_servers(1, 1), checked=True)
    pool.observe("a", True, "connected", 0)
    pool.advise("a", Advice(up=False, reason="disk full"), 1)
    pool.observe("a", True, "connected", 2)
    member = pool.member("a")
    assert (member.standing, member.why) == (Standing.DOWN, "agent: disk full")


def test_an_agents_limit_is_its_own_and_goes_with_its_other_advice() -> None:
    server = Server("a", "127.0.0.1:1", weight=4, max_connections=10)
    pool = pool_of(server, make_servers(1, 1)[1])
    pool.advise("a", Advice(50, 3, "drain", False), 1)
    assert (server.max_connections, server.limit) == (10, 3)
    pool.change([Server("a", "127.0.0.1:1", weight=4, max_connections=20), pool["b"]], 2)
    assert (server.max_connections, server.limit) == (20, 3), "the agent said so, and still does"
    pool.forget_advice(3)
    assert (server.max_connections, server.limit, server.effective_weight) == (20, 20, 4)
    assert pool.member("a").standing is Standing.UP


def test_the_operators_state_belongs_to_the_name_and_holds_when_the_server_moves() -> None:
    pool = pool_of(*make_servers(1, 1))
    pool.set_state("a", AdminState.MAINT, 1)
    pool.change([Server("a", "127.0.0.1:99"), pool["b"]], 2)
    assert ("a", Standing.UP) not in told(pool), "not for a moment"
    assert names(pool, 2) == "b"


def test_many_changes_at_once_are_given_to_the_balancer_as_one() -> None:
    pool = pool_of(*make_servers(*[1] * 20), checked=True)
    updates: list[int] = []
    update = pool.balancer.update

    def counted(candidates: Sequence[Server], now: float) -> None:
        updates.append(len(candidates))
        update(candidates, now)

    pool.balancer.update = counted  # type: ignore[method-assign]
    with pool.together(1):
        for server in list(pool):
            pool.observe(server.name, True, "fine", 1)
        assert updates == []
    assert updates == [20]
    assert len(told(pool)) == 20
    with pool.together(2):
        pass
    assert updates == [20]
