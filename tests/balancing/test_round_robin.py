from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.balancing.round_robin import RoundRobin
from lbkit.registry import NoOptions
from lbkit.server import Server
from tests.support.servers import make_servers


def round_robin(servers: list[Server]) -> RoundRobin:
    balancer = RoundRobin(NoOptions(), random.Random(7))
    balancer.update(servers, 0)
    return balancer


def picks(balancer: RoundRobin, count: int) -> str:
    return "".join(server.name for _ in range(count) if (server := balancer.pick(0)))


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ((5, 1, 1), "aabacaa" * 2),  # nginx's published sequence
        ((1, 1, 1), "abcabc"),
        ((4, 2), "abaaba"),
        ((7,), "aaaa"),
    ],
)
def test_published_sequences(weights: tuple[int, ...], expected: str) -> None:
    assert picks(round_robin(make_servers(*weights)), len(expected)) == expected


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6))
def test_each_round_is_exactly_in_proportion(weights: list[int]) -> None:
    balancer = round_robin(make_servers(*weights))
    counted = Counter(picks(balancer, sum(weights) * 3))
    assert counted == {server.name: server.weight * 3 for server in make_servers(*weights)}


def test_a_change_elsewhere_does_not_restart_the_round() -> None:
    servers = make_servers(1, 1, 1)
    balancer = round_robin(servers)
    assert picks(balancer, 1) == "a"
    balancer.update(servers[:2], 0)
    assert picks(balancer, 3) == "bab"


def test_exclusion_keeps_the_credit_of_the_excluded() -> None:
    servers = make_servers(2, 1)
    balancer = round_robin(servers)
    assert balancer.pick(0, None, [servers[0]]) is servers[1]
    assert Counter(picks(balancer, 3)) == {"a": 2, "b": 1}
