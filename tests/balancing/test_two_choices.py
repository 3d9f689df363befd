from __future__ import annotations

import random
from collections import Counter
from math import log

import pytest

from lbkit.balancing.two_choices import TwoChoices, TwoChoicesOptions
from lbkit.server import Server
from tests.support.servers import make_servers


def two_choices(servers: list[Server]) -> TwoChoices:
    balancer = TwoChoices(TwoChoicesOptions(), random.Random(7))
    balancer.update(servers, 0)
    return balancer


def test_of_two_servers_the_less_loaded_is_taken() -> None:
    a, b = make_servers(1, 1)
    balancer = two_choices([a, b])
    a.open_sessions = 5
    assert {balancer.pick(0) for _ in range(20)} == {b}
    b.open_sessions = 6
    assert {balancer.pick(0) for _ in range(20)} == {a}


def test_load_is_in_proportion_to_the_weight() -> None:
    heavy, light = make_servers(4, 1)
    balancer = two_choices([heavy, light])
    heavy.open_sessions, light.open_sessions = 2, 0
    assert balancer.pick(0) is heavy, "3/4 is less than 1/1"
    heavy.open_sessions = 4
    assert balancer.pick(0) is light


def test_one_server_alone() -> None:
    (only,) = make_servers(1)
    assert two_choices([only]).pick(0) is only


def test_sessions_that_stay_spread_in_proportion_to_the_weights() -> None:
    servers = make_servers(1, 1, 2)
    balancer = two_choices(servers)
    for _ in range(400):
        server = balancer.pick(0)
        assert server is not None
        server.open_sessions += 1
    assert [server.open_sessions for server in servers] == pytest.approx([100, 100, 200], abs=2)


def test_balls_in_bins_stay_far_below_one_choice() -> None:
    """n balls in n bins: ln ln n / ln 2 + O(1) for two choices (Azar et al. 1994)."""
    n = 2000
    servers = [Server(str(i), f"127.0.0.1:{i + 1}") for i in range(n)]
    balancer = two_choices(servers)
    for _ in range(n):
        server = balancer.pick(0)
        assert server is not None
        server.open_sessions += 1
    fullest = max(server.open_sessions for server in servers)
    assert fullest <= log(log(n)) / log(2) + 2
    one_choice = Counter(random.Random(7).randrange(n) for _ in range(n))
    assert fullest < max(one_choice.values())
