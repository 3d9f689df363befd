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


@pytest.mark.parametrize("weights", [[1] * 20, [1] * 4, [1, 2] * 10, [1, 2]])
@pytest.mark.parametrize("choices", [2, 3, 5])
def test_of_several_choices_the_least_loaded_is_taken(choices: int, weights: list[int]) -> None:
    servers = [Server(str(i), f"127.0.0.1:{i + 1}", weight=weight) for i, weight in enumerate(weights)]
    balancer = TwoChoices(TwoChoicesOptions(choices=choices), random.Random(7))
    balancer.update(servers, 0)
    for i, server in enumerate(servers):
        server.open_sessions = i * 10
    picked = Counter(balancer.pick(0) for _ in range(20_000))
    share = picked[servers[0]] / 20_000
    if len(set(weights)) == 1:
        # It is taken whenever it is among those drawn.
        assert share == pytest.approx(min(1, choices / len(servers)), abs=0.02)
    else:
        assert share > 1 / len(servers)
    assert servers[0] not in {balancer.pick(0, None, servers[:1]) for _ in range(50)}


def test_equals_are_taken_equally_often() -> None:
    for choices in (2, 3, 8):
        servers = [Server(str(i), f"127.0.0.1:{i + 1}") for i in range(10)]
        balancer = TwoChoices(TwoChoicesOptions(choices=choices), random.Random(7))
        balancer.update(servers, 0)
        picked = Counter(balancer.pick(0) for _ in range(20_000))
        assert min(picked.values()) > 1800, choices


@pytest.mark.parametrize("choices", [1, 17])
def test_choices_out_of_range(choices: int) -> None:
    with pytest.raises(ValueError, match="^choices: "):
        TwoChoicesOptions(choices=choices)
