"""Peak EWMA: of two servers drawn at random, the one with the lower latency × open requests.

The estimate of a server's latency is an exponentially weighted moving average that jumps up to any higher
sample at once and comes down with the time constant `decay`, also while no samples come: a server that is
slow for a moment is avoided at once, and tried again later. Its cost is estimate × (open sessions + 1) /
weight (Finagle `PeakEwma`, tower `peak_ewma`; Linkerd, "Beyond Round Robin", 2016, where it lets 99.9 % of
requests through while one server of eleven hangs, and round robin 95 %).

- A sample is the time to the first byte where that is known, otherwise to the end.
- A failure counts as at least `penalty` and at least what is typical of all servers, so that one that fails
  fast does not look fast; each further one in a row counts twice as much, up to four times: one error may
  be the request's fault, several are the server's. Against a load of many open requests `penalty` alone is
  soon outweighed, and a server that hangs would be tried all the time.
- A cancelled request would have taken longer than it did: that raises the estimate and never lowers it.
- A server whose requests don't come back must not look as it did until the first one ends. So where half of
  those that wait for an answer have waited longer than the estimate, their age is taken. Half, because one
  request that is meant to hang (a long poll) says nothing.
- The decay alone would keep a server of a millisecond that failed once, or was slow for a second, out for a
  minute. So one that is idle and was not heard of for a while gets one request on trial: after a second,
  and twice as long, up to eight, after each trial that confirms what is known. One that does not takes the
  estimate down to a quarter at once, so that a server that has recovered has its share within seconds.
- A server with no sample yet is taken to be typical: it is neither flooded nor starved. Its first sample
  replaces that.

Cost: two draws and two exponentials; a start appends to a sorted list, and an end bisects it. Rejected:
the lowest cost of all servers, which sends everybody to the same one between two samples.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import exp

from lbkit.balancing.base import ALGORITHMS, Balancer
from lbkit.balancing.random import WeightedDraw
from lbkit.server import Outcome, Server
from lbkit.units import Duration

__all__ = ["PeakEwma", "PeakEwmaOptions"]

_SAME_REQUEST = 0.005  # seconds by which the clocks of two reports of one request may differ
_DOUBLINGS = 2  # of the penalty by failures in a row: the last of them is forgotten within a minute
_TRIAL_AFTER, _TRIAL_AFTER_MOST = 1.0, 8.0  # seconds without a sample after which an idle server is tried
_TYPICAL_SHARE = 0.05  # of one sample in what is typical: about the last twenty


@dataclass(frozen=True, slots=True)
class PeakEwmaOptions:
    """`decay`: the time in which an estimate falls to 37 % (Finagle's and Linkerd's 10).

    `penalty`: the latency in seconds that one failure counts as, at least. `default_latency`: what is taken
    for typical, in seconds, before the first sample of all.
    """

    decay: Duration = Duration(10)
    penalty: Duration = Duration(1)
    default_latency: Duration = Duration(1)

    def __post_init__(self) -> None:
        for name in ("decay", "penalty", "default_latency"):
            seconds = getattr(self, name)
            if not 0 < seconds < float("inf"):
                raise ValueError(f"{name}: {seconds:g}s is not above 0")


class _Latency:
    """One server: the estimate as of a moment, and when what waits for an answer started, in order."""

    __slots__ = ("at", "estimate", "failures", "is_known", "on_trial", "server", "trial_after", "waiting")

    def __init__(self, server: Server) -> None:
        self.server = server
        self.estimate = 0.0
        self.at = 0.0
        self.is_known = False
        self.failures = 0
        """In a row, up to now."""
        self.on_trial = False
        """Whether the request that it works on is one."""
        self.trial_after = _TRIAL_AFTER
        """Seconds without a sample after which it is tried."""
        self.waiting: list[float] = []

    def forget(self, start: float, tolerance: float) -> bool:
        """Take off what started nearest to *start*; False where nothing did within *tolerance* seconds."""
        waiting = self.waiting
        at = bisect_left(waiting, start)
        if at == len(waiting) or (at and start - waiting[at - 1] < waiting[at] - start):
            at -= 1
        if at < 0 or abs(waiting[at] - start) > tolerance:
            return False
        del waiting[at]
        return True


@ALGORITHMS.register("peak_ewma", PeakEwmaOptions)
class PeakEwma(Balancer):
    """Of two drawn at random the one with the lower latency × load; latency remembers its peaks."""

    options: PeakEwmaOptions

    def __init__(self, options: PeakEwmaOptions, rng: random.Random) -> None:
        super().__init__(options, rng)
        self._draw = WeightedDraw((), rng)
        self._latencies: dict[Server, _Latency] = {}
        self._drawn: list[_Latency] = []
        """Of the candidates, in order: a pick among many servers waits for memory more than it computes."""
        self._rate = -1.0 / options.decay
        self._typical = float(options.default_latency)
        self._has_samples = False

    def update(self, candidates: Sequence[Server], now: float) -> None:
        known = self._latencies
        # Whoever left and still has requests is kept: they end here, and it may be back before.
        self._latencies = {server: known.get(server) or _Latency(server) for server in candidates}
        for server, latency in known.items():
            if latency.waiting:
                self._latencies.setdefault(server, latency)
        self._draw = WeightedDraw(candidates, self.rng)
        self._drawn = [self._latencies[server] for server in candidates]

    def pick(self, now: float, key: bytes | None = None, exclude: Collection[Server] = ()) -> Server | None:
        drawn = self._drawn
        if exclude or len(drawn) < 2:
            pair = self._draw.pair(exclude)
            if pair is None:
                return None
            one, other = self._latencies[pair[0]], self._latencies[pair[1]]
        else:
            first, second = self._draw.two()
            one, other = drawn[first], drawn[second]
        return one.server if self._cost(one, now) <= self._cost(other, now) else other.server

    def _cost(self, latency: _Latency, now: float) -> float:
        server = latency.server
        if latency.is_known:
            estimate = latency.estimate * exp((now - latency.at) * self._rate)
        else:
            estimate = self._typical
        waiting = latency.waiting
        if not waiting:
            if now - latency.at >= latency.trial_after and latency.is_known and not server.open_sessions:
                return 0.0
        else:
            age = now - waiting[len(waiting) >> 1]
            if age > estimate:
                estimate = age
        return estimate * (server.open_sessions + 1) / server.effective_weight

    # ---- feedback ----

    def started(self, server: Server, now: float) -> None:
        latency = self._latencies.get(server)
        if latency is not None:
            if now - latency.at >= latency.trial_after and latency.is_known and not latency.waiting:
                latency.on_trial = True
            latency.waiting.append(now)

    def responded(self, server: Server, seconds: float, now: float) -> None:
        latency = self._latencies.get(server)
        if latency is not None:
            latency.forget(now - seconds, seconds)
            self._answered(latency, seconds, now)

    def ended(self, server: Server, seconds: float, outcome: Outcome, now: float) -> None:
        latency = self._latencies.get(server)
        if latency is None:
            return
        start = now - seconds
        # Of those that were in flight the others have had their answer; there is no telling them apart
        # but by outcome and start.
        answered = server.open_sessions + 1 - len(latency.waiting)
        if outcome is Outcome.DONE:
            latency.failures = 0
            if answered <= 0:
                latency.forget(start, float("inf"))
                self._answered(latency, seconds, now)
            return
        is_waiting = latency.forget(start, _SAME_REQUEST)
        if not is_waiting and answered <= 0:
            is_waiting = latency.forget(start, float("inf"))
        if outcome.is_failure:
            penalty = self.options.penalty * (1 << min(latency.failures, _DOUBLINGS))
            latency.failures += 1
            self._learn(latency, max(seconds, penalty, self._typical), now)
        elif is_waiting and seconds > self._estimate(latency, now):
            self._learn(latency, seconds, now)

    def _estimate(self, latency: _Latency, now: float) -> float:
        if not latency.is_known:
            return self._typical
        return latency.estimate * exp((now - latency.at) * self._rate)

    def _learn(self, latency: _Latency, seconds: float, now: float) -> None:
        """One sample: up at once, down by the time since the last one, and faster after a trial."""
        estimate = self._estimate(latency, now)
        was_trial, latency.on_trial = latency.on_trial, False
        if was_trial:
            longer = min(2 * latency.trial_after, _TRIAL_AFTER_MOST)
            latency.trial_after = longer if 2 * seconds > estimate else _TRIAL_AFTER
        if not latency.is_known or seconds >= estimate:
            latency.estimate = seconds
        elif was_trial:
            latency.estimate = max(seconds, estimate / 4)
        else:
            kept = exp((now - latency.at) * self._rate)
            latency.estimate = latency.estimate * kept + seconds * (1 - kept)
        latency.at = now
        latency.is_known = True

    def _answered(self, latency: _Latency, seconds: float, now: float) -> None:
        self._learn(latency, seconds, now)
        if self._has_samples:
            self._typical += (seconds - self._typical) * _TYPICAL_SHARE
        else:
            self._typical = seconds
            self._has_samples = True

    def score(self, server: Server, now: float) -> float | None:
        latency = self._latencies.get(server)
        return None if latency is None else self._cost(latency, now)
