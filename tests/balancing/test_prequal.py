from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from math import inf

import pytest

from lbkit.balancing.prequal import Prequal, PrequalOptions
from lbkit.server import Outcome, Server
from lbkit.testing.traffic import Traffic
from tests.support.servers import make_servers

KEEP = {"remove_rate": 0.0, "probe_rate": 0.0}
"""Nothing leaves the pool by itself."""


def prequal(servers: Sequence[Server], **options: float) -> Prequal:
    balancer = Prequal(PrequalOptions(**options), random.Random(7))  # type: ignore[arg-type]
    balancer.update(servers, 0)
    return balancer


def many(count: int) -> list[Server]:
    return [Server(f"s{i}", f"127.0.0.1:{i + 1}") for i in range(count)]


def answer(balancer: Prequal, *answers: tuple[Server, int, float | None], now: float = 0.0) -> None:
    for server, in_flight, seconds in answers:
        balancer.probed(server, in_flight, seconds, now)


# ---- hot and cold ----


def test_of_the_cold_the_one_with_the_lowest_latency() -> None:
    a, b, c, d = servers = make_servers(1, 1, 1, 1)
    balancer = prequal(servers, quantile=0.75, **KEEP)
    answer(balancer, (a, 1, 0.3), (b, 2, 0.1), (c, 3, 0.2), (d, 9, 0.0001))
    # Three quarters of 1 2 3 9 is 9: the fast one is hot.
    assert balancer.pick(0.0) is b


def test_where_all_are_hot_the_one_with_the_lowest_rif() -> None:
    a, b, c = servers = make_servers(1, 1, 1)
    balancer = prequal(servers, quantile=0.0, **KEEP)
    answer(balancer, (a, 5, 0.001), (b, 3, 0.9), (c, 4, 0.1))
    assert balancer.pick(0.0) is b


def test_by_latency_only() -> None:
    a, b = servers = make_servers(1, 1)
    balancer = prequal(servers, quantile=1.0, **KEEP)
    answer(balancer, (a, 0, 0.2), (b, 1000, 0.1))
    assert balancer.pick(0.0) is b


def test_equal_rif_is_hot_and_then_latency_decides() -> None:
    a, b = servers = make_servers(1, 1)
    balancer = prequal(servers, **KEEP)
    answer(balancer, (a, 0, 0.2), (b, 0, 0.1))
    assert balancer.pick(0.0) is b


def test_rif_is_in_proportion_to_the_weight() -> None:
    heavy, light = servers = make_servers(4, 1)
    balancer = prequal(servers, quantile=0.0, **KEEP)
    answer(balancer, (heavy, 3, 0.1), (light, 1, 0.1))
    assert balancer.pick(0.0) is heavy


def test_a_pick_adds_one_to_the_rif_it_went_by() -> None:
    a, b = servers = make_servers(1, 1)
    balancer = prequal(servers, quantile=0.0, **KEEP)
    answer(balancer, (a, 0, 0.1), (b, 2, 0.1))
    assert [balancer.pick(0.0) for _ in range(3)] == [a, a, a]
    assert balancer.pick(0.0) is b


def test_the_limit_is_a_quantile_of_the_last_answers() -> None:
    servers = many(100)
    balancer = prequal(servers, quantile=0.84, **KEEP)
    for rif in range(100):
        answer(balancer, (servers[rif], rif, 0.1))
    assert balancer._rif_limit() == 84
    for _ in range(2):
        for server in servers:
            answer(balancer, (server, 7, 0.1))
    assert balancer._rif_limit() == 7
    assert len(balancer._sorted_rifs) == 128


# ---- the pool ----


def test_with_fewer_than_two_answers_a_server_is_drawn() -> None:
    a, b = servers = make_servers(3, 1)
    balancer = prequal(servers, **KEEP)
    answer(balancer, (b, 0, 0.0))
    picked = Counter(balancer.pick(0.0) for _ in range(2000))
    assert picked[a] / 2000 == pytest.approx(0.75, abs=0.04)


def test_answers_about_excluded_servers_are_passed_over() -> None:
    a, b, c = servers = make_servers(1, 1, 1)
    balancer = prequal(servers, **KEEP)
    answer(balancer, (a, 0, 0.1), (b, 0, 0.2), (c, 0, 0.3))
    assert balancer.pick(0.0, None, [a]) is b
    assert balancer.pick(0.0, None, servers) is None


def test_answers_age() -> None:
    a, b, c = servers = make_servers(1, 1, 1)
    balancer = prequal(servers, **KEEP)
    answer(balancer, (a, 0, 0.1), now=0.0)
    answer(balancer, (b, 0, 0.2), (c, 0, 0.3), now=0.5)
    assert balancer.pick(1.0) is a
    assert balancer.pick(1.1) is b
    balancer.pick(1.6)
    assert not balancer._pool


def test_the_oldest_makes_room_and_a_newer_answer_replaces_the_same_servers() -> None:
    servers = many(5)
    balancer = prequal(servers, pool_size=3, **KEEP)
    for server in servers:
        answer(balancer, (server, 0, 0.1))
    assert [entry.server for entry in balancer._pool] == servers[2:]
    answer(balancer, (servers[2], 5, 0.1))
    assert [(entry.server, entry.in_flight) for entry in balancer._pool] == [
        (servers[3], 0),
        (servers[4], 0),
        (servers[2], 5),
    ]


def test_removal_takes_the_worst_and_the_oldest_in_turns() -> None:
    servers = many(30)
    balancer = prequal(servers, quantile=0.5, remove_rate=1.0, probe_rate=0.0, pool_size=6)
    answer(balancer, *((servers[i], rif, 0.1 * (i + 1)) for i, rif in enumerate((0, 1, 9, 5, 2, 0))))
    balancer.pick(0.0)
    assert servers[2] not in {entry.server for entry in balancer._pool}, "the hot one with the highest RIF"
    oldest = balancer._pool[0].server
    balancer.pick(0.0)
    assert oldest not in {entry.server for entry in balancer._pool}


def test_the_worst_of_cold_ones_is_the_slowest() -> None:
    servers = many(3)
    balancer = prequal(servers, quantile=1.0, remove_rate=1.0, probe_rate=0.0)
    answer(balancer, (servers[0], 0, 0.1), (servers[1], 5, 0.9), (servers[2], 9, 0.2))
    balancer.pick(0.0)
    assert [entry.server for entry in balancer._pool] == [servers[0], servers[2]]


@pytest.mark.parametrize(
    ("servers", "budget"),
    # (1 + 1) / ((1 − m/n) × 3 − 1), at least 1; m is 16, but a quarter of fewer than 64, and at least 2
    [(100, 2 / (0.84 * 3 - 1)), (10_000, 1.0), (32, 1.6), (8, 1.6), (4, 4.0), (3, inf), (1, inf)],
)
def test_the_reuse_budget(servers: int, budget: float) -> None:
    assert prequal(many(servers))._reuse == pytest.approx(budget, rel=0.01)


def test_an_answer_is_used_as_often_as_its_budget_allows() -> None:
    servers = many(100)
    balancer = prequal(servers, remove_rate=0.0, probe_rate=3.0)
    balancer._reuse = 2.25
    counts = Counter()  # type: Counter[int]
    for _ in range(2000):
        counts[int(balancer._uses())] += 1
    assert set(counts) == {2, 3}
    assert counts[3] / 2000 == pytest.approx(0.25, abs=0.04)
    balancer._reuse = 1.0
    answer(balancer, (servers[0], 0, 0.1), (servers[1], 0, 0.2), (servers[2], 0, 0.3))
    assert [balancer.pick(0.0) for _ in range(2)] == servers[:2]
    assert [entry.server for entry in balancer._pool] == [servers[2]]


# ---- probes ----


@pytest.mark.parametrize(("rate", "expected"), [(3.0, 300), (0.5, 50), (1.25, 125), (0.0, 0)])
def test_the_rate_of_probes(rate: float, expected: int) -> None:
    balancer = prequal(many(50), probe_rate=rate, remove_rate=0.0)
    asked = 0
    for _ in range(100):
        balancer.pick(0.0)
        probes = balancer.take_probes()
        assert len(set(probes)) == len(probes)
        assert not balancer.take_probes()
        asked += len(probes)
    assert asked == expected


def test_probes_go_by_weight() -> None:
    servers = many(20)
    servers[0].effective_weight = 10.0
    balancer = prequal(servers, probe_rate=1.0)
    asked = Counter()  # type: Counter[Server]
    for _ in range(3000):
        balancer.pick(0.0)
        asked.update(balancer.take_probes())
    assert asked[servers[0]] / 3000 == pytest.approx(10 / 29, abs=0.04)


def test_an_answer_about_a_server_that_has_left_is_dropped() -> None:
    servers = make_servers(1, 1)
    balancer = prequal(servers)
    balancer.update(servers[1:], 1.0)
    balancer.probed(servers[0], 0, 0.1, 1.0)
    assert not balancer._pool
    assert balancer.score(servers[0], 1.0) is None


# ---- latencies seen here ----


def latency(balancer: Prequal, server: Server, in_flight: int, now: float) -> float:
    balancer.probed(server, in_flight, None, now)
    return next(entry.seconds for entry in balancer._pool if entry.server is server)


def end(
    balancer: Prequal, server: Server, left: int, seconds: float, now: float, outcome: Outcome = Outcome.DONE
) -> None:
    server.open_sessions = left
    balancer.ended(server, seconds, outcome, now)


def test_a_server_that_tells_no_latency_has_the_median_at_about_that_rif() -> None:
    (a,) = make_servers(1)
    balancer = prequal([a], **KEEP)
    assert latency(balancer, a, 0, 0.0) == 0.0, "nothing known: to be tried"
    for seconds in (0.1, 0.2, 9.0):
        end(balancer, a, 1, seconds, 1.0)
    for seconds in (0.5, 0.6, 0.7):
        end(balancer, a, 6, seconds, 1.0)
    assert latency(balancer, a, 1, 1.0) == 0.2
    assert latency(balancer, a, 5, 1.0) == 0.6
    assert latency(balancer, a, 100, 1.0) == 0.6
    assert latency(balancer, a, 0, 1.0) == 0.2


def test_latencies_are_forgotten() -> None:
    (a,) = make_servers(1)
    balancer = prequal([a], memory=10.0, **KEEP)
    end(balancer, a, 0, 5.0, 1.0)
    assert latency(balancer, a, 0, 11.0) == 5.0
    assert latency(balancer, a, 0, 11.1) == 0.0


def test_failures_are_not_fast_and_cancelled_ones_only_slow() -> None:
    (a,) = make_servers(1)
    balancer = prequal([a], penalty=2.0, **KEEP)
    end(balancer, a, 0, 0.001, 1.0, Outcome.CONNECT_FAILED)
    assert latency(balancer, a, 0, 1.0) == 2.0
    (b,) = make_servers(1)
    balancer = prequal([b], **KEEP)
    end(balancer, b, 0, 0.5, 1.0)
    end(balancer, b, 0, 0.1, 1.0, Outcome.CANCELLED)
    assert latency(balancer, b, 0, 1.0) == 0.5
    for _ in range(3):
        end(balancer, b, 0, 3.0, 1.0, Outcome.CANCELLED)
    assert latency(balancer, b, 0, 1.0) == 3.0


def test_the_score_puts_every_cold_one_before_every_hot_one() -> None:
    a, b, c = servers = make_servers(1, 1, 1)
    balancer = prequal(servers, quantile=0.5, **KEEP)
    answer(balancer, (a, 0, 0.3), (b, 4, 0.1), (c, 5, 0.1))
    scores = [balancer.score(server, 0.0) for server in servers]
    assert scores == [0.3, 1e9 + 4, 1e9 + 5]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("pool_size", 1),
        ("pool_size", 257),
        ("probe_rate", -0.1),
        ("probe_rate", 17.0),
        ("remove_rate", -1.0),
        ("quantile", 1.1),
        ("max_age", 0.0),
        ("memory", inf),
        ("penalty", -1.0),
    ],
)
def test_options_out_of_range(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{option}: "):
        PrequalOptions(**{option: value})  # type: ignore[arg-type]


def test_servers_that_differ_by_little_more_than_noise_share_alike() -> None:
    a, b, c = servers = make_servers(1, 1, 1)
    slower = {a: 1.0, b: 1.08, c: 1.15}
    rng = random.Random(7)
    balancer = prequal(servers)
    traffic = Traffic(balancer, lambda server, now: slower[server] * rng.uniform(0.010, 0.012), rate=400.0)
    picks = traffic.run(3.0).picks
    assert min(picks.values()) > picks.total() / 3 * 0.6


def test_latencies_within_a_quarter_are_equal_and_rif_decides() -> None:
    a, b, c, d = servers = make_servers(1, 1, 1, 1)
    balancer = prequal(servers, quantile=0.75, **KEEP)
    answer(balancer, (a, 3, 0.100), (b, 2, 0.124), (c, 1, 0.126), (d, 9, 0.0001))
    assert balancer.pick(0.0) is b
