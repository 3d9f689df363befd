from __future__ import annotations

import random

import pytest

from lbkit.firewall import Denial, Firewall, FirewallSettings, Network, NetworkTable, Rate, Rule, place_of

A, B = place_of("192.0.2.1"), place_of("192.0.2.2")


def firewall(**settings: object) -> Firewall:
    return Firewall(FirewallSettings(**settings), random.Random(7))  # type: ignore[arg-type]


def test_with_nothing_configured_everybody_comes_in() -> None:
    wall = firewall()
    assert wall.judge(A, 0.0) is None
    assert wall.judge_request(A, "GET", b"/", [], 0.0) is None
    assert not wall.settings.judges_requests
    assert set(wall.counters.values()) == {0}


def test_networks() -> None:
    wall = firewall(networks=NetworkTable([], [Network.parse("192.0.2.1")]))
    assert wall.judge(A, 0.0) is Denial.NETWORK
    assert wall.judge(B, 0.0) is None
    assert wall.counters["denied_network"] == 1


def test_sessions_of_one_client() -> None:
    wall = firewall(max_connections=2)
    held = []
    for _ in range(2):
        assert wall.judge(A, 0.0) is None
        held.append(wall.began(A))
    assert wall.judge(A, 0.0) is Denial.CONNECTIONS
    assert wall.judge(B, 0.0) is None
    wall.ended(held.pop())
    assert wall.judge(A, 0.0) is None
    wall.ended(held.pop())
    assert wall.open_sessions(A) == 0


def test_connection_rate() -> None:
    wall = firewall(connection_rate=Rate.parse("10/s burst 1"))
    assert wall.judge(A, 0.0) is None
    assert wall.judge(A, 0.01) is Denial.CONNECTION_RATE
    assert wall.judge(B, 0.01) is None
    assert wall.judge(A, 0.2) is None


def test_ipv6_clients_are_networks() -> None:
    wall = firewall(connection_rate=Rate.parse("1/h"))
    assert wall.judge(place_of("2001:db8::1"), 0.0) is None
    assert wall.judge(place_of("2001:db8::2"), 0.0) is Denial.CONNECTION_RATE
    assert wall.judge(place_of("2001:db8:0:1::2"), 0.0) is None


def test_offences_ban_and_a_ban_ends() -> None:
    wall = firewall(connection_rate=Rate.parse("1/s"), ban_after=3, ban_window=10.0, ban_time=60.0)
    found = [wall.judge(A, now) for now in (0.0, 0.1, 0.2, 0.3, 0.4)]
    assert found == [None, *[Denial.CONNECTION_RATE] * 3, Denial.BAN]
    assert wall.judge(A, 60.0) is Denial.BAN
    assert wall.judge(A, 60.4) is None
    assert wall.judge(B, 0.4) is None
    assert wall.counters == {
        "denied_network": 0,
        "denied_ban": 2,
        "denied_connections": 0,
        "denied_connection_rate": 3,
        "denied_request_rate": 0,
        "denied_rule": 0,
        "bans": 1,
    }


def test_who_shares_a_bucket_with_others_is_no_offender() -> None:
    wall = firewall(connection_rate=Rate.parse("1/h"), max_clients=1, ban_after=1)
    wall.judge(A, 0.0)
    assert wall.judge(B, 0.0) is None
    assert wall.judge(B, 0.0) is Denial.CONNECTION_RATE
    assert wall.judge(B, 0.0) is Denial.CONNECTION_RATE
    assert wall.counters["bans"] == 0


def test_requests_have_a_rate_of_their_own() -> None:
    wall = firewall(request_rate=Rate.parse("1/s"), ban_after=2, ban_time=60.0)
    assert wall.judge_request(A, "GET", b"/", [], 0.0) is None
    refusal = wall.judge_request(A, "GET", b"/", [], 0.25)
    assert refusal is not None
    assert (refusal.status, refusal.reason) == (429, Denial.REQUEST_RATE)
    assert refusal.retry_after == pytest.approx(0.75)
    wall.judge_request(A, "GET", b"/", [], 0.3)
    banned = wall.judge_request(A, "GET", b"/", [], 10.3)
    assert banned is not None
    assert (banned.status, banned.reason, banned.retry_after) == (429, Denial.BAN, pytest.approx(50))
    assert wall.judge(A, 10.3) is Denial.BAN, "a ban is of everything"
    assert wall.judge_request(None, "GET", b"/", [], 0.3) is None


def test_the_first_rule_counts() -> None:
    wall = firewall(
        rules=(
            Rule("GET", b"/admin/open", status=0),
            Rule(path=b"/admin/", status=404),
            Rule("TRACE", status=405),
        )
    )
    assert wall.settings.judges_requests
    found = {
        (method, path): wall.judge_request(None, method, path, [], 0.0)
        for method, path in [
            ("GET", b"/admin/open"),
            ("GET", b"/admin/x"),
            ("POST", b"/admin/open"),
            ("TRACE", b"/"),
            ("GET", b"/"),
        ]
    }
    assert [refusal.status if refusal else 0 for refusal in found.values()] == [0, 404, 404, 405, 0]
    assert wall.counters["denied_rule"] == 3


def test_a_change_keeps_what_is_known_of_clients() -> None:
    rate = Rate.parse("1/h")
    wall = firewall(connection_rate=rate, max_connections=5, ban_after=1, ban_time=60.0)
    held = wall.began(A)
    wall.judge(A, 0.0)
    wall.judge(A, 0.0)
    settings = FirewallSettings(connection_rate=rate, max_connections=1, ban_after=1, ban_time=5.0)
    wall.change(settings, 1.0)
    assert wall.judge(A, 59.0) is Denial.BAN, "one that was given lasts as long as it was given for"
    assert wall.judge(A, 61.0) is Denial.CONNECTIONS
    wall.change(FirewallSettings(connection_rate=rate), 62.0)
    assert wall.judge(A, 62.0) is Denial.CONNECTION_RATE
    assert wall.counters["bans"] == 2
    wall.change(FirewallSettings(), 63.0)
    assert wall.judge(A, 63.0) is None
    wall.ended(held)
    assert wall.open_sessions(A) == 0


def test_all_clients_of_a_flood_cost_bounded_memory() -> None:
    wall = firewall(
        connection_rate=Rate.parse("1/s"), request_rate=Rate.parse("1/s"), ban_after=1, max_clients=100
    )
    for number in range(5000):
        wall.judge(number, 0.0)
        wall.judge(number, 0.0)
        wall.judge_request(number, "GET", b"/", [], 0.0)
    assert wall.counters["bans"] <= 100
