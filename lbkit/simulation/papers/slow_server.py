"""One of eleven servers turns slow: who notices?

Linkerd's "Beyond Round Robin: Load Balancing for Latency" (2016): 11 servers with normal latencies (167 ms,
deviation 5), 1000 requests a second for 60 s. After 15 s one server takes 2 s instead, for 30 s. A client
waits 1 s. Nothing is retried, so that each request to the slow server is lost: round robin goes on sending it
an eleventh, least loaded sends less because what waits there counts, and the peak of an average of latencies
keeps away until that has decayed.

The servers work on all requests at once, as Linkerd's did, whose latency did not depend on their load.
"""

from __future__ import annotations

from lbkit.config.values import Duration
from lbkit.simulation.arrivals import Constant
from lbkit.simulation.papers.base import Report, paper
from lbkit.simulation.run import simulate_one
from lbkit.simulation.scenario import Event, Scenario, ServerSpec
from lbkit.simulation.service import Normal

__all__ = ["scenario", "slow_server"]

# Algorithm, percent of success as published, tolerance in points: as many nines.
_PUBLISHED = (("round_robin", 95.0, 1.0), ("least_connections", 99.0, 0.5), ("peak_ewma", 99.9, 0.09))


def scenario(seed: int = 1) -> Scenario:
    """The experiment."""
    return Scenario(
        (ServerSpec(name="web", count=11, concurrency=0),),
        seed=seed,
        duration=Duration(60),
        timeout=Duration(1),
        retries=0,
        arrivals=Constant(1000),
        service=Normal(Duration(0.167), Duration(0.005)),
        events=(Event(Duration(15), "web1", speed=0.167 / 2, until=Duration(45)),),
    )


@paper("slow-server", "Linkerd 2016, Beyond Round Robin: Load Balancing for Latency")
def slow_server(report: Report, small: bool) -> None:
    """Success when one of 11 servers turns slow: round robin, least loaded, peak EWMA."""
    seeds = (1,) if small else (1, 2, 3)
    for algorithm, published, points in _PUBLISHED:
        success = [100 * simulate_one(scenario(seed), algorithm).success for seed in seeds]
        measured = sum(success) / len(success)
        report.add(
            f"success with {algorithm}",
            f"{published:g} %",
            f"{measured:.3f} %",
            f"±{points:g} points",
            abs(measured - published) <= points,
        )
