from __future__ import annotations

import random
from collections import Counter

import pytest

from lbkit.balancing.random import Random, WeightedDraw
from lbkit.registry import NoOptions
from tests.support.servers import make_servers


def test_shares_are_in_proportion_to_the_weights() -> None:
    servers = make_servers(1, 2, 7)
    balancer = Random(NoOptions(), random.Random(7))
    balancer.update(servers, 0)
    picks = Counter(balancer.pick(0) for _ in range(20_000))
    for server in servers:
        # Three standard deviations of a binomial share.
        share = server.weight / 10
        assert picks[server] / 20_000 == pytest.approx(share, abs=3 * (share * (1 - share) / 20_000) ** 0.5)


def test_the_last_one_left_is_found_however_light_it_is() -> None:
    servers = make_servers(256, 256, 256, 1)
    draw = WeightedDraw(servers, random.Random(7))
    assert {draw.draw(servers[:3]) for _ in range(50)} == {servers[3]}
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
