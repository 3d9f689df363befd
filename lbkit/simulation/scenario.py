"""`Scenario`: everything that a simulation depends on besides the algorithm, as one frozen value.

A scenario and a seed determine the result to the last pick. Each source of chance (arrivals, work, keys,
which balancer a client talks to, each balancer's own draws) has a stream of its own made from the seed, so
that all algorithms meet the same requests.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Literal

from lbkit.config.schema import OutlierConfig
from lbkit.config.values import Duration
from lbkit.health import PassiveRules
from lbkit.simulation.arrivals import Arrivals, is_number
from lbkit.simulation.keys import Keys
from lbkit.simulation.service import Service
from lbkit.simulation.trace import Trace

__all__ = ["Event", "HealthSpec", "PoolSpec", "Scenario", "ServerSpec"]

Failure = Literal["connect", "timeout", "error"]


def _check_speed(speed: float) -> None:
    """Within limits in which no latency is beyond a float of 32 bits."""
    if not 0 <= speed <= 1e9:
        raise ValueError(f"speed: {speed:g} is not from 0 to 1e9")
    if 0 < speed < 1e-9:
        raise ValueError(f"speed: {speed:g} is neither 0 nor at least 1e-9")


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """``[[servers]]``: *count* equal servers. More than one are called name1, name2 …

    `speed` is seconds of work done in a second by each of `concurrency` slots (0: as many as there are
    requests). ``fifo``: a request has a slot to itself and others wait in order. ``sharing``: all progress
    at once, each as fast as a slot at most (processor sharing, as on a machine with that many cores).
    """

    name: str = "server"
    count: int = 1
    weight: int = 1
    speed: float = 1.0
    concurrency: int = 1
    discipline: Literal["fifo", "sharing"] = "fifo"
    drops: bool = False
    """Whether it stops working on what its client has given up; ``sharing`` only. Most servers do not
    notice.
    """
    max_connections: int = 0
    """As in a pool: per balancer; 0 is no limit."""
    backup: bool = False
    slow_start: Duration = Duration(0)

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name: must not be empty")
        if not 1 <= self.count <= 100_000:
            raise ValueError(f"count: {self.count} is not from 1 to 100000")
        if not 0 <= self.weight <= 256:
            raise ValueError(f"weight: {self.weight} is not from 0 to 256")
        _check_speed(self.speed)
        if not 0 <= self.concurrency <= 1_000_000:
            raise ValueError(f"concurrency: {self.concurrency} is not from 0 to 1000000")
        if self.max_connections < 0:
            raise ValueError(f"max_connections: {self.max_connections} is negative")
        if self.drops and self.discipline != "sharing":
            raise ValueError('drops: only with discipline = "sharing"')
        if self.discipline == "sharing" and not self.concurrency:
            raise ValueError("concurrency: sharing needs at least 1")

    def names(self) -> list[str]:
        """The names of its servers."""
        if self.count == 1:
            return [self.name]
        return [f"{self.name}{number}" for number in range(1, self.count + 1)]


@dataclass(frozen=True, slots=True)
class Event:
    """``[[events]]``: something happens to a server, or to all of a ``[[servers]]`` table by its name.

    It gets another `speed`, or goes `down`: ``refuse`` breaks what is open and refuses connections at once,
    ``silent`` is heard of no more, as after a network failure. At `until`, where given, that is over; with
    `every` both are repeated at that distance (flapping). Of several speeds at a time the last one counts.
    """

    at: Duration
    server: str
    speed: float | None = None
    down: Literal["refuse", "silent"] | None = None
    until: Duration | None = None
    every: Duration | None = None

    def __post_init__(self) -> None:
        if (self.speed is None) == (self.down is None):
            raise ValueError("server: say either speed or down for it")
        if self.speed is not None:
            _check_speed(self.speed)
        if not is_number(self.at):
            return
        if self.until is not None and self.until <= self.at:
            raise ValueError("until: must be later than at")
        if self.every is not None:
            if self.until is None:
                raise ValueError("every: needs until")
            if self.every <= self.until - self.at:
                raise ValueError("every: must be longer than from at to until")


@dataclass(frozen=True, slots=True)
class HealthSpec:
    """``[health]``: active checks of every server by every balancer, as live; without it all count as up."""

    interval: Duration = Duration(2)
    rise: int = 2
    fall: int = 3

    def __post_init__(self) -> None:
        if self.interval <= 0:
            raise ValueError("interval: must be above 0")
        for key, value in (("rise", self.rise), ("fall", self.fall)):
            if value < 1:
                raise ValueError(f"{key}: {value} is not 1 or more")


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """``[pool]``: what each balancer's pool is told; the defaults are those of live pools."""

    retry_on: tuple[Failure, ...] = ("connect",)
    retry_percent: float = 20.0
    retry_minimum: int = 3
    max_queue: int = 1024
    queue_timeout: Duration = Duration(30)
    panic_threshold: float = 0.0

    def __post_init__(self) -> None:
        for key in ("retry_percent", "retry_minimum", "max_queue", "panic_threshold"):
            if not 0 <= getattr(self, key) < math.inf:
                raise ValueError(f"{key}: {getattr(self, key):g} is not a number from 0 on")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One experiment. Durations are seconds.

    Of `requests` and `duration` (of arrivals) what is reached first ends it; requests that are then in
    work come to their end. Those that come before `warmup` are served but not counted.
    """

    servers: tuple[ServerSpec, ...] = ()
    seed: int = 1
    requests: int | None = None
    duration: Duration | None = None
    warmup: Duration = Duration(0)
    balancers: int = 1
    """Independent balancers, each with a part of the clients, none of which sees the others' requests."""
    timeout: Duration = Duration(0)
    """How long a client waits for one try; 0 is for ever."""
    retries: int = 3
    """Other servers tried after a failure that `pool.retry_on` names (live: 3)."""
    probe_delay: Duration = Duration(0)
    """From a balancer's probe to its answer, which tells the server's state at that moment."""
    sample: Duration = Duration(0)
    """Length of the windows of load over time; 0 is a 200th of the run."""
    algorithms: tuple[str, ...] = ("round_robin", "two_choices")
    events: tuple[Event, ...] = ()
    keys: Keys | None = None
    health: HealthSpec | None = None
    passive: PassiveRules | None = None
    """``[passive]``: errors of requests count against a server's health, as live."""
    outlier: OutlierConfig | None = None
    """``[outlier]``: servers that fail more than the others are left out for a while, as live."""
    pool: PoolSpec = PoolSpec()
    arrivals: Any = None
    """`Arrivals`, or a `Trace`."""
    service: Any = None
    """`Service`."""
    options: dict[str, Any] = field(default_factory=dict)
    """Algorithm → its options dataclass; the defaults for those that are not named."""

    def __post_init__(self) -> None:
        if not self.servers:
            raise ValueError("servers: at least one is needed")
        if self.requests is not None and not 1 <= self.requests <= 10**10:
            raise ValueError(f"requests: {self.requests} is not from 1 to 10000000000")
        if self.duration is not None and self.duration <= 0:
            raise ValueError("duration: must be above 0")
        if self.duration is not None and self.warmup >= self.duration:
            raise ValueError("warmup: must be shorter than duration")
        if not 1 <= self.balancers <= 10_000:
            raise ValueError(f"balancers: {self.balancers} is not from 1 to 10000")
        if not 0 <= self.retries <= 100:
            raise ValueError(f"retries: {self.retries} is not from 0 to 100")

    def rng(self, stream: str) -> random.Random:
        """The source of chance of one part of the simulation."""
        return random.Random(f"{self.seed}/{stream}")

    def works(self) -> Iterator[float]:
        """Seconds of work, one for each request."""
        service: Service = self.service
        return service.works(self.rng("service"))

    def stream(self) -> Iterator[tuple[float, float, bytes | None, str | None]]:
        """The requests: when, seconds of work, key, and the server recorded in a trace."""
        if isinstance(self.arrivals, Trace):
            return self.arrivals.requests(self.works() if self.service is not None else repeat(0.0))
        arrivals: Arrivals = self.arrivals
        keys: Iterator[bytes | None] = (
            repeat(None) if self.keys is None else self.keys.stream(self.rng("keys"))
        )
        # Endless all four: the engine ends it.
        return zip(arrivals.times(self.rng("arrivals")), self.works(), keys, repeat(None), strict=False)

    def expected_duration(self) -> float:
        """About how many seconds requests will come; infinity where nobody can tell."""
        if isinstance(self.arrivals, Trace):
            last = self.arrivals.times[-1] if self.arrivals.times else 0.0
            return last if self.duration is None else min(last, self.duration)
        arrivals: Arrivals | None = self.arrivals
        if self.requests is None or arrivals is None:
            return float("inf") if self.duration is None else float(self.duration)
        expected = arrivals.expected_duration(self.requests)
        return expected if self.duration is None else min(expected, self.duration)
