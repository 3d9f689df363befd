"""Replay: recorded traffic in virtual time against another configuration of its pool.

What a log tells of the servers, and what has to be assumed:

- A request's **work** is what its server took for it. Where one server is slower than all together (by
  the medians), the same request would have been faster elsewhere: work is scaled by that, and it becomes
  the server's **speed**. A new server has speed 1.
- A server is trusted with as many requests **at a time** as it had at most in the log; others wait in it.
  So a plan that puts more on a server than it ever had shows up as longer times, not as a miracle. A new
  server is as good as the median of the known ones. Whoever knows better says so.
- Recorded times include waiting inside a server that was overloaded at the time; then the work is
  over- and the danger of the plan overestimated, too.

The old configuration's part is played as recorded, each request on the server that had it then, so that the
model can be held against the log.
"""

from __future__ import annotations

import heapq
import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

from lbkit.config.schema import PoolConfig
from lbkit.config.values import Duration, KeySource
from lbkit.http.targets import parameter_of
from lbkit.pool import Pool
from lbkit.simulation.access_log import AccessRecord
from lbkit.simulation.engine import Progress
from lbkit.simulation.record import Histogram
from lbkit.simulation.result import Result
from lbkit.simulation.run import AS_RECORDED, simulate_one
from lbkit.simulation.scenario import Event, HealthSpec, PoolSpec, Scenario, ServerSpec
from lbkit.simulation.trace import Trace, TraceEntry

__all__ = ["Capacity", "Outcome", "Replay", "capacities_of", "key_of", "measured"]

_ENOUGH = 10  # requests that it takes to call a server slow


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a server can do: requests at a time, and speed in proportion to all servers together."""

    concurrency: int
    speed: float
    requests: int = 0
    """Requests that this is known from."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row: latencies in seconds, and the load of each server where it is known."""

    label: str
    requests: int
    errors: int
    p50: float
    p99: float
    result: Result | None = None
    gone: str = ""
    """The server that was taken away."""


def capacities_of(records: Sequence[AccessRecord]) -> dict[str, Capacity]:
    """What the log tells of each server that is in it."""
    by_server: dict[str, list[AccessRecord]] = {}
    for record in records:
        if record.server and not math.isnan(record.served):
            by_server.setdefault(record.server, []).append(record)
    if not by_server:
        return {}
    everybody = median(record.served for mine in by_server.values() for record in mine)
    return {name: _capacity(mine, everybody) for name, mine in sorted(by_server.items())}


def _capacity(records: list[AccessRecord], everybody: float) -> Capacity:
    own = median(record.served for record in records)
    known = len(records) >= _ENOUGH and own > 0 and everybody > 0
    return Capacity(_most_at_a_time(records), everybody / own if known else 1.0, len(records))


def _most_at_a_time(records: list[AccessRecord]) -> int:
    ends: list[float] = []
    most = 1
    for record in sorted(records, key=lambda record: record.time):
        while ends and ends[0] <= record.time:
            heapq.heappop(ends)
        heapq.heappush(ends, record.time + record.served)
        most = max(most, len(ends))
    return most


def key_of(source: KeySource, record: AccessRecord) -> bytes | None:
    """What a hashing algorithm goes by; None where the log does not tell (headers and cookies)."""
    target = record.target.encode("utf-8", "surrogatepass")
    if source.kind == "client":
        return record.client.encode() or None
    if source.kind == "path":
        return target.partition(b"?")[0]
    if source.kind == "query":
        return parameter_of(target, source.name.encode())
    return None


def measured(label: str, records: Sequence[AccessRecord]) -> Outcome:
    """What the log itself says. An error is a status of 5xx; a client that left is none."""
    good = Histogram()
    good.fold(array("f", [record.duration for record in records if 0 < record.status < 500]))
    errors = sum(record.status >= 500 for record in records)
    p50, p99 = good.percentiles([0.5, 0.99])
    return Outcome(label, len(records), errors, p50, p99)


class Replay:
    """The recorded requests of one pool, to be run against any configuration of it.

    *capacities* are those of `capacities_of`, changed as one knows better.
    """

    def __init__(
        self, records: Sequence[AccessRecord], capacities: dict[str, Capacity], *, seed: int = 1
    ) -> None:
        self._records = records
        self._capacities = capacities
        self._seed = seed
        known = [capacity.concurrency for capacity in capacities.values()]
        self._newcomer = Capacity(max(1, round(median(known))) if known else 1, 1.0)
        served = [record.served for record in records if not math.isnan(record.served)]
        self._usual = median(served) if served else 0.0

    def capacity(self, server: str) -> Capacity:
        """What *server* can do, a new one too."""
        return self._capacities.get(server, self._newcomer)

    def as_recorded(self, label: str, progress: Progress | None = None) -> Outcome:
        """Every request on the server that had it; those that none had are left out."""
        records = [record for record in self._records if record.server]
        names = sorted({record.server for record in records})
        scenario = Scenario(
            servers=tuple(self._spec(name) for name in names),
            seed=self._seed,
            arrivals=self._trace(records, KeySource()),
            retries=0,
        )
        return _outcome(label, simulate_one(scenario, AS_RECORDED, progress=progress))

    def run(
        self,
        label: str,
        config: PoolConfig,
        make_pool: Callable[[], Pool],
        *,
        gone: str = "",
        timeout: float = 0.0,
        queue: float = 0.0,
        progress: Progress | None = None,
    ) -> Outcome:
        """The same requests against *config*; *make_pool* makes its pool, *gone* is a server that refuses.

        *timeout* and *queue* are the listener's, in seconds; 0 is for ever.
        """
        health = config.health
        scenario = Scenario(
            servers=tuple(self._spec(server.name) for server in config.servers),
            seed=self._seed,
            arrivals=self._trace(self._records, config.key),
            retries=config.retries,
            timeout=Duration(timeout),
            health=None if health is None else HealthSpec(health.interval, health.rise, health.fall),
            events=(Event(Duration(0), gone, down="refuse"),) if gone else (),
            pool=replace(PoolSpec(), queue_timeout=Duration(queue)),
        )
        result = simulate_one(scenario, config.algorithm, make_pool=lambda *_: make_pool(), progress=progress)
        return replace(_outcome(label, result), gone=gone)

    def _spec(self, name: str) -> ServerSpec:
        capacity = self.capacity(name)
        return ServerSpec(name, speed=capacity.speed, concurrency=capacity.concurrency)

    def _trace(self, records: Sequence[AccessRecord], key: KeySource) -> Trace:
        first = records[0].time if records else 0.0
        return Trace.of(
            TraceEntry(record.time - first, self._work(record), key_of(key, record), record.server or None)
            for record in records
        )

    def _work(self, record: AccessRecord) -> float:
        if math.isnan(record.served):
            return self._usual
        return record.served * self.capacity(record.server).speed if record.server else record.served


def _outcome(label: str, result: Result) -> Outcome:
    p50, p99 = result.latency.percentiles([0.5, 0.99])
    return Outcome(label, result.requests, result.error_count, p50, p99, result)
