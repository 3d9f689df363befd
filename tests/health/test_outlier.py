from __future__ import annotations

import math
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from lbkit.health import OutlierDetector, OutlierRules
from lbkit.server import Server
from tests.support.servers import make_servers


def detector_of(servers: Sequence[Server], **rules: float) -> OutlierDetector:
    detector = OutlierDetector(OutlierRules(**rules), now=0.0)  # type: ignore[arg-type]
    detector.keep(servers)
    return detector


def fail(detector: OutlierDetector, server: Server, times: int, now: float) -> bool:
    return [detector.count(server, True, now) for _ in range(times)][-1]


def test_failures_in_a_row_eject_for_the_base_time() -> None:
    servers = make_servers(*[1] * 10)
    detector = detector_of(servers)
    assert not fail(detector, servers[0], 4, 1)
    assert not detector.count(servers[0], False, 1), "a success in between starts anew"
    assert not fail(detector, servers[0], 4, 1)
    assert fail(detector, servers[0], 1, 2)
    assert detector.is_ejected(servers[0])
    assert detector.ejected_until(servers[0]) == 32
    detector.advance(31.9)
    assert detector.is_ejected(servers[0])
    assert detector.advance(32)
    assert not detector.is_ejected(servers[0])


def test_each_ejection_is_longer_up_to_the_most_and_good_conduct_shortens() -> None:
    servers = make_servers(*[1] * 10)
    detector = detector_of(servers, max_ejection=70)
    now, lengths = 0.0, []
    for _ in range(4):
        assert fail(detector, servers[0], 5, now)
        lengths.append(detector.ejected_until(servers[0]) - now)
        now = detector.ejected_until(servers[0])
        detector._sweep_at = math.inf  # no time to improve in this part
        detector.advance(now)
    assert lengths == [30, 60, 70, 70]
    detector._sweep_at = now
    for _ in range(3):
        detector.advance(now)
        now += 10
    assert fail(detector, servers[0], 5, now)
    assert detector.ejected_until(servers[0]) - now == 60, "four ejections, three good intervals"


def test_at_most_a_tenth_is_out_but_one_may_always_be() -> None:
    for count, most in ((1, 1), (5, 1), (19, 1), (20, 2), (39, 3)):
        servers = make_servers(*[1] * count)
        detector = detector_of(servers)
        for server in servers:
            fail(detector, server, 5, 1)
        assert sum(map(detector.is_ejected, servers)) == most


def test_a_success_rate_far_under_the_others_ejects_at_the_interval() -> None:
    servers = make_servers(*[1] * 10)
    detector = detector_of(servers, consecutive=1_000_000)
    for server in servers:
        for i in range(100):
            detector.count(server, i % (2 if server is servers[3] else 50) == 0, 1)
    assert not detector.advance(9.9)
    assert detector.advance(10)
    assert [server.name for server in servers if detector.is_ejected(server)] == ["d"]


def test_rates_are_compared_only_with_enough_servers_and_requests() -> None:
    for count, requests in ((4, 100), (10, 99)):
        servers = make_servers(*[1] * count)
        detector = detector_of(servers, consecutive=1_000_000)
        for server in servers:
            for _ in range(requests):
                detector.count(server, server is servers[0], 1)
        assert not detector.advance(10)


def test_servers_that_are_all_alike_are_no_outliers() -> None:
    servers = make_servers(*[1] * 7)
    detector = detector_of(servers, consecutive=1_000_000)
    for server in servers:
        for i in range(300):
            detector.count(server, i % 3 == 0, 1)
    assert not detector.advance(10)


def test_strangers_are_ignored_and_those_who_leave_forgotten() -> None:
    a, b, stranger = make_servers(1, 1, 1)
    detector = detector_of([a, b])
    assert not fail(detector, stranger, 9, 1)
    assert fail(detector, a, 5, 1)
    detector.keep([b])
    detector.keep([a, b])
    assert not detector.is_ejected(a)


@given(
    st.lists(st.tuples(st.integers(0, 24), st.booleans(), st.floats(0, 20)), max_size=300),
    st.integers(1, 25),
)
def test_bounds_hold_whatever_happens(events: list[tuple[int, bool, float]], count: int) -> None:
    servers = [Server(str(i), f"127.0.0.1:{i + 1}") for i in range(count)]
    detector = detector_of(servers, consecutive=2, rate_requests=3, rate_servers=2)
    now = 0.0
    for index, failed, pause in events:
        now += pause
        if now >= detector.next_deadline():
            detector.advance(now)
            assert detector.next_deadline() > now
        detector.count(servers[index % count], failed, now)
        out = [server for server in servers if detector.is_ejected(server)]
        assert len(out) <= max(1, count // 10)
        assert all(now < detector.ejected_until(server) <= now + 300 for server in out)
