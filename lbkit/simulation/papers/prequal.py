"""Prequal on a ramp of load: probes find the machines with room to spare.

Wydrowski, Kleinberg, Rumble and Archer, "Load is not what you should balance" (NSDI 2024), section 5.1: equal
replicas on machines that they share with strangers (antagonists). Each replica may use its allocation and,
for as long as the machine has some, spare capacity, of which there is much on some machines and none on
others. The load grows from 0.75 to 1.74 times the allocation in steps of a ninth; a query's deadline is 5 s.

Weighted round robin gives every replica its share: as soon as that exceeds the allocation, the replicas on
full machines fall behind, and 1.03 is the first such step. Prequal goes by latency and requests in flight and
moves load to where there is room.

Here: replicas that share a processor among their queries, allocations of 4 cores, no spare capacity on one
machine in five and more on the others, for twice the allocation in all; several balancers that do not see
each other. A query is about 80 ms of work, normal with as wide a deviation, cut at 0, as in the paper.
The weights, which the paper takes from each replica's throughput and use of its processor, are equal, as the
replicas' allocations are. What must agree is the order and Prequal's zero errors, and not the absolute
latencies.
"""

from __future__ import annotations

from lbkit.config.values import Duration
from lbkit.simulation.arrivals import Poisson
from lbkit.simulation.papers.base import Report, paper
from lbkit.simulation.result import Result
from lbkit.simulation.run import simulate_one
from lbkit.simulation.scenario import Scenario, ServerSpec
from lbkit.simulation.service import Normal

__all__ = ["LOADS", "prequal", "scenario"]

LOADS = tuple(0.75 * (10 / 9) ** step for step in range(9))
"""In allocations: 0.75, 0.83, 0.93, 1.03, 1.14, 1.27, 1.41, 1.57, 1.74."""
_CORES = 4
# Part of the machines, and their capacity in cores: none to spare, some, much.
_MACHINES = (("full", 2, 4), ("busy", 3, 7), ("idle", 5, 12))
_WORK = 0.08
# Of a normal that is as wide as its mean and cut at 0: 1 + φ(1)/Φ(1).
_MEAN = _WORK * 1.2876
_DEADLINE = 5.0


def scenario(load: float, small: bool, seed: int = 1) -> Scenario:
    """One step of the ramp; *load* is in allocations."""
    scale = 1 if small else 10
    servers = tuple(
        ServerSpec(
            name=name, count=scale * count, discipline="sharing", concurrency=cores, speed=1.0, drops=True
        )
        for name, count, cores in _MACHINES
    )
    replicas = sum(spec.count for spec in servers)
    return Scenario(
        servers,
        seed=seed,
        duration=Duration(60),
        balancers=4 if small else 20,
        timeout=Duration(_DEADLINE),
        retries=0,
        arrivals=Poisson(load * replicas * _CORES / _MEAN),
        service=Normal(Duration(_WORK), Duration(_WORK)),
        probe_delay=Duration(0.001),
    )


@paper("prequal", "Wydrowski et al. 2024 (NSDI), Load is not what you should balance: Introducing Prequal")
def prequal(report: Report, small: bool) -> None:
    """A ramp of load over machines with unequal spare capacity: errors of round robin and Prequal."""
    for load in (LOADS[0], LOADS[3], LOADS[-1]) if small else LOADS:
        for algorithm in ("round_robin", "prequal"):
            result = simulate_one(scenario(load, small), algorithm)
            _judge(report, load, algorithm, result)


def _judge(report: Report, load: float, algorithm: str, result: Result) -> None:
    tail = result.percentile_of_all(0.999)
    measured = f"{result.error_count} errors of {result.requests}, p99.9 {tail:.3g} s"
    what = f"load {100 * load:.0f} %, {algorithm}"
    if algorithm == "prequal" or load < 1:
        report.add(what, "no errors", measured, "exact", result.error_count == 0)
    else:
        reached = result.error_count > 0 and tail >= _DEADLINE
        report.add(what, "p99.9 at the deadline", measured, f"{_DEADLINE:g} s, errors", reached)
