from __future__ import annotations

from array import array

import pytest

from lbkit.balancing import ALGORITHMS
from lbkit.config.values import Duration
from lbkit.pool import Pool, make_balancer
from lbkit.server import Server
from lbkit.simulation import AS_RECORDED, Scenario, ServerSpec, Trace, TraceEntry, simulate, simulate_one
from lbkit.simulation.arrivals import Poisson
from lbkit.simulation.keys import Keys
from lbkit.simulation.service import Exponential

SMALL = Scenario(
    (ServerSpec("web", 4), ServerSpec("old", 2, speed=0.5)),
    requests=2000,
    balancers=2,
    timeout=Duration(1),
    arrivals=Poisson(200),
    service=Exponential(Duration(0.01)),
    keys=Keys(count=100),
)


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_the_same_seed_gives_the_same_picks(algorithm: str) -> None:
    """For every algorithm, also those that are added later."""
    runs = []
    for _ in range(2):
        picks = array("I")
        result = simulate_one(SMALL, algorithm, picks=picks)
        runs.append((picks, result.as_dict()))
    assert runs[0] == runs[1]
    assert len(runs[0][0]) >= 2000


def test_another_seed_gives_other_picks() -> None:
    import dataclasses

    other = dataclasses.replace(SMALL, seed=2)
    assert simulate_one(SMALL, "random").as_dict() != simulate_one(other, "random").as_dict()


def test_all_algorithms_meet_the_same_requests() -> None:
    seen = []
    results = simulate(SMALL, ["random", "round_robin"], progress=lambda *told: seen.append(told))
    assert [result.algorithm for result in results] == ["random", "round_robin"]
    assert [result.requests for result in results] == [2000, 2000]
    assert results[0].duration == results[1].duration
    assert seen == []  # too short


def test_progress_is_told_now_and_then() -> None:
    import dataclasses

    told = []
    long = dataclasses.replace(SMALL, requests=40_000)
    simulate(long, ["round_robin"], progress=lambda name, requests, now: told.append((name, requests)))
    assert told == [("round_robin", 16384), ("round_robin", 32768)]


def test_an_unknown_algorithm() -> None:
    with pytest.raises(ValueError, match='unknown algorithm "randon" \\(did you mean "random"'):
        simulate_one(SMALL, "randon")


def test_own_pools() -> None:
    """As replay uses it: pools that are made elsewhere."""
    made = []

    def make_pool(number: int, servers: list[Server]) -> Pool:
        pool = Pool("web", servers, make_balancer("round_robin", SMALL.rng(f"own {number}")))
        made.append(pool)
        return pool

    result = simulate_one(SMALL, "mine", make_pool=make_pool)
    assert (result.algorithm, len(made)) == ("mine", 2)
    assert sum(server.picks for server in result.servers) == 2000


def test_a_trace_goes_where_it_went() -> None:
    entries = [TraceEntry(0, 1.0, None, "a"), TraceEntry(0, 1.0, None, "a"), TraceEntry(0.5, 1.0, None, "b")]
    scenario = Scenario((ServerSpec("a"), ServerSpec("b")), arrivals=Trace.of(entries))
    result = simulate_one(scenario, AS_RECORDED)
    assert [server.picks for server in result.servers] == [2, 1]
    assert result.latency.highest == 2
    assert simulate_one(scenario, "round_robin").latency.highest == 1.5


@pytest.mark.parametrize(
    ("server", "message"), [(None, "names no server"), ("c", 'names a server "c" that the scenario has not')]
)
def test_a_trace_that_cannot_go_where_it_went(server: str | None, message: str) -> None:
    scenario = Scenario((ServerSpec("a"),), arrivals=Trace.of([TraceEntry(0, 1.0, None, server)]))
    with pytest.raises(ValueError, match=message):
        simulate_one(scenario, AS_RECORDED)
    with pytest.raises(ValueError, match="only a trace"):
        simulate_one(SMALL, AS_RECORDED)


def test_a_stream_in_place_of_the_scenarios_requests() -> None:
    scenario = Scenario((ServerSpec("a"),))
    result = simulate_one(scenario, "round_robin", stream=[(0.0, 1.0, None, None), (0.5, 1.0, b"k", "gone")])
    assert result.requests == 2
    assert result.latency.highest == 1.5


def test_prequal_does_not_herd_where_balancers_are_blind_and_servers_few() -> None:
    """It did as long as it went by the same answers without end: worse than round robin."""
    scenario = Scenario(
        (ServerSpec("web", 20),),
        requests=10_000,
        balancers=20,
        arrivals=Poisson(1800),
        service=Exponential(Duration(0.01)),
    )
    means = {
        result.algorithm: result.latency.mean
        for result in simulate(scenario, ["round_robin", "two_choices", "prequal"])
    }
    assert means["prequal"] < means["two_choices"] < means["round_robin"]
