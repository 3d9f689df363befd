"""Traffic in virtual time for one balancer: what it picks comes back to it as a pool would report it."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lbkit.balancing import Balancer
from lbkit.server import Outcome, Server

__all__ = ["Result", "Traffic"]


@dataclass(slots=True)
class Result:
    """`picks` by server's name, in all and in order; `failures` are requests that took too long."""

    picks: Counter[str] = field(default_factory=Counter)
    order: list[str] = field(default_factory=list)
    failures: int = 0

    @property
    def success(self) -> float:
        """The fraction of all requests that were answered in time."""
        return 1 - self.failures / max(1, len(self.order))


class Traffic:
    """Requests at random moments to a balancer that already has its candidates.

    *latency* tells the seconds that a server takes for a request that starts at a moment. Requests have keys
    of their own. Probes are answered at once with the requests in flight, as a pool does.
    """

    def __init__(
        self,
        balancer: Balancer,
        latency: Callable[[Server, float], float],
        *,
        rate: float,
        timeout: float = float("inf"),
        seed: int = 7,
    ) -> None:
        """*rate* is requests a second, *timeout* seconds after which a request has failed."""
        self.now = 0.0
        self._balancer = balancer
        self._latency = latency
        self._rate = rate
        self._timeout = timeout
        self._rng = random.Random(seed)
        self._ends: list[tuple[float, int, float, Outcome, Server]] = []
        self._number = 0

    def run(self, seconds: float) -> Result:
        """What is picked in the next *seconds*; requests in flight at the end go on in the next run."""
        result = Result()
        end = self.now + seconds
        while True:
            arrival = self.now + self._rng.expovariate(self._rate)
            self._end_until(min(arrival, end))
            if arrival >= end:
                self.now = end
                return result
            self.now = arrival
            self._arrive(result)

    def finish(self) -> None:
        """Wait until nothing is in flight."""
        self._end_until(float("inf"))

    def _arrive(self, result: Result) -> None:
        balancer, now = self._balancer, self.now
        server = balancer.pick(now, self._rng.randbytes(8))
        assert server is not None, "pick gave None with candidates left"
        self._number += 1
        result.picks[server.name] += 1
        result.order.append(server.name)
        for probed in balancer.take_probes():
            balancer.probed(probed, probed.open_sessions, None, now)
        server.open_sessions += 1
        balancer.started(server, now)
        takes = self._latency(server, now)
        in_time = takes <= self._timeout
        result.failures += not in_time
        heapq.heappush(
            self._ends,
            (
                now + min(takes, self._timeout),
                self._number,
                now,
                Outcome.DONE if in_time else Outcome.TIMEOUT,
                server,
            ),
        )

    def _end_until(self, end: float) -> None:
        balancer, ends = self._balancer, self._ends
        while ends and ends[0][0] <= end:
            now, _, started, outcome, server = heapq.heappop(ends)
            if outcome is Outcome.DONE:
                balancer.responded(server, now - started, now)
            server.open_sessions -= 1
            balancer.ended(server, now - started, outcome, now)


def servers_of(weights: Sequence[int]) -> list[Server]:
    """New servers s0, s1, … with these weights."""
    return [Server(f"s{i}", f"127.0.0.1:{i + 1}", weight=weight) for i, weight in enumerate(weights)]
