from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.balancing import round_robin as module
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


def nginx(servers: list[Server], count: int) -> str:
    """The algorithm as nginx has it, with one pass for each pick."""
    credits = [0.0] * len(servers)
    order = []
    for _ in range(count):
        for i, server in enumerate(servers):
            credits[i] += server.effective_weight
        best = max(range(len(servers)), key=lambda i: (credits[i], -i))
        credits[best] -= sum(server.effective_weight for server in servers)
        order.append(servers[best].name)
    return "".join(order)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ((5, 1, 1), "aabacaa" * 2),  # nginx's published sequence
        ((4, 2, 1), "abacaba" * 2),
        ((1, 2, 3), "cbacbc" * 2),
        ((1, 1, 1), "abcabc"),
        ((4, 2), "abaaba"),
        ((7,), "aaaa"),
    ],
)
def test_published_sequences(weights: tuple[int, ...], expected: str) -> None:
    assert picks(round_robin(make_servers(*weights)), len(expected)) == expected


@given(st.lists(st.sampled_from([1, 2, 3, 4, 5, 12]), min_size=1, max_size=8))
def test_the_sequence_is_nginxs(weights: list[int]) -> None:
    servers = make_servers(*weights)
    assert picks(round_robin(servers), sum(weights) * 2) == nginx(servers, sum(weights) * 2)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6))
def test_each_round_is_exactly_in_proportion(weights: list[int]) -> None:
    balancer = round_robin(make_servers(*weights))
    counted = Counter(picks(balancer, sum(weights) * 3))
    assert counted == {server.name: server.weight * 3 for server in make_servers(*weights)}


def test_a_sixteenth_of_a_weight() -> None:
    servers = make_servers(1, 1)
    servers[0].effective_weight = 1 / 16
    assert Counter(picks(round_robin(servers), 34)) == {"a": 2, "b": 32}


# ---- many different weights: the heap ----


def many(count: int = 400) -> list[Server]:
    return [Server(f"s{i}", f"127.0.0.1:{i + 1}", weight=1 + i * 37 % 256) for i in range(count)]


def deviations(servers: list[Server], order: list[Server | None]) -> float:
    """The largest distance of a server's picks so far from its share, in picks, at any moment."""
    total = sum(server.effective_weight for server in servers)
    picked: Counter[Server | None] = Counter()
    worst = 0.0
    for number, server in enumerate(order, 1):
        picked[server] += 1
        if number % 500 == 0:
            for each in servers:
                worst = max(worst, abs(picked[each] - number * each.effective_weight / total))
    return worst


def test_long_rounds_are_smooth_from_the_start() -> None:
    servers = many()
    balancer = round_robin(servers)
    assert deviations(servers, [balancer.pick(0) for _ in range(60_000)]) < 2


def test_a_change_elsewhere_keeps_a_long_round() -> None:
    """One server comes and goes: among the others nobody's share is disturbed."""
    servers = many()
    balancer = round_robin(servers)
    order = []
    for step in range(6000):
        if step % 10 == 0:
            balancer.update(servers[: -1 if step % 20 else None], step)
        order.append(balancer.pick(step))
    assert deviations(servers[:-1], [server for server in order if server is not servers[-1]]) < 3


def test_excluded_in_a_long_round() -> None:
    servers = many()
    balancer = round_robin(servers)
    exclude = set(servers[::2])
    counted = Counter(balancer.pick(0, None, exclude) for _ in range(60_000))
    left = [server for server in servers if server not in exclude]
    assert set(counted) == set(left)
    total = sum(server.effective_weight for server in left)
    for server in left:
        assert counted[server] == pytest.approx(60_000 * server.effective_weight / total, abs=3)
    last = set(servers[1:])
    assert [balancer.pick(0, None, last) for _ in range(5)] == [servers[0]] * 5
    assert balancer.pick(0, None, set(servers)) is None


def test_who_was_next_stays_next_when_the_round_gets_long_and_short_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    servers = make_servers(1, 1, 1, 1)
    for done in range(4):
        balancer = round_robin(servers)
        picks(balancer, done)
        servers[0].effective_weight += 1 / 16
        monkeypatch.setattr(module, "_STEPS", 0)
        balancer.update(servers, 0)
        servers[0].effective_weight -= 1 / 16
        monkeypatch.undo()
        balancer.update(servers, 0)
        assert picks(balancer, 4) == ("abcd" * 2)[done : done + 4]


# ---- changes ----


def test_a_change_elsewhere_does_not_restart_the_round() -> None:
    servers = make_servers(1, 1, 1)
    balancer = round_robin(servers)
    assert picks(balancer, 1) == "a"
    balancer.update(servers[:2], 0)
    assert picks(balancer, 3) == "bab"


def test_where_the_next_one_leaves_the_one_after_it_comes() -> None:
    servers = make_servers(1, 1, 1, 1)
    balancer = round_robin(servers)
    assert picks(balancer, 1) == "a"
    balancer.update([servers[0], servers[2], servers[3]], 0)
    assert picks(balancer, 3) == "cda"


def test_an_update_that_changes_nothing_keeps_the_place() -> None:
    servers = make_servers(5, 1, 1)
    balancer = round_robin(servers)
    order = ""
    for now in range(14):
        balancer.update(servers, now)
        order += picks(balancer, 1)
    assert order == "aabacaa" * 2


def test_the_heavy_server_is_not_picked_first_after_each_change() -> None:
    servers = make_servers(5, 1, 1, 1)
    balancer = round_robin(servers)
    order = ""
    for now in range(2000):
        balancer.update(servers[: 3 + now % 2], now)
        order += picks(balancer, 1)
    counted = Counter(order)
    assert counted["b"] / counted["a"] == pytest.approx(0.2, abs=0.08)


def test_exclusion_keeps_the_credit_of_the_excluded() -> None:
    servers = make_servers(2, 1)
    balancer = round_robin(servers)
    assert balancer.pick(0, None, [servers[0]]) is servers[1]
    assert Counter(picks(balancer, 3)) == {"a": 2, "b": 1}


def test_the_others_keep_their_proportion_while_one_is_excluded() -> None:
    servers = make_servers(4, 2, 1)
    balancer = round_robin(servers)
    counted = Counter(balancer.pick(0, None, servers[:1]) for _ in range(300))
    assert counted == {servers[1]: 200, servers[2]: 100}
    assert "".join(sorted(picks(balancer, 7))) == "aaaabbc"
