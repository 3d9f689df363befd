"""Two hundred servers in steps: random against two choices at full load.

Bailis' gist of 2013 on random routing: in each of 1000 steps 200 requests come, each goes to one of 200
servers, and each server serves one of its requests. Load is exactly 1, where the queues of random choice grow
with the root of time (a reflected random walk: 2/3·√(2·1000/π) = 16.8 on average over the steps) and those of
two choices hardly at all.

Queue lengths are taken in every step after its requests came; the mean is over servers and steps, and the
99th percentile, which 99 % of the servers are below, is that of each step, averaged. (The figures were
published without these definitions; they are those that fit.)
"""

from __future__ import annotations

from collections.abc import Iterator

from lbkit.config.values import Duration
from lbkit.simulation.arrivals import Bursts
from lbkit.simulation.papers.base import Report, paper
from lbkit.simulation.run import simulate_one
from lbkit.simulation.scenario import Scenario, ServerSpec
from lbkit.simulation.service import Constant

__all__ = ["two_hundred_servers"]

_SERVERS = 200
_STEPS = 1000
_PUBLISHED = (("random", 16.87, 58.7), ("two_choices", 3.73, 5.40))


@paper("two-hundred-servers", "P. Bailis 2013, gist 4964307")
def two_hundred_servers(report: Report, small: bool) -> None:
    """Queue lengths of random and two choices at full load, in discrete steps."""
    seeds = range(2) if small else range(10)
    for algorithm, mean, tail in _PUBLISHED:
        runs = [_measure(algorithm, seed) for seed in seeds]
        measured = [sum(column) / len(runs) for column in zip(*runs, strict=True)]
        report.compare(f"mean queue length, {algorithm}", mean, measured[0], 0.1)
        report.compare(f"99th percentile, {algorithm}", tail, measured[1], 0.1)


def _measure(algorithm: str, seed: int) -> tuple[float, float]:
    scenario = Scenario(
        (ServerSpec(count=_SERVERS),),
        seed=seed,
        requests=_STEPS * _SERVERS,
        sample=Duration(1),
        arrivals=Bursts(_SERVERS, Duration(1)),
        service=Constant(Duration(1)),
    )
    # Half a step later, so that no window ends at the moment of a burst.
    result = simulate_one(scenario, algorithm, stream=_half_a_step_later(scenario))
    loads = [window.loads for window in result.windows[:_STEPS]]
    mean = sum(map(sum, loads)) / (len(loads) * _SERVERS)
    tail = sum(sorted(load)[_SERVERS * 99 // 100] for load in loads) / len(loads)
    return mean, tail


def _half_a_step_later(scenario: Scenario) -> Iterator[tuple[float, float, bytes | None, str | None]]:
    for now, work, key, server in scenario.stream():
        yield now + 0.5, work, key, server
