from __future__ import annotations

import random

import pytest

from lbkit.balancing import Balancer
from lbkit.balancing.round_robin import RoundRobin
from lbkit.registry import NoOptions
from lbkit.server import Outcome, Server
from lbkit.testing.traffic import Result, Traffic, servers_of


class Listening(RoundRobin):
    """Notes what it is told."""

    probing = True

    def __init__(self) -> None:
        super().__init__(NoOptions(), random.Random(7))
        self.heard: list[tuple[str, str, float]] = []
        self.answers: list[tuple[str, int, float | None]] = []

    def started(self, server: Server, now: float) -> None:
        assert server.open_sessions > 0
        self.heard.append(("started", server.name, now))

    def responded(self, server: Server, seconds: float, now: float) -> None:
        self.heard.append(("responded", server.name, seconds))

    def ended(self, server: Server, seconds: float, outcome: Outcome, now: float) -> None:
        assert server.open_sessions >= 0
        self.heard.append((outcome.value, server.name, seconds))

    def take_probes(self) -> list[Server]:
        return self._servers[:1]

    def probed(self, server: Server, in_flight: int, seconds: float | None, now: float) -> None:
        self.answers.append((server.name, in_flight, seconds))


def traffic(balancer: Balancer, seconds: float, rate: float, timeout: float = float("inf")) -> Traffic:
    return Traffic(balancer, lambda server, now: seconds, rate=rate, timeout=timeout)


def test_everything_that_starts_ends_and_is_told() -> None:
    balancer = Listening()
    servers = servers_of([1, 1])
    balancer.update(servers, 0.0)
    run = traffic(balancer, 0.5, rate=50)
    result = run.run(10)
    assert len(result.order) == result.picks.total() == pytest.approx(500, abs=80)
    assert sum(server.open_sessions for server in servers) > 0
    run.finish()
    assert [server.open_sessions for server in servers] == [0, 0]
    by_kind = [
        sum(kind == wanted for kind, _, _ in balancer.heard) for wanted in ("started", "responded", "done")
    ]
    assert by_kind == [len(result.order)] * 3
    assert {round(seconds, 9) for kind, _, seconds in balancer.heard if kind != "started"} == {0.5}
    assert len(balancer.answers) == len(result.order)
    assert max(in_flight for _, in_flight, _ in balancer.answers) > 0


def test_a_timeout_is_a_failure_after_that_time() -> None:
    balancer = Listening()
    balancer.update(servers_of([1]), 0.0)
    run = traffic(balancer, 5.0, rate=10, timeout=1.0)
    result = run.run(10)
    run.finish()
    assert result.success == 0
    assert {(kind, round(number, 9)) for kind, _, number in balancer.heard if kind != "started"} == {
        ("timeout", 1.0)
    }


def test_a_second_run_goes_on() -> None:
    balancer = Listening()
    balancer.update(servers_of([1]), 0.0)
    run = traffic(balancer, 0.1, rate=10)
    run.run(5)
    run.run(5)
    starts = [now for kind, _, now in balancer.heard if kind == "started"]
    assert starts == sorted(starts)
    assert 5 < starts[-1] < 10


def test_of_nothing_everything_succeeded() -> None:
    assert Result().success == 1


def test_nobody_picked_is_an_error() -> None:
    with pytest.raises(AssertionError, match="pick gave None"):
        traffic(Listening(), 0.1, rate=10).run(5)
