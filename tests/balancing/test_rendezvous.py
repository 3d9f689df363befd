from __future__ import annotations

import random
from collections import Counter

import pytest

from lbkit.balancing.rendezvous import Rendezvous
from lbkit.registry import NoOptions
from lbkit.server import Server
from tests.support.servers import make_servers

KEYS = [b"key-%d" % number for number in range(20_000)]


def rendezvous(servers: list[Server]) -> Rendezvous:
    balancer = Rendezvous(NoOptions(), random.Random(7))
    balancer.update(servers, 0)
    return balancer


def mapped(balancer: Rendezvous) -> list[str]:
    return [server.name for key in KEYS if (server := balancer.pick(0, key))]


@pytest.mark.parametrize("weights", [(1,) * 10, (1, 2, 5), (7, 1)])
def test_shares_are_exact_up_to_chance(weights: tuple[int, ...]) -> None:
    servers = make_servers(*weights)
    counted = Counter(mapped(rendezvous(servers)))
    for server in servers:
        share = server.weight / sum(weights)
        # Four standard deviations of a binomial share.
        assert counted[server.name] / len(KEYS) == pytest.approx(
            share, abs=4 * (share * (1 - share) / len(KEYS)) ** 0.5
        )


@pytest.mark.parametrize("weights", [(1,) * 10, (1, 2, 3, 4)])
def test_removal_moves_exactly_the_keys_of_the_removed(weights: tuple[int, ...]) -> None:
    servers = make_servers(*weights)
    balancer = rendezvous(servers)
    before = mapped(balancer)
    balancer.update(servers[1:], 1)
    moved = [old for old, new in zip(before, mapped(balancer), strict=True) if old != new]
    assert set(moved) == {"a"}
    assert len(moved) == before.count("a")


def test_exclusion_sends_keys_where_removal_does() -> None:
    servers = make_servers(1, 2, 3, 4)
    balancer = rendezvous(servers)
    without = rendezvous(servers[:1] + servers[2:])
    for key in KEYS[:500]:
        assert balancer.pick(0, key, servers[1:2]) is without.pick(0, key)


def test_a_weight_moves_keys_only_to_or_from_its_server() -> None:
    servers = make_servers(2, 3, 4)
    balancer = rendezvous(servers)
    before = mapped(balancer)
    servers[0].effective_weight = 2.5
    balancer.update(servers, 1)
    assert {new for old, new in zip(before, mapped(balancer), strict=True) if old != new} == {"a"}


def test_one_weight_for_all_maps_as_different_ones_would() -> None:
    """Equal weights are compared without the logarithm; the one must not contradict the other."""
    servers = make_servers(3, 3, 3)
    before = mapped(rendezvous(servers))
    balancer = rendezvous(servers)
    balancer._equal = False
    assert mapped(balancer) == before
