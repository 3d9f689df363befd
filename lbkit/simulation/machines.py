"""The simulated servers: what work a server has and when it will be done.

A server's progress is counted in seconds of work since the start (`progress`), which grows with its speed.
A request's end is a point on that scale, its `goal`, fixed when it arrives; only where that lies in time
depends on the speed, so that a change of speed moves times and never goals, and no queue has to be kept or
rebuilt.

- `Fifo`: slots that take one request each, in order of arrival. The goal is where the first free slot is,
  plus the work. Constant time, or log(slots).
- `Sharing`: all progress at once at the rate that slots allow; then the scale is what one request has got
  (virtual time, as in fair queueing), and the next end is the smallest goal. Logarithmic.

Rejected: a queue of waiting requests that is served step by step. It needs a queue entry and
a second event for each request. The price: a fifo server cannot drop what waits in it.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from typing import Literal

from lbkit.pool import Pool
from lbkit.server import Server
from lbkit.simulation.scenario import Event, ServerSpec

__all__ = ["Fifo", "Machine", "Request", "Sharing", "SingleFifo", "Unlimited", "make_machine"]

_KEPT = 16
"""Latencies remembered for each load, for probes."""


class Request:
    """One try; a retry is a new one with the same `began`.

    `began` is when the client asked for it and `sent` when this try went to its server, in virtual seconds;
    `work` is the seconds that it takes on an idle server of speed 1, and `goal` where on the scale of its
    server it is done.
    """

    __slots__ = (
        "began",
        "goal",
        "is_open",
        "is_retry",
        "key",
        "load",
        "machine",
        "pool",
        "sent",
        "server",
        "tried",
        "work",
    )

    def __init__(
        self,
        pool: Pool,
        server: Server,
        machine: Machine,
        began: float,
        sent: float,
        work: float,
        key: bytes | None,
    ) -> None:
        self.pool = pool
        self.server = server
        self.machine = machine
        self.began = began
        self.sent = sent
        self.work = work
        self.key = key
        self.goal = 0.0
        self.is_open = True
        """Whether its client still waits for it."""
        self.is_retry = False
        self.load = 0
        """Other requests that were on its server when it came."""
        self.tried: tuple[Server, ...] = ()


class Machine:
    """One simulated server, as all balancers share it.

    `admit` gives the time at which the request will be done, infinity where that is not known yet.
    """

    __slots__ = (
        "_events",
        "_latencies",
        "_progress",
        "_since",
        "in_flight",
        "index",
        "is_up",
        "name",
        "refuses",
        "spec",
        "speed",
    )

    def __init__(self, index: int, name: str, spec: ServerSpec) -> None:
        self.index = index
        self.name = name
        self.spec = spec
        self.speed = spec.speed
        self.is_up = True
        self.refuses = False
        """Down in such a way that a connection is refused at once."""
        self.in_flight = 0
        """Requests in it, those whose clients have given up too."""
        self._progress = 0.0
        self._since = 0.0
        self._latencies: dict[int, deque[float]] = {}
        self._events: list[Event] = []

    def begin(self, event: Event) -> None:
        """*event* happens from now on: see `condition`."""
        self._events.append(event)

    def end(self, event: Event) -> None:
        """It is over."""
        self._events.remove(event)

    def condition(self) -> tuple[float, Literal["refuse", "silent"] | None]:
        """The speed that it should have and how it is down, if it is: of several events the last one says."""
        speeds = [event.speed for event in self._events if event.speed is not None]
        downs = [event.down for event in self._events if event.down is not None]
        return speeds[-1] if speeds else self.spec.speed, downs[-1] if downs else None

    def progress(self, now: float) -> float:
        """Seconds of work that a slot has had time for."""
        return self._progress + (now - self._since) * self.speed

    def admit(self, request: Request, now: float) -> float:
        """Take *request* in; when it will be done."""
        raise NotImplementedError

    def set_speed(self, speed: float, now: float) -> None:
        """From now on it works at *speed*. The times of what is in it change: see `due`."""
        self._progress = self.progress(now)
        self._since = now
        self.speed = speed

    def due(self, request: Request, now: float) -> float:
        """When *request* in it will be done at the present speed."""
        left = max(0.0, request.goal - self.progress(now))
        return now + left / self.speed if self.speed else math.inf

    def clear(self, now: float) -> None:
        """All that is in it is lost."""
        self.in_flight = 0

    def remember(self, load: int, seconds: float) -> None:
        """A request that found *load* others in it took so long."""
        kept = self._latencies.get(load)
        if kept is None:
            kept = self._latencies[load] = deque(maxlen=_KEPT)
        kept.append(seconds)

    def latency(self) -> float | None:
        """What a probe is told: the median of recent latencies at the present load, or the nearest known one.

        Wydrowski et al. 2024, section 4; None while there was no request.
        """
        if not self._latencies:
            return None
        load = self.in_flight
        kept = (
            self._latencies.get(load)
            or self._latencies[min(self._latencies, key=lambda n: (abs(n - load), n))]
        )
        return sorted(kept)[len(kept) // 2]


class Unlimited(Machine):
    """A slot for every request: nobody waits."""

    __slots__ = ()

    def admit(self, request: Request, now: float) -> float:
        """See `Machine`."""
        self.in_flight += 1
        speed = self.speed
        request.goal = self._progress + (now - self._since) * speed + request.work
        return now + request.work / speed if speed else math.inf


class SingleFifo(Machine):
    """One slot: the common case, without a heap."""

    __slots__ = ("_free",)

    def __init__(self, index: int, name: str, spec: ServerSpec) -> None:
        super().__init__(index, name, spec)
        self._free = 0.0

    def admit(self, request: Request, now: float) -> float:
        """See `Machine`."""
        self.in_flight += 1
        speed = self.speed
        progress = self._progress + (now - self._since) * speed
        free = self._free
        self._free = request.goal = goal = (free if free > progress else progress) + request.work
        return now + (goal - progress) / speed if speed else math.inf

    def clear(self, now: float) -> None:
        """See `Machine`."""
        super().clear(now)
        self._free = 0.0


class Fifo(Machine):
    """Several slots, served in order of arrival."""

    __slots__ = ("_free",)

    def __init__(self, index: int, name: str, spec: ServerSpec) -> None:
        super().__init__(index, name, spec)
        self._free = [0.0] * spec.concurrency

    def admit(self, request: Request, now: float) -> float:
        """See `Machine`."""
        self.in_flight += 1
        progress = self.progress(now)
        free = self._free
        request.goal = goal = max(free[0], progress) + request.work
        heapq.heapreplace(free, goal)
        return now + (goal - progress) / self.speed if self.speed else math.inf

    def clear(self, now: float) -> None:
        """See `Machine`."""
        super().clear(now)
        self._free = [0.0] * self.spec.concurrency


class Sharing(Machine):
    """Processor sharing: n requests on c slots progress at min(1, c/n) of the speed each.

    The engine asks `next_due` after each change and calls `take_done` then.
    """

    __slots__ = ("_active", "_order", "tick")

    def __init__(self, index: int, name: str, spec: ServerSpec) -> None:
        super().__init__(index, name, spec)
        self._active: list[tuple[float, int, Request]] = []
        self._order = 0
        self.tick = math.inf
        """When the engine will look at it next; infinity for not at all."""

    def _rate(self) -> float:
        count = len(self._active)
        return self.speed if count <= self.spec.concurrency else self.speed * self.spec.concurrency / count

    def progress(self, now: float) -> float:
        """Seconds of work that each request in it has got."""
        return self._progress + (now - self._since) * self._rate()

    def _advance(self, now: float) -> None:
        self._progress = self.progress(now)
        self._since = now

    def admit(self, request: Request, now: float) -> float:
        """See `Machine`; always infinity."""
        self._advance(now)
        self.in_flight += 1
        self._order += 1
        request.goal = self._progress + request.work
        heapq.heappush(self._active, (request.goal, self._order, request))
        return math.inf

    def next_due(self) -> float:
        """When the next request is done, if nothing changes until then."""
        rate = self._rate()
        if not self._active or not rate:
            return math.inf
        return self._since + max(0.0, self._active[0][0] - self._progress) / rate

    def take_done(self, now: float) -> list[Request]:
        """The requests that are done by now. They leave it; the engine counts them off `in_flight`."""
        self._advance(now)
        active, done = self._active, []
        # Sums of rounded times: what is due now may miss its goal by a little.
        reached = self._progress + 1e-9 * max(1.0, self._progress)
        while active and active[0][0] <= reached:
            done.append(heapq.heappop(active)[2])
        return done

    def drop(self, request: Request, now: float) -> None:
        """Stop working on *request*, where it is still known."""
        self._advance(now)
        left = [entry for entry in self._active if entry[2] is not request]
        self.in_flight -= len(self._active) - len(left)
        self._active = left
        heapq.heapify(left)

    def requests(self) -> list[Request]:
        """What is in it, in order of arrival."""
        return [entry[2] for entry in sorted(self._active, key=lambda entry: entry[1])]

    def set_speed(self, speed: float, now: float) -> None:
        """See `Machine`."""
        self._advance(now)
        self.speed = speed

    def clear(self, now: float) -> None:
        """See `Machine`."""
        super().clear(now)
        self._advance(now)
        self._active = []


def make_machine(index: int, name: str, spec: ServerSpec) -> Machine:
    """The simulated server that *spec* describes."""
    kind: type[Machine]
    if spec.discipline == "sharing":
        kind = Sharing
    elif spec.concurrency == 0:
        kind = Unlimited
    else:
        kind = SingleFifo if spec.concurrency == 1 else Fifo
    return kind(index, name, spec)
