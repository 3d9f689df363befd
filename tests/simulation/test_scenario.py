from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import pytest

from lbkit.config.values import Duration
from lbkit.simulation.arrivals import Poisson
from lbkit.simulation.keys import Keys
from lbkit.simulation.scenario import Event, HealthSpec, PoolSpec, Scenario, ServerSpec
from lbkit.simulation.service import Exponential
from lbkit.simulation.trace import Trace, TraceEntry


def make(**more: object) -> Scenario:
    return Scenario(
        (ServerSpec(),),
        arrivals=Poisson(100),
        service=Exponential(Duration(0.01)),
        **more,  # type: ignore[arg-type]
    )


def test_names_of_servers() -> None:
    assert ServerSpec("web").names() == ["web"]
    assert ServerSpec("web", 3).names() == ["web1", "web2", "web3"]


def test_keys_change_neither_times_nor_work() -> None:
    """Each part has a stream of chance of its own."""
    plain = list(islice(make().stream(), 50))
    keyed = list(islice(make(keys=Keys(count=5)).stream(), 50))
    assert [request[:2] for request in plain] == [request[:2] for request in keyed]
    assert {key for _, _, key, _ in plain} == {None}
    assert {key for _, _, key, _ in keyed} <= {b"key%d" % number for number in range(1, 6)}


def test_another_seed_gives_other_requests() -> None:
    assert list(islice(make(seed=1).stream(), 5)) != list(islice(make(seed=2).stream(), 5))


def test_the_expected_duration() -> None:
    assert make(requests=500).expected_duration() == 5
    assert make(requests=500, duration=Duration(2)).expected_duration() == 2
    assert make(duration=Duration(7)).expected_duration() == 7
    assert make().expected_duration() == float("inf")
    trace = Trace.of([TraceEntry(1, 1), TraceEntry(3, 1)])
    assert Scenario((ServerSpec(),), arrivals=trace).expected_duration() == 3


def test_a_trace_without_service_is_played_as_it_is() -> None:
    trace = Trace.of([TraceEntry(1, 0.5, b"k", "web")])
    assert list(Scenario((ServerSpec(),), arrivals=trace).stream()) == [(1, 0.5, b"k", "web")]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (lambda: Scenario(()), "servers: at least one"),
        (lambda: make(requests=0), "requests: 0"),
        (lambda: make(balancers=0), "balancers: 0"),
        (lambda: make(retries=-1), "retries: -1"),
        (lambda: make(duration=Duration(0)), "duration: must be above 0"),
        (lambda: make(duration=Duration(1), warmup=Duration(1)), "warmup: must be shorter"),
        (lambda: ServerSpec(""), "name: must not be empty"),
        (lambda: ServerSpec(count=0), "count: 0"),
        (lambda: ServerSpec(weight=257), "weight: 257"),
        (lambda: ServerSpec(speed=-1), "speed: -1"),
        (lambda: ServerSpec(speed=1e-300), "speed: 1e-300 is neither 0 nor at least 1e-9"),
        (lambda: PoolSpec(retry_percent=float("nan")), "retry_percent: nan is not a number"),
        (lambda: ServerSpec(concurrency=-1), "concurrency: -1"),
        (lambda: ServerSpec(max_connections=-1), "max_connections: -1"),
        (lambda: ServerSpec(drops=True), "drops: only with"),
        (lambda: ServerSpec(discipline="sharing", concurrency=0), "concurrency: sharing needs"),
        (lambda: Event(Duration(1), "a"), "server: say either"),
        (lambda: Event(Duration(1), "a", speed=1, down="refuse"), "server: say either"),
        (lambda: Event(Duration(1), "a", speed=-1), "speed: -1"),
        (lambda: Event(Duration(1), "a", speed=1, until=Duration(1)), "until: must be later"),
        (lambda: Event(Duration(1), "a", speed=1, every=Duration(1)), "every: needs until"),
        (
            lambda: Event(Duration(1), "a", speed=1, until=Duration(3), every=Duration(2)),
            "every: must be longer",
        ),
        (lambda: HealthSpec(rise=0), "rise: 0"),
        (lambda: HealthSpec(interval=Duration(0)), "interval: must be above 0"),
        (lambda: PoolSpec(max_queue=-1), "max_queue: -1"),
    ],
)
def test_what_is_refused(what: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        what()
