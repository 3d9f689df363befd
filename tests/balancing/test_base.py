"""The contract that every registered algorithm keeps."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.balancing import ALGORITHMS, Balancer
from lbkit.server import Server
from tests.support.servers import make_servers


def make(name: str, seed: int = 7) -> Balancer:
    entry = ALGORITHMS[name]
    return entry.factory(entry.options(), random.Random(seed))


@pytest.fixture(params=list(ALGORITHMS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_nobody_is_picked_before_there_are_candidates(name: str) -> None:
    balancer = make(name)
    assert balancer.pick(0) is None
    balancer.update([], 0)
    assert balancer.pick(0) is None


def test_only_candidates_are_picked(name: str) -> None:
    balancer = make(name)
    servers = make_servers(3, 2, 1)
    balancer.update(servers, 0)
    assert {balancer.pick(now) for now in range(50)} <= set(servers)
    balancer.update(servers[1:], 50)
    assert servers[0] not in {balancer.pick(now) for now in range(50)}


def test_an_excluded_server_is_not_picked_while_others_are_left(name: str) -> None:
    balancer = make(name)
    servers = make_servers(5, 1, 1)
    balancer.update(servers, 0)
    for now in range(20):
        assert balancer.pick(now, None, servers[:1]) in servers[1:]
        assert balancer.pick(now, None, servers[1:]) is servers[0]
    assert balancer.pick(0, None, servers) is None


def test_the_same_seed_gives_the_same_picks(name: str) -> None:
    runs = []
    servers = make_servers(4, 2, 1)
    for _ in range(2):
        balancer = make(name)
        balancer.update(servers, 0)
        runs.append([balancer.pick(now) for now in range(100)])
    assert runs[0] == runs[1]


changes = st.lists(st.lists(st.integers(0, 5), unique=True, max_size=6), min_size=1, max_size=12)


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
@given(candidates=changes, excluded=st.sets(st.integers(0, 5)))
def test_any_change_of_candidates(algorithm: str, candidates: list[list[int]], excluded: set[int]) -> None:
    servers = make_servers(1, 2, 3, 1, 1, 256)
    balancer = make(algorithm)
    exclude = [servers[i] for i in excluded]
    for now, indexes in enumerate(candidates):
        present = [servers[i] for i in indexes]
        balancer.update(present, now)
        allowed: set[Server] = set(present) - set(exclude)
        for _ in range(3):
            picked = balancer.pick(now, None, exclude)
            assert picked in allowed if allowed else picked is None
