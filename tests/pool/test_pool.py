from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lbkit.errors import NoServerAvailable, PoolFull
from lbkit.health import HealthState, PassiveRules
from lbkit.pool import AdminState, HealthRules, Pool, PoolSettings, Standing, Waiter, make_balancer
from lbkit.server import Outcome, Server
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
        ValueError,
        match='unknown algorithm "rond_robin" \\(did you mean "round_robin"\\? known: active_passive, ',
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

    @initialize(
        algorithm=st.sampled_from(["round_robin", "active_passive", "least_connections", "two_choices"]),
        fall=st.integers(1, 3),
        error_limit=st.integers(1, 3),
        limit=st.integers(0, 2),
    )
    def start(self, algorithm: str, fall: int, error_limit: int, limit: int) -> None:
        self.now = 0.0
        self.members = {s.name: s for s in make_servers(1, 2, 3)[: 3 if limit == 0 else 4 - limit]}
        for server in self.members.values():
            server.max_connections = limit
        passive = PassiveRules(error_limit=error_limit, on_error="fail_check")
        self.pool = Pool(
            "p",
            self.members.values(),
            make_balancer(algorithm, random.Random(7)),
            rules=HealthRules(True, 2, fall, passive),
            settings=PoolSettings(max_queue=3),
        )
        self.fall, self.error_limit = fall, error_limit
        self.history: dict[str, list[bool]] = {name: [True] for name in self.members}
        for name in self.members:
            self.pool.observe(name, True, "", 0)
        self.errors: Counter[Server] = Counter()
        self.admin: dict[str, AdminState] = {}
        self.configured: dict[str, int] = {name: s.weight for name, s in self.members.items()}
        self.open: list[Server] = []
        self.line: list[Waiter] = []

    def some_member(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.members)))

    @rule(data=st.data(), passed=st.booleans())
    @precondition(lambda self: self.members)
    def check(self, data: st.DataObject, passed: bool) -> None:
        name = self.some_member(data)
        self.now += 1
        self.history[name].append(passed)
        before = self.pool.member(name).standing
        change = self.pool.observe(name, passed, "", self.now)
        assert (change is not None) == (before is not self.pool.member(name).standing)

    @rule(data=st.data(), state=st.sampled_from(AdminState))
    @precondition(lambda self: self.members)
    def administer(self, data: st.DataObject, state: AdminState) -> None:
        name = self.some_member(data)
        self.admin[name] = state
        self.pool.set_state(name, state, self.now)

    @rule(data=st.data(), weight=st.sampled_from([0, 1, 256]))
    @precondition(lambda self: self.members)
    def reweigh(self, data: st.DataObject, weight: int) -> None:
        name = self.some_member(data)
        self.pool.set_weight(name, weight, self.now)
        assert self.members[name].weight == weight

    def health(self, name: str) -> Standing:
        up: bool | None = None
        streak = 0
        for passed in self.history[name]:
            if up is None:
                up = passed
                continue
            streak = streak + 1 if passed != up else 0
            if streak >= (2 if passed else self.fall):
                up, streak = passed, 0
        return Standing.UNKNOWN if up is None else Standing.UP if up else Standing.DOWN

    def standing(self, server: Server) -> Standing:
        admin = self.admin.get(server.name, AdminState.READY)
        if admin is AdminState.MAINT:
            return Standing.MAINT
        if self.health(server.name) is not Standing.UP:
            return self.health(server.name)
        drained = admin is AdminState.DRAIN or server.weight == 0
        return Standing.DRAIN if drained else Standing.UP

    def candidates(self) -> list[Server]:
        ready = [server for server in self.members.values() if self.standing(server) is Standing.UP]
        return [server for server in ready if not server.backup] or ready

    def free(self) -> set[Server]:
        return {s for s in self.candidates() if not s.max_connections or s.open_sessions < s.max_connections}

    @rule(times=st.integers(1, 5))
    def pick(self, times: int) -> None:
        for _ in range(times):
            self.pick_one()

    def pick_one(self) -> None:
        free = self.free()
        try:
            server = self.pool.pick(self.now)
        except PoolFull:
            assert self.candidates()
            assert not free
            self.queue_up()
        except NoServerAvailable:
            assert not self.candidates()
        else:
            assert server in free
            assert not self.line, "nobody overtakes"
            self.pool.acquire(server, self.now)
            self.open.append(server)

    def queue_up(self) -> None:
        try:
            waiter = self.pool.wait(self.now, self.now + 5, self.woken)
        except PoolFull:
            assert len(self.line) == 3
        else:
            self.line.append(waiter)

    def woken(self, waiter: Waiter) -> None:
        if waiter.server is None:
            assert waiter.deadline <= self.now
            self.line.remove(waiter)
        else:
            assert self.line.pop(0) is waiter, "first come, first served"
            self.open.append(waiter.server)

    @rule(data=st.data())
    @precondition(lambda self: self.line)
    def leave(self, data: st.DataObject) -> None:
        self.pool.leave(self.line.pop(data.draw(st.integers(0, len(self.line) - 1))))

    @rule(seconds=st.integers(1, 6))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.pool.advance(self.now)
        assert all(waiter.deadline > self.now for waiter in self.line)

    @rule(data=st.data(), outcome=st.sampled_from(Outcome))
    @precondition(lambda self: self.open)
    def release(self, data: st.DataObject, outcome: Outcome) -> None:
        server = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        if self.members.get(server.name) is server and outcome is not Outcome.CANCELLED:
            self.errors[server] = self.errors[server] + 1 if outcome.is_failure else 0
            if self.errors[server] == self.error_limit:
                self.errors[server] = 0
                self.history[server.name].append(False)
        self.pool.release(server, self.now, 0.1, outcome)

    @rule(
        kept=st.sets(st.sampled_from("abcdef"), max_size=5),
        weight=st.integers(0, 3),
        backup=st.sampled_from(["", "a", "b"]),
        limit=st.integers(0, 2),
    )
    def reload(self, kept: set[str], weight: int, backup: str, limit: int) -> None:
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
        weights = {
            name: server.weight if self.configured.get(name) == weight else weight
            for name, server in self.members.items()
        }
        self.history = {name: self.history.get(name, []) if name in self.members else [] for name in kept}
        self.admin = {name: state for name, state in self.admin.items() if name in kept}
        self.configured = dict.fromkeys(kept, weight)
        old, self.members = self.members, {server.name: server for server in servers}
        self.members.update({name: server for name, server in old.items() if name in kept})
        for name in old.keys() & kept:  # before the pool does, so that the model is right when somebody wakes
            self.members[name].backup, self.members[name].max_connections = name == backup, limit
        self.pool.change(servers, self.now)
        self.members = {server.name: server for server in self.pool}
        assert sorted(self.members) == sorted(kept)
        assert all(server.weight == weights.get(name, weight) for name, server in self.members.items())

    @invariant()
    def sessions_are_counted_right(self) -> None:
        counted = Counter(getattr(self, "open", []))
        for server in getattr(self, "members", {}).values():
            assert server.open_sessions == counted[server]
        if hasattr(self, "pool"):
            assert self.pool.open_sessions == len(self.open)

    @invariant()
    def standings_and_candidates_are_those_of_the_model(self) -> None:
        for server in getattr(self, "members", {}).values():
            assert self.pool.member(server.name).standing is self.standing(server)
        if hasattr(self, "pool"):
            assert self.pool.candidates() == self.candidates()
            chosen = {one.name for one in self.pool.explain(self.now) if one.candidate}
            assert chosen == {server.name for server in self.free()}

    @invariant()
    def nobody_waits_while_a_place_is_free(self) -> None:
        if getattr(self, "line", []):
            assert not self.free()
            assert self.pool.waiting == len(self.line)


TestPoolMachine = PoolMachine.TestCase
