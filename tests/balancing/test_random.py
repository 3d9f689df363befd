from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.balancing.random import Random, WeightedDraw
from lbkit.registry import NoOptions
from lbkit.server import Server
from tests.support.servers import make_servers


@pytest.mark.parametrize("weights", [(1, 2, 7), (3, 3, 3)])
def test_shares_are_in_proportion_to_the_weights(weights: tuple[int, ...]) -> None:
    servers = make_servers(*weights)
    balancer = Random(NoOptions(), random.Random(7))
    balancer.update(servers, 0)
    picks = Counter(balancer.pick(0) for _ in range(20_000))
    for server in servers:
        # Three standard deviations of a binomial share.
        share = server.weight / sum(weights)
        assert picks[server] / 20_000 == pytest.approx(share, abs=3 * (share * (1 - share) / 20_000) ** 0.5)


def test_the_last_one_left_is_found_however_light_it_is() -> None:
    servers = make_servers(256, 256, 256, 1)
    draw = WeightedDraw(servers, random.Random(7))
    assert {draw.draw(servers[:3]) for _ in range(50)} == {servers[3]}
    assert {draw.draw(servers[:2], servers[2]) for _ in range(50)} == {servers[3]}
    assert draw.draw(servers) is None


def test_shares_of_those_not_excluded_keep_their_proportion() -> None:
    servers = make_servers(250, 3, 1)
    draw = WeightedDraw(servers, random.Random(7))
    picks = Counter(draw.draw(servers[:1]) for _ in range(4000))
    assert picks[servers[1]] / 4000 == pytest.approx(0.75, abs=0.03)


def test_weights_are_read_at_each_update() -> None:
    servers = make_servers(1, 1)
    balancer = Random(NoOptions(), random.Random(7))
    balancer.update(servers, 0)
    servers[0].effective_weight = 99.0
    balancer.update(servers, 1)
    assert Counter(balancer.pick(1) for _ in range(1000))[servers[0]] > 950


@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 2, 5), (256, 1, 1)])
def test_a_pair_is_two_servers_by_weight(weights: tuple[int, ...]) -> None:
    """First by weight; second by weight among the others."""
    servers = make_servers(*weights)
    draw = WeightedDraw(servers, random.Random(7))
    pairs = Counter(draw.pair() for _ in range(20_000))
    for first in servers:
        for second in servers:
            if first is second:
                assert (first, second) not in pairs
                continue
            chance = first.weight / sum(weights) * second.weight / (sum(weights) - first.weight)
            assert pairs[first, second] / 20_000 == pytest.approx(chance, abs=0.012)


def test_a_pair_of_those_that_are_left() -> None:
    servers = make_servers(1, 5, 1)
    draw = WeightedDraw(servers, random.Random(7))
    for _ in range(50):
        assert set(draw.pair(servers[:1]) or ()) == set(servers[1:])
    assert draw.pair(servers[:2]) == (servers[2], servers[2])
    assert draw.pair(servers) is None
    assert WeightedDraw(servers[:1], random.Random(7)).pair() == (servers[0], servers[0])
    assert WeightedDraw((), random.Random(7)).pair() is None


class Chosen(random.Random):
    """Draws what it was told to."""

    def __init__(self, *draws: float) -> None:
        super().__init__()
        self._draws = list(draws)

    def random(self) -> float:
        return self._draws.pop(0)


@given(
    sixteenths=st.lists(st.one_of(st.integers(1, 16), st.just(4096)), min_size=2, max_size=40),
    one=st.floats(0, 1, exclude_max=True),
    two=st.floats(0, 1, exclude_max=True),
)
def test_the_guide_finds_what_a_search_of_everything_does(
    sixteenths: list[int], one: float, two: float
) -> None:
    servers = [Server(f"s{i}", f"127.0.0.1:{i + 1}") for i in range(len(sixteenths))]
    for server, weight in zip(servers, sixteenths, strict=True):
        server.effective_weight = weight / 16
    bounds = [sum(sixteenths[: i + 1]) / 16 for i in range(len(sixteenths))]
    draw = WeightedDraw(servers, Chosen(one, one, two))
    if draw.equal:
        return
    first = bisect_right(bounds, one * bounds[-1])
    assert draw.draw() is servers[first]
    found, other = draw.two()
    assert found == first
    assert other != first
    left = [i for i in range(len(servers)) if i != first]
    rest = list(accumulate(sixteenths[i] / 16 for i in left))
    assert other == left[bisect_right(rest, two * rest[-1])]
