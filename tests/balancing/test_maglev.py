from __future__ import annotations

import random
from collections import Counter

import pytest

from lbkit.balancing.hashing import hashes64
from lbkit.balancing.maglev import Maglev, MaglevOptions, fill
from lbkit.server import Server
from tests.support.servers import make_servers


def maglev(servers: list[Server], size: int = 65_537) -> Maglev:
    balancer = Maglev(MaglevOptions(table_size=size), random.Random(7))
    balancer.update(servers, 0)
    return balancer


def named(count: int) -> list[Server]:
    return [Server(f"web{i}", f"127.0.0.1:{i + 1}") for i in range(count)]


@pytest.mark.parametrize("weights", [(1, 2), (2, 1), (16, 32)])
def test_envoys_entries_for_weights_one_and_two(weights: tuple[int, ...]) -> None:
    counted = Counter(fill(["a", "b"], weights, 65_537))
    assert sorted(counted.values()) == [21_846, 43_691]
    assert counted[weights.index(max(weights))] == 43_691


def test_equal_weights_are_even_to_an_entry() -> None:
    """65 537 = 10 × 6553 + 7."""
    counted = Counter(fill([f"web{i}" for i in range(10)], [1.0] * 10, 65_537))
    assert sorted(counted.values()) == [6553] * 3 + [6554] * 7


def test_it_is_the_papers_table() -> None:
    """Against the pseudocode of section 3.4, with its own permutations."""
    names = [f"web{i}" for i in range(5)]
    size = 251
    table = fill(names, [1.0] * 5, size)
    permutations = []
    for name in names:
        offset, skip = hashes64(name, 2)
        permutations.append([(offset % size + j * (skip % (size - 1) + 1)) % size for j in range(size)])
    entry = [-1] * size
    following = [0] * 5
    filled = 0
    while filled < size:
        for i in range(5):
            while entry[permutations[i][following[i]]] >= 0:
                following[i] += 1
            entry[permutations[i][following[i]]] = i
            filled += 1
            if filled == size:
                break
    assert table == entry


def test_removal_moves_its_own_keys_and_a_few_per_cent_of_the_others() -> None:
    servers = named(10)
    balancer = maglev(servers)
    before = [server.name for server in balancer._table]
    balancer.update(servers[1:], 1)
    after = [server.name for server in balancer._table]
    moved = [old for old, new in zip(before, after, strict=True) if old != new]
    others = sum(name != "web0" for name in moved)
    assert "web0" not in after
    assert 0 < others / len(before) < 0.05
    balancer.update(servers[::-1], 2)
    assert [server.name for server in balancer._table] == before


def test_a_light_server_has_an_entry() -> None:
    servers = make_servers(256, 256, 1)
    servers[2].effective_weight = 1 / 16
    assert servers[2] in maglev(servers, 1009)._table


def test_more_servers_than_entries() -> None:
    servers = named(40)
    balancer = maglev(servers, 7)
    assert len(balancer._table) == 83
    assert set(balancer._table) == set(servers)
    balancer.update(servers[:5], 1)
    assert len(balancer._table) == 7


def test_an_excluded_servers_keys_go_to_all_others_and_always_to_the_same() -> None:
    servers = named(5)
    balancer = maglev(servers, 1009)
    keys = [key for i in range(3000) if balancer.pick(0, key := b"%d" % i) is servers[0]]
    fallback = [balancer.pick(0, key, servers[:1]) for key in keys]
    assert [balancer.pick(0, key, {servers[0]}) for key in keys] == fallback
    assert set(fallback) == set(servers[1:])
    assert min(Counter(fallback).values()) > len(keys) / 8


@pytest.mark.parametrize(
    ("size", "why"),
    [(1, "is not from"), (65_536, "is no prime"), (1001, "is no prime"), (5_000_029, "is not from")],
)
def test_sizes_that_are_refused(size: int, why: str) -> None:
    with pytest.raises(ValueError, match=f"^table_size: {size} {why}"):
        MaglevOptions(table_size=size)
