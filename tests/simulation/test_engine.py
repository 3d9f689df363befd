from __future__ import annotations

from typing import Any

import pytest

from lbkit.config.schema import OutlierConfig
from lbkit.config.values import Duration
from lbkit.health import PassiveRules
from lbkit.server import Server
from lbkit.simulation import Event, HealthSpec, PoolSpec, Result, Scenario, ServerSpec, simulate_one
from lbkit.simulation.arrivals import Constant, Poisson
from lbkit.simulation.engine import Engine
from lbkit.simulation.machines import make_machine
from lbkit.simulation.service import Constant as ConstantWork
from lbkit.simulation.service import Exponential
from tests.support.servers import make_pool

A, B = ServerSpec("a"), ServerSpec("b")


def run(
    *requests: tuple[float, float],
    servers: tuple[ServerSpec, ...] = (A,),
    algorithm: str = "round_robin",
    **more: Any,
) -> Result:
    stream = [(now, work, None, None) for now, work in requests]
    return simulate_one(Scenario(servers, **more), algorithm, stream=stream)


def at(when: float, server: str, **what: Any) -> Event:
    until = what.pop("until", None)
    return Event(Duration(when), server, until=None if until is None else Duration(until), **what)


def total(result: Result) -> float:
    return result.latency.total


def test_requests_wait_for_their_turn() -> None:
    result = run((0.0, 2.0), (1.0, 2.0))
    assert (result.requests, total(result), result.errors) == (2, 2 + 3, {})


def test_an_end_comes_before_an_arrival_at_the_same_moment() -> None:
    result = run((0.0, 1.0), (0.0, 5.0), (1.0, 1.0), servers=(A, B), algorithm="least_connections")
    assert total(result) == 1 + 5 + 1


def test_the_mean_of_a_single_queue() -> None:
    """M/M/1 at load 0.5: the mean time in system is twice the service time."""
    scenario = Scenario((A,), requests=60_000, arrivals=Poisson(50), service=Exponential(Duration(0.01)))
    assert simulate_one(scenario, "round_robin").latency.mean == pytest.approx(0.02, rel=0.05)


def test_sharing_has_the_same_mean() -> None:
    """M/M/1 with processor sharing: the same mean, by theory for any distribution of work."""
    spec = ServerSpec("a", discipline="sharing")
    for service in (Exponential(Duration(0.01)), ConstantWork(Duration(0.01))):
        scenario = Scenario((spec,), requests=40_000, arrivals=Poisson(50), service=service)
        assert simulate_one(scenario, "round_robin").latency.mean == pytest.approx(0.02, rel=0.05)


def test_a_server_turns_slow_and_fast_again() -> None:
    events = (at(1, "a", speed=0.5, until=3),)
    # One second of work until 1, another one until 3, the third until 4.
    assert total(run((0.0, 3.0), events=events)) == 4


@pytest.mark.parametrize("spec", [A, ServerSpec("a", discipline="sharing"), ServerSpec("a", concurrency=0)])
def test_a_server_stands_still(spec: ServerSpec) -> None:
    assert total(run((0.0, 3.0), servers=(spec,), events=(at(1, "a", speed=0, until=10),))) == 12
    result = run((0.0, 3.0), servers=(spec,), events=(at(1, "a", speed=0),))
    assert result.errors == {"unfinished": 1}


def test_clients_give_up() -> None:
    result = run((0.0, 2.0), (0.5, 0.1), timeout=Duration(1))
    # The server does not notice, so that the second one has to wait for the first.
    assert result.errors == {"timeout": 2}
    assert result.failed.highest == 1


def test_a_server_that_drops_what_nobody_waits_for() -> None:
    spec = ServerSpec("a", discipline="sharing", drops=True)
    result = run((0.0, 9.0), (0.5, 0.7), servers=(spec,), timeout=Duration(1))
    # 0.25 of work until 1, and then the slot for itself.
    assert result.errors == {"timeout": 1}
    assert total(result) == pytest.approx(0.5 + 0.45)


def test_a_refused_connection_is_tried_elsewhere() -> None:
    down = (at(0, "a", down="refuse"),)
    result = run((1.0, 1.0), servers=(A, B), events=down)
    assert (result.errors, result.retries) == ({}, 1)
    result = run((1.0, 1.0), servers=(A, B), events=down, retries=0)
    assert result.errors == {"connect": 1}
    assert run((1.0, 1.0), events=down).errors == {"connect": 1}


def test_what_is_in_a_server_that_dies_is_lost() -> None:
    result = run((0.0, 2.0), (0.0, 2.0), servers=(A, B), events=(at(1, "a", down="refuse", until=5),))
    assert result.errors == {"error": 1}
    again = PoolSpec(retry_on=("error",))
    result = run((0.0, 2.0), (0.0, 2.0), servers=(A, B), events=(at(1, "a", down="refuse"),), pool=again)
    assert (result.errors, result.retries, total(result)) == ({}, 1, 2 + 4)


def test_a_silent_server_is_heard_of_by_timeouts_only() -> None:
    events = (at(1, "a", down="silent", until=3),)
    assert run((0.0, 2.0), events=events).errors == {"unfinished": 1}
    result = run((0.0, 2.0), (2.0, 1.0), (4.0, 1.0), events=events, timeout=Duration(5))
    assert result.errors == {"timeout": 2}
    assert total(result) == 1


def test_a_timeout_can_be_tried_again() -> None:
    spec = PoolSpec(retry_on=("timeout",))
    events = (at(0, "a", down="silent"),)
    result = run((1.0, 1.0), servers=(A, B), events=events, timeout=Duration(2), pool=spec)
    assert (result.errors, result.retries, total(result)) == ({}, 1, 3)


def test_retries_keep_to_the_budget() -> None:
    spec = PoolSpec(retry_on=("timeout",), retry_percent=0, retry_minimum=2)
    requests = [(1.0, 4.0)] * 5
    events = (at(0, "a", down="silent"),)
    b = ServerSpec("b", concurrency=0)
    result = run(*requests, servers=(A, b), events=events, pool=spec, timeout=Duration(5))
    assert result.retries == 2


def test_a_retry_after_a_refused_connect_costs_no_budget() -> None:
    spec = PoolSpec(retry_percent=0, retry_minimum=1)
    events = (at(0, "a", down="refuse"),)
    b = ServerSpec("b", concurrency=0)
    result = run(*[(1.0, 9.0)] * 5, servers=(A, b), events=events, pool=spec, algorithm="active_passive")
    assert (result.errors, result.retries) == ({}, 5)


def test_flapping_goes_on_until_the_end() -> None:
    event = Event(Duration(1), "a", down="refuse", until=Duration(2), every=Duration(4))
    requests = [(second + 0.5, 0.1) for second in range(12)]
    result = run(*requests, events=(event,))
    assert result.errors == {"connect": 3}  # at 1.5, 5.5 and 9.5


def test_an_event_for_a_whole_group() -> None:
    result = run(
        (1.0, 1.0), (1.0, 1.0), servers=(ServerSpec("web", 2),), events=(at(0, "web", down="refuse"),)
    )
    assert result.errors == {"connect": 2}


def test_health_checks_find_dead_servers_and_find_them_again() -> None:
    requests = [(float(second), 0.1) for second in range(2, 40)]
    down = (at(4.5, "a", down="refuse", until=20.5),)
    checks = HealthSpec(Duration(1), rise=1, fall=2)
    with_checks = run(*requests, servers=(A, B), events=down, health=checks, retries=0)
    without = run(*requests, servers=(A, B), events=down, retries=0)
    assert with_checks.error_count <= 2
    assert without.error_count == 8
    assert with_checks.servers[0].picks > 8


def test_live_traffic_tells_of_dead_servers_too() -> None:
    requests = [(float(second), 0.1) for second in range(1, 40)]
    down = (at(0.0, "a", down="refuse"),)
    ejecting = run(*requests, servers=(A, B), events=down, retries=0, outlier=OutlierConfig(consecutive=2))
    assert 2 <= ejecting.error_count <= 6
    watching = PassiveRules("layer4", 3, "mark_down")
    checks = HealthSpec(Duration(100))
    marked = run(
        *requests,
        servers=(A, B),
        events=(at(0.5, "a", down="refuse"),),
        retries=0,
        passive=watching,
        health=checks,
    )
    assert marked.error_count == 3


def test_nobody_is_there() -> None:
    checks = HealthSpec(Duration(1), rise=1, fall=1)
    result = run((5.0, 1.0), events=(at(1, "a", down="refuse"),), health=checks)
    assert result.errors == {"no server": 1}


def test_a_full_server_has_a_queue() -> None:
    spec = ServerSpec("a", concurrency=0, max_connections=1)
    assert total(run((0.0, 1.0), (0.0, 1.0), (0.0, 1.0), servers=(spec,))) == 1 + 2 + 3
    short = PoolSpec(max_queue=1)
    result = run((0.0, 1.0), (0.0, 1.0), (0.0, 1.0), servers=(spec,), pool=short)
    assert result.errors == {"queue full": 1}
    impatient = PoolSpec(queue_timeout=Duration(1.5))
    result = run((0.0, 1.0), (0.0, 1.0), (0.0, 1.0), servers=(spec,), pool=impatient)
    assert result.errors == {"queue timeout": 1}
    patient = PoolSpec(queue_timeout=Duration(0))
    result = run((0.0, 99.0), (0.0, 1.0), servers=(spec,), pool=patient)
    assert result.errors == {}, "0 is no limit"


def test_a_place_in_the_queue_goes_to_the_next_when_a_client_gives_up() -> None:
    spec = ServerSpec("a", concurrency=0, max_connections=1)
    result = run((0.0, 9.0), (0.0, 0.5), servers=(spec,), timeout=Duration(1))
    assert result.errors == {"timeout": 1}
    assert total(result) == 1.5


def test_limits_and_load_are_each_balancers_own() -> None:
    spec = ServerSpec("a", concurrency=0, max_connections=1)
    scenario = Scenario(
        (spec,), requests=40, balancers=4, arrivals=Constant(1000), service=ConstantWork(Duration(1))
    )
    result = simulate_one(scenario, "round_robin")
    assert result.errors == {}
    assert result.servers[0].peak_load == 4


def test_a_retry_that_succeeds_goes_back_to_the_budget() -> None:
    budget = PoolSpec(retry_on=("timeout",), retry_percent=0, retry_minimum=1)
    requests = [(float(now), 0.5) for now in range(0, 50, 10)]
    stuck = (at(0, "a", speed=0),)
    result = run(
        *requests, servers=(A, B), events=stuck, timeout=Duration(1), pool=budget, algorithm="active_passive"
    )
    assert (result.errors, result.retries) == ({}, 5)


def test_events_that_overlap() -> None:
    """The end of one is not the end of the other."""
    slow = (at(0, "a", speed=0.5, until=10), at(1, "a", speed=0.25, until=3))
    assert total(run((0.0, 2.0), events=slow)) == 1 + 2 + 2, "0.5 + 0.5 + 1 seconds of work"
    down = (at(0, "a", down="refuse", until=10), at(1, "a", down="refuse", until=3))
    assert run((5.0, 1.0), (11.0, 1.0), events=down).errors == {"connect": 1}
    both = (at(0, "a", down="refuse", until=10), at(1, "a", speed=0.5, until=3))
    assert run((5.0, 1.0), (11.0, 1.0), events=both).errors == {"connect": 1}


def test_the_warm_up_is_served_but_not_counted() -> None:
    result = run((0.0, 5.0), (4.0, 1.0), warmup=Duration(1))
    assert (result.requests, result.latency.count, total(result)) == (1, 1, 2)
    result = run((0.0, 5.0), (4.0, 1.0), warmup=Duration(1), timeout=Duration(1))
    assert result.errors == {"timeout": 1}
    # For both the server hangs: one error of one request that counts.
    result = run((0.0, 5.0), (4.0, 1.0), warmup=Duration(1), events=(at(0.0, "a", speed=0),))
    assert (result.requests, result.errors) == (1, {"unfinished": 1})


def test_the_end() -> None:
    scenario = Scenario((A,), duration=Duration(1), arrivals=Constant(10), service=ConstantWork(Duration(1)))
    assert simulate_one(scenario, "round_robin").latency.count == 10


def test_windows_hold_everything() -> None:
    scenario = Scenario(
        (ServerSpec("a", concurrency=0),),
        duration=Duration(10),
        sample=Duration(2),
        timeout=Duration(1.5),
        arrivals=Constant(10),
        service=ConstantWork(Duration(1)),
        events=(at(4.5, "a", speed=0.1, until=6.5),),
    )
    result = simulate_one(scenario, "round_robin")
    assert [(window.start, window.end) for window in result.windows][:5] == [
        (2 * i, 2 * i + 2) for i in range(5)
    ]
    assert sum(window.arrivals for window in result.windows) == 100
    assert sum(window.errors for window in result.windows) == result.error_count > 0
    assert sum(window.latency.count for window in result.windows) == result.latency.count
    assert result.latency.count + result.error_count == 100
    assert result.windows[0].loads[0] == 10


def test_probes_tell_the_true_state() -> None:
    """With several balancers, Prequal leaves a server alone that the others have filled."""
    servers = (
        ServerSpec("a", discipline="sharing", concurrency=1),
        ServerSpec("b", discipline="sharing", concurrency=4),
    )
    scenario = Scenario(
        servers,
        requests=3000,
        balancers=8,
        probe_delay=Duration(0.001),
        arrivals=Poisson(300),
        service=Exponential(Duration(0.01)),
    )
    result = simulate_one(scenario, "prequal")
    assert result.servers[1].picks > 2 * result.servers[0].picks


def test_deadlines_of_answered_requests_are_forgotten() -> None:
    """A minute's worth of them would take more memory than everything else."""
    scenario = Scenario(
        (ServerSpec("a", 100),),
        requests=60_000,
        timeout=Duration(60),
        arrivals=Constant(5000),
        service=ConstantWork(Duration(0.01)),
    )
    sizes = []
    engines: list[Engine] = []

    class Spy(Engine):
        def _forget_answered(self) -> None:
            super()._forget_answered()
            sizes.append(len(self._deadlines))
            engines.append(self)

    machines = [make_machine(place, f"a{place + 1}", scenario.servers[0]) for place in range(100)]
    servers = [Server(machine.name, "127.0.0.1:1") for machine in machines]
    pool = make_pool(*servers)
    Spy(scenario, [pool], machines, dict(zip(servers, machines, strict=True))).run(scenario.stream())
    assert engines[0].record.latency.count == 60_000
    assert max(sizes) <= 20_000
