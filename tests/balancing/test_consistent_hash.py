from __future__ import annotations

import random
from array import array
from collections import Counter
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.balancing.consistent_hash import ConsistentHash, ConsistentHashOptions
from lbkit.server import Outcome, Server
from tests.support.servers import make_servers

KEYS = [b"key-%d" % number for number in range(20_000)]


def named(count: int, weight: int = 1) -> list[Server]:
    return [Server(f"web{i}", f"127.0.0.1:{i + 1}", weight=weight) for i in range(count)]


def ring(servers: list[Server], **options: float) -> ConsistentHash:
    balancer = ConsistentHash(ConsistentHashOptions(**options), random.Random(7))  # type: ignore[arg-type]
    balancer.update(servers, 0)
    return balancer


def mapped(balancer: ConsistentHash) -> list[str]:
    return [server.name for key in KEYS if (server := balancer.pick(0, key))]


def start(balancer: ConsistentHash, server: Server) -> None:
    server.open_sessions += 1
    balancer.started(server, 0)


# ---- the ring ----


def test_balance_of_160_points() -> None:
    counted = Counter(mapped(ring(named(10), bound=0)))
    assert max(counted.values()) / (len(KEYS) / 10) <= 1.3
    assert min(counted.values()) / (len(KEYS) / 10) >= 0.7


def test_more_points_are_more_even() -> None:
    def unevenness(points: int) -> float:
        counted = Counter(mapped(ring(named(10), bound=0, points=points)))
        return max(counted.values()) / min(counted.values())

    assert unevenness(4) > unevenness(160) > unevenness(2000)


def test_shares_are_in_proportion_to_the_weights() -> None:
    servers = make_servers(1, 2, 5)
    counted = Counter(mapped(ring(servers, bound=0)))
    for server in servers:
        assert counted[server.name] / len(KEYS) == pytest.approx(server.weight / 8, rel=0.2)


def test_removal_moves_only_the_keys_of_the_removed() -> None:
    servers = named(10)
    balancer = ring(servers, bound=0)
    before = mapped(balancer)
    balancer.update(servers[1:], 1)
    after = mapped(balancer)
    moved = [old for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {"web0"}
    assert len(moved) / len(KEYS) == pytest.approx(1 / 10, rel=0.3)
    balancer.update(servers, 2)
    assert mapped(balancer) == before


def test_a_greater_weight_takes_keys_and_moves_no_other() -> None:
    servers = named(10)
    balancer = ring(servers, bound=0)
    before = mapped(balancer)
    servers[3].effective_weight = 1.5
    balancer.update(servers, 1)
    changes = {(old, new) for old, new in zip(before, mapped(balancer), strict=True) if old != new}
    assert {new for _, new in changes} == {"web3"}
    servers[3].effective_weight = 0.25
    balancer.update(servers, 2)
    assert {old for old, new in zip(before, mapped(balancer), strict=True) if old != new} == {"web3"}
    servers[3].effective_weight = 1.0
    balancer.update(servers, 3)
    assert mapped(balancer) == before


changes = st.lists(st.dictionaries(st.integers(0, 7), st.integers(1, 40)), min_size=1, max_size=8)


@given(changes)
def test_a_changed_ring_is_the_one_built_at_once(steps: list[dict[int, int]]) -> None:
    """Cutting points out and putting them in gives what building from nothing does."""
    servers = named(8)
    balancer = ring([], points=20)
    for step, weights in enumerate(steps):
        for number, sixteenths in weights.items():
            servers[number].effective_weight = sixteenths / 16
        present = [servers[number] for number in weights]
        balancer.update(present, step)
        fresh = ring(present, points=20)
        assert [p >> 18 for p in balancer._ring] == [p >> 18 for p in fresh._ring]
        assert [balancer.pick(0, key) for key in KEYS[:40]] == [fresh.pick(0, key) for key in KEYS[:40]]


def test_a_new_server_under_an_old_name_has_its_keys() -> None:
    servers = named(4)
    balancer = ring(servers, bound=0)
    before = mapped(balancer)
    again = named(4)
    balancer.update(again, 1)
    assert mapped(balancer) == before
    assert {balancer.pick(0, key) for key in KEYS[:200]} == set(again)


def test_large_weights_do_not_explode() -> None:
    few = ring(named(10, weight=256))
    assert 30_000 < len(few._ring) <= 65_536
    many = ring([Server(f"s{i}", f"127.0.0.1:{i + 1}", weight=1 + i % 256) for i in range(1000)])
    assert len(many._ring) <= 320 * 1000
    assert isinstance(many._ring, array)
    assert many._counts["s255"] == 640, "points are halved six times"
    assert many._counts["s0"] == 2
    assert min(ring([*named(10, weight=256), *make_servers(1)])._counts.values()) >= 1


def test_without_a_key_it_spreads() -> None:
    counted = Counter(server.name for _ in range(5000) if (server := ring_of_four.pick(0)))
    assert min(counted.values()) > 900


ring_of_four = ring(named(4), bound=0)


# ---- the bound ----


def test_a_popular_key_does_not_overload_its_server() -> None:
    servers = named(4)
    balancer = ring(servers, bound=1.25)
    for _ in range(80):
        server = balancer.pick(0, b"popular")
        assert server is not None
        start(balancer, server)
    assert sorted(server.open_sessions for server in servers) == [5, 25, 25, 25]


def test_without_a_bound_it_does() -> None:
    servers = named(4)
    balancer = ring(servers, bound=0)
    for _ in range(80):
        server = balancer.pick(0, b"popular")
        assert server is not None
        start(balancer, server)
    assert sorted(server.open_sessions for server in servers) == [0, 0, 0, 80]
    assert balancer.score(servers[0], 0) is None


def test_the_score_is_load_over_bound() -> None:
    servers = make_servers(1, 3)
    balancer = ring(servers, bound=1.5)
    for _ in range(3):
        start(balancer, servers[0])
    assert balancer.score(servers[0], 0) == pytest.approx(3 / (1.5 * 4 / 4))
    assert balancer.score(servers[1], 0) == 0


operations = st.lists(
    st.tuples(st.sampled_from(["pick", "pick", "pick", "end", "update"]), st.integers(0, 30)), max_size=150
)


@given(
    weights=st.lists(st.integers(1, 64), min_size=5, max_size=5),
    bound=st.sampled_from([1.0, 1.1, 1.15, 1.25, 2.0]),
    operations=operations,
)
def test_nobody_ever_gets_more_than_the_bound(
    weights: list[int], bound: float, operations: list[tuple[str, int]]
) -> None:
    servers = named(5)
    for server, sixteenths in zip(servers, weights, strict=True):
        server.effective_weight = sixteenths / 16
    balancer = ring(servers, points=8, bound=bound)
    present = servers
    running: list[Server] = []
    for what, number in operations:
        if what == "pick":
            picked = balancer.pick(0, b"%d" % (number % 4))
            if picked is None:
                assert not present
                continue
            start(balancer, picked)
            running.append(picked)
            total = sum(server.open_sessions for server in present)
            share = Fraction(picked.effective_weight) / sum(Fraction(s.effective_weight) for s in present)
            assert picked.open_sessions <= ceil(Fraction(bound) * share * total)
        elif what == "end" and running:
            ended = running.pop(number % len(running))
            ended.open_sessions -= 1
            balancer.ended(ended, 1, Outcome.DONE, 0)
        elif what == "update":
            present = [server for i, server in enumerate(servers) if number >> i & 1]
            balancer.update(present, 0)
        assert balancer._open == sum(server.open_sessions for server in present)


def test_where_only_overloaded_ones_are_left_one_of_them_is_picked() -> None:
    servers = named(3)
    balancer = ring(servers, bound=1.0)
    for _ in range(9):
        start(balancer, servers[0])
    assert balancer.pick(0, b"key", servers[1:]) is servers[0]


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"points": 0}, "points"),
        ({"bound": 0.9}, "bound"),
        ({"bound": -1.0}, "bound"),
        ({"bound": float("nan")}, "bound"),
    ],
)
def test_options_out_of_range(options: dict[str, float], option: str) -> None:
    with pytest.raises(ValueError, match=f"^{option}: "):
        ConsistentHashOptions(**options)  # type: ignore[arg-type]
