from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lbkit.errors import NoServerAvailable
from lbkit.health import HealthState
from lbkit.pool import HealthRules, PoolSettings, Standing, make_balancer
from lbkit.server import Server
from tests.support.servers import make_pool, make_servers


def test_without_a_check_every_server_is_up() -> None:
    pool = make_pool(*make_servers(1, 1))
    assert [pool.pick(0).name for _ in range(4)] == ["a", "b", "a", "b"]
    assert pool.health("a").reason == "no check configured"


def test_with_a_check_servers_wait_for_their_first_result() -> None:
    pool = make_pool(*make_servers(1, 1), rise=2, fall=3)
    with pytest.raises(NoServerAvailable, match="a unknown \\(not checked yet\\), b unknown"):
        pool.pick(0)
    assert pool.unavailable == 1
    change = pool.observe("a", True, "connected", 1.0)
    assert change is not None
    assert (change.server.name, change.standing, change.reason) == ("a", Standing.UP, "connected")
    assert pool.pick(1).name == "a"


def test_a_server_that_goes_down_is_picked_no_more() -> None:
    pool = make_pool(*make_servers(1, 1), rise=1, fall=2)
    for name in "ab":
        pool.observe(name, True, "", 0)
    assert pool.observe("a", False, "refused", 1) is None
    assert pool.observe("a", False, "refused", 2) is not None
    assert {pool.pick(3).name for _ in range(4)} == {"b"}
    assert (pool["a"].counters.checks_passed, pool["a"].counters.checks_failed) == (1, 2)


def test_backups_are_picked_only_when_nobody_else_is_there() -> None:
    a, b, c = make_servers(1, 1, 1)
    b.backup = c.backup = True
    pool = make_pool(a, b, c, rise=1, fall=1)
    for name in "abc":
        pool.observe(name, True, "", 0)
    assert {pool.pick(0).name for _ in range(6)} == {"a"}
    pool.observe("a", False, "", 1)
    assert {pool.pick(1).name for _ in range(6)} == {"b", "c"}


def test_a_retry_may_use_nobody_twice() -> None:
    pool = make_pool(*make_servers(1, 1))
    first = pool.pick(0)
    second = pool.pick(0, None, [first])
    assert first is not second
    with pytest.raises(NoServerAvailable, match="a already tried, b already tried"):
        pool.pick(0, None, [first, second])


def test_a_full_server_is_passed_over() -> None:
    a, b = make_servers(1, 1)
    a.max_connections = 1
    pool = make_pool(a, b)
    pool.acquire(a, 0)
    assert {pool.pick(0).name for _ in range(4)} == {"b"}
    pool.release(a, 0)
    assert {pool.pick(0).name for _ in range(4)} == {"a", "b"}


def test_weight_zero_takes_no_new_traffic() -> None:
    pool = make_pool(*make_servers(0, 1))
    assert {pool.pick(0).name for _ in range(4)} == {"b"}
    with pytest.raises(NoServerAvailable, match=r"a drain \(weight 0\)"):
        pool.pick(0, None, [pool["b"]])


def test_names_are_unique() -> None:
    with pytest.raises(ValueError, match='two servers of pool "p" are called "a"'):
        make_pool(Server("a", "127.0.0.1:1"), Server("a", "127.0.0.1:2"))


def test_unknown_algorithm() -> None:
    with pytest.raises(
        ValueError, match='unknown algorithm "rond_robin" \\(did you mean "round_robin"\\?\\)'
    ):
        make_balancer("rond_robin", random.Random(7))


def test_empty_pool() -> None:
    with pytest.raises(NoServerAvailable, match='pool "p" has no servers'):
        make_pool().pick(0)


def test_a_change_keeps_what_is_known_of_those_that_stay() -> None:
    a, b = make_servers(1, 1)
    pool = make_pool(a, b, rise=1, fall=1)
    pool.observe("a", True, "seen", 1)
    pool.acquire(a, 0)
    pool.change([Server("a", a.address, weight=9), Server("c", "127.0.0.1:3")], 2)
    assert pool["a"] is a
    assert (a.weight, a.open_sessions, pool.health("a").reason) == (9, 1, "seen")
    assert pool.health("c").state is HealthState.UNKNOWN
    assert "b" not in pool
    assert pool.observe("b", True, "late", 3) is None


def test_a_server_with_a_new_address_is_a_new_server() -> None:
    a, b = make_servers(1, 1)
    pool = make_pool(a, b, rise=1, fall=1)
    pool.observe("a", True, "", 1)
    pool.change([Server("a", "127.0.0.1:99"), b], 2)
    assert pool["a"] is not a
    assert pool.health("a").state is HealthState.UNKNOWN


def test_reconfigure() -> None:
    pool = make_pool(*make_servers(1, 1), rise=1, fall=1)
    pool.observe("a", False, "", 0)
    balancer = make_balancer("active_passive", random.Random(7))
    pool.reconfigure(
        list(pool), balancer=balancer, rules=HealthRules(), settings=PoolSettings(retries=5), now=1
    )
    assert pool.retries == 5
    assert {pool.pick(1).name for _ in range(3)} == {"a"}, "without a check all are up"


class PoolMachine(RuleBasedStateMachine):
    """Pool against a model that recomputes everything at each step."""

    @initialize(algorithm=st.sampled_from(["round_robin", "active_passive"]), fall=st.integers(1, 3))
    def start(self, algorithm: str, fall: int) -> None:
        self.now = 0.0
        self.members = {s.name: s for s in make_servers(1, 2, 3)}
        self.pool = make_pool(*self.members.values(), algorithm=algorithm, rise=2, fall=fall)
        self.fall = fall
        self.history: dict[str, list[bool]] = {name: [] for name in self.members}
        self.open: list[Server] = []

    @rule(data=st.data(), passed=st.booleans())
    @precondition(lambda self: self.members)
    def check(self, data: st.DataObject, passed: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.members)))
        self.now += 1
        before = self.is_up(name)
        self.history[name].append(passed)
        change = self.pool.observe(name, passed, "", self.now)
        known_before = len(self.history[name]) > 1
        assert (change is not None) == (not known_before or before != self.is_up(name))

    def is_up(self, name: str) -> bool:
        up: bool | None = None
        streak = 0
        for passed in self.history[name]:
            if up is None:
                up = passed
                continue
            streak = streak + 1 if passed != up else 0
            if streak >= (2 if passed else self.fall):
                up, streak = passed, 0
        return bool(up)

    def allowed(self) -> set[str]:
        ready = [s for s in self.members.values() if self.is_up(s.name) and s.weight]
        ready = [s for s in ready if not s.backup] or ready
        return {s.name for s in ready if not s.max_connections or s.open_sessions < s.max_connections}

    @rule()
    def pick(self) -> None:
        allowed = self.allowed()
        try:
            server = self.pool.pick(self.now)
        except NoServerAvailable:
            assert not allowed
        else:
            assert server.name in allowed
            self.pool.acquire(server, self.now)
            self.open.append(server)

    @rule(data=st.data())
    @precondition(lambda self: self.open)
    def release(self, data: st.DataObject) -> None:
        self.pool.release(self.open.pop(data.draw(st.integers(0, len(self.open) - 1))), self.now)

    @rule(
        kept=st.sets(st.sampled_from("abcdef"), max_size=5),
        weight=st.integers(0, 3),
        backup=st.sampled_from(["", "a", "b"]),
        limit=st.integers(0, 2),
    )
    def change(self, kept: set[str], weight: int, backup: str, limit: int) -> None:
        servers = [
            Server(
                name,
                f"127.0.0.1:{ord(name) - 96}",
                weight=weight,
                backup=name == backup,
                max_connections=limit,
            )
            for name in sorted(kept)
        ]
        self.pool.change(servers, self.now)
        self.history = {name: self.history.get(name, []) if name in self.members else [] for name in kept}
        self.members = {server.name: server for server in self.pool}
        assert sorted(self.members) == sorted(kept)

    @invariant()
    def sessions_are_counted_right(self) -> None:
        counted = Counter(self.open)
        for server in getattr(self, "members", {}).values():
            assert server.open_sessions == counted[server]


TestPoolMachine = PoolMachine.TestCase
