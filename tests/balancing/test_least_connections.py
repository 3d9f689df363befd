from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from lbkit.balancing.least_connections import LeastConnections
from lbkit.registry import NoOptions
from lbkit.server import Outcome, Server
from tests.support.servers import make_servers


def least_connections(servers: list[Server]) -> LeastConnections:
    balancer = LeastConnections(NoOptions(), random.Random(7))
    balancer.update(servers, 0)
    return balancer


def start(balancer: LeastConnections, server: Server) -> None:
    server.open_sessions += 1
    balancer.started(server, 0)


def end(balancer: LeastConnections, server: Server) -> None:
    server.open_sessions -= 1
    balancer.ended(server, 1, Outcome.DONE, 0)


def test_the_one_with_the_fewest_is_picked() -> None:
    a, b, c = servers = make_servers(1, 1, 1)
    balancer = least_connections(servers)
    start(balancer, a)
    start(balancer, b)
    assert balancer.pick(0) is c
    start(balancer, c)
    end(balancer, b)
    assert balancer.pick(0) is b


def test_load_is_in_proportion_to_the_weight() -> None:
    servers = make_servers(3, 1)
    balancer = least_connections(servers)
    for _ in range(40):
        server = balancer.pick(0)
        assert server is not None
        start(balancer, server)
    assert [server.open_sessions for server in servers] == [30, 10]


def test_equals_are_picked_in_rotation_with_and_without_starts() -> None:
    servers = make_servers(1, 1, 1)
    balancer = least_connections(servers)
    assert [balancer.pick(0) for _ in range(6)] == servers * 2
    for expected in servers * 3:
        server = balancer.pick(0)
        assert server is expected
        start(balancer, server)
        end(balancer, server)


def test_sessions_that_nobody_told_of_are_seen() -> None:
    a, b = servers = make_servers(1, 1)
    balancer = least_connections(servers)
    a.open_sessions = 3
    assert {balancer.pick(0) for _ in range(5)} == {b}
    assert balancer.score(a, 0) == 4


def test_what_waits_to_be_forgotten_is_bounded() -> None:
    servers = make_servers(1, 1, 1)
    balancer = least_connections(servers)
    for _ in range(10_000):
        # The loaded one never comes up, so its outdated entries are never met by a pick.
        start(balancer, servers[0])
        start(balancer, servers[0])
        end(balancer, servers[0])
        end(balancer, servers[0])
    assert len(balancer._heap) <= 4 * 3 + 64
    assert balancer.pick(0) in servers


steps = st.lists(
    st.one_of(
        st.tuples(st.just("pick"), st.sets(st.integers(0, 4)), st.booleans()),
        st.tuples(st.just("end"), st.integers(0, 1000), st.none()),
        st.tuples(st.just("update"), st.sets(st.integers(0, 4)), st.none()),
    ),
    max_size=120,
)


@given(weights=st.lists(st.integers(1, 4), min_size=5, max_size=5), steps=steps)
def test_it_is_what_a_look_at_everybody_would_pick(
    weights: list[int], steps: list[tuple[str, object, bool]]
) -> None:
    """The model keeps the order of the last picks and takes the first of the least loaded."""
    servers = make_servers(*weights)
    balancer = least_connections(servers)
    order = list(servers)
    running: list[Server] = []
    for what, argument, begins in steps:
        if what == "pick":
            exclude = {servers[i] for i in argument}  # type: ignore[attr-defined]
            left = [server for server in order if server not in exclude]
            expected = min(left, key=lambda s: (s.open_sessions + 1) / s.effective_weight, default=None)
            assert balancer.pick(0, None, exclude) is expected
            if expected is None:
                continue
            order.remove(expected)
            order.append(expected)
            if begins:
                running.append(expected)
                start(balancer, expected)
        elif what == "end" and running:
            end(balancer, running.pop(argument % len(running)))  # type: ignore[operator]
        elif what == "update":
            present = [servers[i] for i in sorted(argument)]  # type: ignore[call-overload]
            balancer.update(present, 0)
            newcomers = [server for server in present if server not in order]
            order = [server for server in order if server in present] + newcomers


def test_full_servers_with_few_sessions_are_not_passed_over_by_each_pick() -> None:
    """Where limits differ, the full ones may be those with the fewest sessions."""
    servers = make_servers(*[1] * 1000)
    for server in servers[:900]:
        server.limit = server.open_sessions = 1
    for server in servers[900:]:
        server.open_sessions = 5
    balancer = LeastConnections(NoOptions(), random.Random(7))
    balancer.update(servers, 0)
    full = set(servers[:900])
    assert balancer.pick(0, None, full) in servers[900:]
    assert len(balancer._heap) <= 100
    assert {balancer.pick(0, None, full) for _ in range(99)} < set(servers[900:])
    # One that has room again is the next, whether a session has ended or its limit was raised.
    full.discard(servers[3])
    servers[3].open_sessions = 0
    balancer.ended(servers[3], 0.1, Outcome.DONE, 0)
    assert balancer.pick(0, None, full) is servers[3]
    servers[3].open_sessions = 1
    full.add(servers[3])
    full.discard(servers[4])
    servers[4].limit = 2
    assert servers[4] in {balancer.pick(0, None, full) for _ in range(900)}
