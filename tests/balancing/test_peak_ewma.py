from __future__ import annotations

import random
from collections import Counter
from math import exp

import pytest

from lbkit.balancing import ALGORITHMS
from lbkit.balancing.peak_ewma import PeakEwma, PeakEwmaOptions
from lbkit.server import Outcome, Server
from lbkit.testing.traffic import Traffic, servers_of
from tests.support.servers import make_servers


def peak_ewma(servers: list[Server], **options: float) -> PeakEwma:
    balancer = PeakEwma(PeakEwmaOptions(**options), random.Random(7))
    balancer.update(servers, 0)
    return balancer


def request(
    balancer: PeakEwma, server: Server, start: float, seconds: float, outcome: Outcome = Outcome.DONE
) -> None:
    server.open_sessions += 1
    balancer.started(server, start)
    server.open_sessions -= 1
    balancer.ended(server, seconds, outcome, start + seconds)


# ---- the estimate; an idle server of weight 1 costs what it is estimated ----


def test_the_first_sample_is_the_estimate() -> None:
    (a,) = make_servers(1)
    balancer = peak_ewma([a])
    request(balancer, a, 0.0, 0.2)
    assert balancer.score(a, 0.2) == pytest.approx(0.2)


def test_a_peak_is_taken_at_once() -> None:
    (a,) = make_servers(1)
    balancer = peak_ewma([a])
    request(balancer, a, 0.0, 0.2)
    request(balancer, a, 1.0, 3.0)
    assert balancer.score(a, 4.0) == pytest.approx(3.0)


def test_a_lower_sample_counts_by_the_time_since_the_last() -> None:
    """estimate × w + sample × (1 − w), w = e^(−t/decay) (Finagle, PeakEwma)."""
    (a,) = make_servers(1)
    balancer = peak_ewma([a], decay=2.0)
    request(balancer, a, 0.0, 1.0)
    request(balancer, a, 1.7, 0.1)
    weight = exp(-0.8 / 2)
    assert balancer.score(a, 1.8) == pytest.approx(1.0 * weight + 0.1 * (1 - weight))


def test_it_decays_while_no_samples_come() -> None:
    (a,) = make_servers(1)
    balancer = peak_ewma([a], decay=0.5)
    request(balancer, a, 0.0, 1.0)
    assert balancer.score(a, 1.5) == pytest.approx(exp(-1))


def test_an_idle_server_is_tried_after_a_while_and_comes_down_fast_when_it_is_good() -> None:
    (a,) = make_servers(1)
    balancer = peak_ewma([a], decay=1000.0)
    request(balancer, a, 0.0, 1.0)
    assert balancer.score(a, 1.99) == pytest.approx(1.0, rel=0.01)
    assert balancer.score(a, 2.0) == 0.0, "its trial is due"
    a.open_sessions = 1
    assert balancer.score(a, 2.0) == pytest.approx(2.0, rel=0.01), "one at a time"
    a.open_sessions = 0
    estimates = []
    for trial in range(6):
        request(balancer, a, 2.0 + 2 * trial, 0.001)
        estimates.append(balancer.score(a, 2.1 + 2 * trial))
    assert estimates == pytest.approx([1 / 4, 1 / 16, 1 / 64, 1 / 256, 0.001, 0.001], rel=0.02)


def test_trials_of_a_server_that_stays_slow_become_rare() -> None:
    (a,) = make_servers(1)
    balancer = peak_ewma([a])
    now, pauses = 1.0, []
    request(balancer, a, 0.0, 1.0)
    for _ in range(5):
        ended = now
        while balancer.score(a, now):
            now += 0.125
        pauses.append(now - ended)
        request(balancer, a, now, 1.0)
        now += 1.0
    assert pauses == [1, 2, 4, 8, 8]


def test_one_failure_costs_a_fast_server_seconds_and_not_a_minute() -> None:
    servers = servers_of([1, 1])
    balancer = peak_ewma(servers)
    traffic = Traffic(balancer, lambda server, now: 0.001, rate=500.0)
    traffic.run(2.0)
    traffic.finish()
    request(balancer, servers[0], traffic.now, 0.0, Outcome.CONNECT_FAILED)
    name = servers[0].name
    at_first = traffic.run(1.0).picks
    assert at_first[name] < 25, "it is avoided"
    traffic.run(9.0)
    later = traffic.run(4.0).picks
    assert later[name] > later.total() / 4, "half of its share"


def test_cost_is_latency_by_open_sessions_in_proportion_to_the_weight() -> None:
    (a,) = make_servers(4)
    balancer = peak_ewma([a])
    request(balancer, a, 0.0, 0.2)
    a.open_sessions = 3
    assert balancer.score(a, 0.2) == pytest.approx(0.2 * 4 / 4)
    a.open_sessions = 0
    assert balancer.score(a, 0.2) == pytest.approx(0.05)


def test_the_lower_cost_is_picked() -> None:
    a, b = servers = make_servers(1, 1)
    balancer = peak_ewma(servers)
    request(balancer, a, 0.0, 0.2)
    request(balancer, b, 0.0, 0.5)
    assert {balancer.pick(0.5) for _ in range(20)} == {a}
    a.open_sessions = 2
    assert {balancer.pick(0.5) for _ in range(20)} == {b}


# ---- what is a sample ----


def test_the_first_byte_counts_where_it_is_known() -> None:
    (a,) = make_servers(1)
    balancer = peak_ewma([a])
    a.open_sessions = 1
    balancer.started(a, 0.0)
    balancer.responded(a, 0.1, 0.1)
    a.open_sessions = 0
    balancer.ended(a, 60.0, Outcome.DONE, 60.0)
    assert balancer.score(a, 0.1) == pytest.approx(0.1), "the long body says nothing of its latency"


def test_one_failure_counts_as_the_penalty_and_several_as_more() -> None:
    (a,) = make_servers(1)
    balancer = peak_ewma([a], penalty=2.0)
    scores = []
    for _ in range(4):
        request(balancer, a, 0.0, 0.0, Outcome.CONNECT_FAILED)
        scores.append(balancer.score(a, 0.0))
    assert scores == [2.0, 4.0, 8.0, 8.0]


def test_a_success_ends_the_row_of_failures() -> None:
    (a,) = make_servers(1)
    balancer = peak_ewma([a], penalty=2.0)
    request(balancer, a, 0.0, 0.0, Outcome.ERROR)
    request(balancer, a, 0.0, 0.0)
    request(balancer, a, 0.0, 0.0, Outcome.ERROR)
    assert balancer.score(a, 0.0) == 2.0


def test_a_failure_is_never_better_than_what_is_typical() -> None:
    a, b = servers = make_servers(1, 1)
    balancer = peak_ewma(servers, penalty=0.001)
    request(balancer, a, 0.0, 0.5)
    request(balancer, b, 0.5, 0.0, Outcome.CONNECT_FAILED)
    assert balancer.score(b, 0.5) == pytest.approx(0.5)


def test_a_cancelled_request_raises_and_never_lowers() -> None:
    (a,) = make_servers(1)
    balancer = peak_ewma([a])
    request(balancer, a, 0.0, 0.5)
    request(balancer, a, 0.4, 0.1, Outcome.CANCELLED)
    assert balancer.score(a, 0.5) == pytest.approx(0.5)
    request(balancer, a, 0.5, 4.0, Outcome.CANCELLED)
    assert balancer.score(a, 4.5) == pytest.approx(4.0)


def test_a_newcomer_is_taken_to_be_typical() -> None:
    a, b, c = make_servers(1, 1, 1)
    balancer = peak_ewma([a, b], default_latency=7.0)
    assert balancer.score(a, 0.0) == 7.0
    request(balancer, a, 0.0, 0.2)
    balancer.update([a, b, c], 0.2)
    assert balancer.score(c, 0.2) == pytest.approx(0.2)


# ---- requests that don't come back ----


def test_a_server_that_hangs_is_noticed_before_anything_ends() -> None:
    a, b = servers = make_servers(1, 1)
    balancer = peak_ewma(servers)
    for server in servers:
        request(balancer, server, 0.0, 0.1)
    a.open_sessions += 1
    balancer.started(a, 1.0)
    assert balancer.score(a, 1.5) == pytest.approx(0.5 * 2)
    b.open_sessions += 2
    balancer.started(b, 1.4)
    balancer.started(b, 1.45)
    assert {balancer.pick(1.5) for _ in range(20)} == {b}


def test_one_long_poll_says_nothing() -> None:
    (a,) = make_servers(1)
    balancer = peak_ewma([a])
    request(balancer, a, 0.0, 0.1)
    a.open_sessions = 3
    for start in (0.1, 99.9, 99.95):
        balancer.started(a, start)
    request_cost = balancer.score(a, 100.0)
    assert request_cost is not None
    assert request_cost <= 0.1 * 4


def test_an_answered_request_does_not_wait() -> None:
    (a,) = make_servers(1)
    balancer = peak_ewma([a])
    a.open_sessions = 1
    balancer.started(a, 0.0)
    balancer.responded(a, 0.1, 0.1)
    assert balancer.score(a, 10.1) == pytest.approx(0.1 * exp(-1) * 2)


def test_reports_by_another_clock_leave_nothing_behind() -> None:
    """A proxy may measure by one clock and tell the time by another that lags some milliseconds."""
    servers = make_servers(1, 1)
    balancer = peak_ewma(servers)
    rng = random.Random(7)
    running: list[tuple[float, Server]] = []
    for step in range(5000):
        now = step * 0.01
        server = balancer.pick(now)
        assert server is not None
        server.open_sessions += 1
        balancer.started(server, now)
        running.append((now, server))
        while len(running) > 20:
            start, server = running.pop(rng.randrange(len(running)))
            seconds = max(0.0, now - start + rng.uniform(-0.004, 0.004))
            outcome = rng.choice(list(Outcome))
            if outcome in (Outcome.DONE, Outcome.ERROR):
                balancer.responded(server, seconds, now)
            server.open_sessions -= 1
            balancer.ended(server, seconds, outcome, now)
    for server in servers:
        assert len(balancer._latencies[server].waiting) <= server.open_sessions


# ---- as a whole ----


def beyond_round_robin(name: str) -> tuple[float, Counter[str], Counter[str]]:
    """Linkerd's experiment: success, the picks of that minute, and of the minute after it."""
    entry = ALGORITHMS[name]
    balancer = entry.factory(entry.options(), random.Random(7))
    servers = servers_of([1] * 11)
    balancer.update(servers, 0.0)
    rng = random.Random(3)

    def latency(server: Server, now: float) -> float:
        hangs = server is servers[0] and 15 <= now < 45
        return max(0.001, rng.gauss(2.0 if hangs else 0.167, 0.005))

    traffic = Traffic(balancer, latency, rate=1000, timeout=1.0)
    first = traffic.run(60)
    return first.success, first.picks, traffic.run(60).picks


def test_beyond_round_robin() -> None:
    """Round robin 95 %, least loaded 99 %, peak EWMA 99.9 % (Linkerd, "Beyond Round Robin", 2016)."""
    assert beyond_round_robin("round_robin")[0] == pytest.approx(0.95, abs=0.01)
    assert beyond_round_robin("two_choices")[0] == pytest.approx(0.99, abs=0.002)
    success, _, afterwards = beyond_round_robin("peak_ewma")
    assert success >= 0.999
    assert afterwards["s0"] * 11 / afterwards.total() >= 0.5


@pytest.mark.parametrize("option", ["decay", "penalty", "default_latency"])
@pytest.mark.parametrize("seconds", [0.0, -1.0, float("inf"), float("nan")])
def test_options_out_of_range(option: str, seconds: float) -> None:
    with pytest.raises(ValueError, match=f"^{option}: "):
        PeakEwmaOptions(**{option: seconds})
