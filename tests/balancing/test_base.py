"""The contract that every registered algorithm keeps: a new one is covered by being registered."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbkit.balancing import ALGORITHMS, Balancer
from lbkit.server import Server
from lbkit.testing import BalancerContract
from tests.support.servers import make_servers

# What an algorithm promises that is not the suite's default, and why.
PROMISES: dict[str, dict[str, Any]] = {
    "active_passive": {"takes_all": True},
    # Of 65 537 entries a few change hands when another server's turns fall out (NSDI 2016, fig. 12).
    "maglev": {"moved_beyond": 0.05},
    "rendezvous": {"scans": True},
}


def make(name: str, seed: int = 7) -> Balancer:
    entry = ALGORITHMS[name]
    return entry.factory(entry.options(), random.Random(seed))


def contract_of(name: str) -> type[BalancerContract]:
    def make_it(self: BalancerContract, seed: int) -> Balancer:
        return make(name, seed)

    title = "".join(word.title() for word in name.split("_"))
    return type(f"Test{title}", (BalancerContract,), {"make": make_it, **PROMISES.get(name, {})})


# pytest collects classes that are attributes of the module.
for algorithm_name in ALGORITHMS:
    suite = contract_of(algorithm_name)
    globals()[suite.__name__] = suite
del suite

changes = st.lists(st.lists(st.integers(0, 5), unique=True, max_size=6), min_size=1, max_size=12)


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
@settings(max_examples=30)  # each change fills Maglev's table anew
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


class Counted(set[Server]):
    """Knows how often somebody asked whether a server is in it."""

    asked = 0

    def __contains__(self, server: object) -> bool:
        self.asked += 1
        return super().__contains__(server)


@pytest.mark.parametrize(
    "algorithm", [name for name in ALGORITHMS if not PROMISES.get(name, {}).get("scans", False)]
)
@pytest.mark.parametrize("weights", [(1,), (1, 2, 3, 5)])
def test_a_pick_does_not_look_at_every_server_where_most_are_full(
    algorithm: str, weights: tuple[int, ...]
) -> None:
    """Under load most may be full, and so excluded: just then picks must not get dear."""
    servers = make_servers(*[weights[number % len(weights)] for number in range(5000)])
    full = Counted(random.Random(7).sample(servers, 4500))
    for server in full:
        server.open_sessions = 64
    balancer = make(algorithm)
    balancer.update(servers, 0)
    left = set(servers) - full
    for number in range(200):
        assert balancer.pick(1, b"%d" % number, full) in left
    assert full.asked / 200 < 200
