"""Prequal: probe a few servers for their load and latency, and pick from the answers.

From Wydrowski, Kleinberg, Rumble and Archer, "Load is not what you should balance: Introducing Prequal"
(NSDI 2024), whose numbers are the defaults here.

- Each pick asks for `probe_rate` probes of servers drawn at random, all different. Their answers, requests in
  flight (RIF) and latency at that load, go into a pool of at most `pool_size`, one entry a server.
- An answer leaves the pool when it is older than `max_age`, when it was used as often as the reuse budget
  allows, max(1, (1 + δ) / ((1 − m/n) × probe_rate − remove_rate)) for m entries and n servers (rounded by
  chance, and unlimited where probes don't keep up), when a newer one needs its place, and `remove_rate` for
  each pick: in turns the worst and the oldest, because what is picked is good, and so the bad would stay.
  Of fewer than 64 servers m is a quarter (at least 2): the paper has 100, and its formula would fill the pool
  with nearly all servers by using old answers without end. Then balancers that do not see each other send
  everybody to the server that looked good a moment ago, worse than by round robin.
- An answer is hot when its RIF is at least the `quantile` of those seen recently, otherwise cold. Of the cold
  the one with the lowest latency is picked (of those within a quarter of it the one with the lowest RIF, or
  servers that are alike would be picked by the noise of their latencies, and always the same ones); where
  all are hot, the one with the lowest RIF. So latency decides, until a server has more in flight than most.
- A pick adds one to the RIF of the answer that it used, as the server's next answer will.
- With fewer than two answers to choose from, a random server is picked.

RIF is compared in proportion to the weight, and probes are drawn by it; latency is as it is.

A server that tells no latency of its own (any that is no Prequal server) is judged by what was seen here: the
median of its recent latencies at about that RIF, of the last `memory` seconds; nothing seen counts as 0, so
that it is tried. Failures count as at least `penalty`, so that one that fails fast does not draw traffic (the
paper's § 4 calls it sinkholing).

Cost: one pass over the pool, so at most 16 entries, and a draw for each probe, whatever the number of
servers; the quantile is kept in a sorted window of the last 128 answers.
"""

from __future__ import annotations

import random
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import inf
from operator import attrgetter
from statistics import median_low

from lbkit.balancing.base import ALGORITHMS, Balancer
from lbkit.balancing.random import WeightedDraw
from lbkit.server import Outcome, Server
from lbkit.units import Duration

__all__ = ["Prequal", "PrequalOptions"]

_DELTA = 1.0  # the paper's δ: how much sooner probes must come than answers are used up
_FEWEST = 2  # answers that it takes to have a choice
_ALIKE = 1.25  # latencies that differ by less are taken for equal
_RIF = attrgetter("rif")
_PART = 0.25  # of all servers that the reuse budget keeps answers of, at most
_RIF_WINDOW = 128
_SAMPLES = 9  # latencies kept of each range of RIF


@dataclass(frozen=True, slots=True)
class PrequalOptions:
    """`pool_size`: answers kept, 2–256. `probe_rate`: probes for each pick, 0–16, also fractions.

    `remove_rate`: answers removed for each pick. `max_age`: seconds that an answer is good for. `quantile`:
    of the RIF seen, from which on a server is hot: 0 goes by RIF only, 1 by latency only. `memory`: seconds
    for which latencies seen here count. `penalty`: the latency in seconds that a failure counts as, at least.
    """

    pool_size: int = 16
    probe_rate: float = 3.0
    remove_rate: float = 1.0
    max_age: Duration = Duration(1)
    quantile: float = 0.84
    memory: Duration = Duration(10)
    penalty: Duration = Duration(1)

    def __post_init__(self) -> None:
        if not 2 <= self.pool_size <= 256:
            raise ValueError(f"pool_size: {self.pool_size} is not from 2 to 256")
        if not 0 <= self.probe_rate <= 16:
            raise ValueError(f"probe_rate: {self.probe_rate} is not from 0 to 16")
        if not 0 <= self.remove_rate <= 16:
            raise ValueError(f"remove_rate: {self.remove_rate} is not from 0 to 16")
        if not 0 <= self.quantile <= 1:
            raise ValueError(f"quantile: {self.quantile} is not from 0 to 1")
        for name in ("max_age", "memory", "penalty"):
            seconds = getattr(self, name)
            if not 0 < seconds < inf:
                raise ValueError(f"{name}: {seconds:g}s is not above 0")


class _Answer:
    """One entry of the pool."""

    __slots__ = ("at", "in_flight", "rif", "seconds", "server", "uses")

    def __init__(self, server: Server, in_flight: int, seconds: float, uses: float, at: float) -> None:
        self.server = server
        self.in_flight = in_flight
        self.rif = in_flight / server.effective_weight
        self.seconds = seconds
        self.uses = uses
        self.at = at

    def use(self) -> None:
        self.in_flight += 1
        self.rif = self.in_flight / self.server.effective_weight
        self.uses -= 1


class _Seen:
    """Latencies of one server as seen here, by range of RIF: 0, 1, 2–3, 4–7, …"""

    __slots__ = ("_ranges",)

    def __init__(self) -> None:
        self._ranges: dict[int, deque[tuple[float, float]]] = {}

    def add(self, in_flight: int, seconds: float, now: float) -> None:
        samples = self._ranges.setdefault(in_flight.bit_length(), deque(maxlen=_SAMPLES))
        samples.append((now, seconds))

    def latency(self, in_flight: int, since: float) -> float:
        """The median in the range nearest to *in_flight* that has any from *since* on; 0 where none has."""
        wanted = in_flight.bit_length()
        if (known := self._median(wanted, since)) is not None:
            return known
        others = sorted(self._ranges, key=lambda kept: (abs(kept - wanted), kept))
        return next((known for near in others if (known := self._median(near, since)) is not None), 0.0)

    def _median(self, near: int, since: float) -> float | None:
        samples = self._ranges.get(near)
        if not samples or samples[-1][0] < since:
            return None
        return median_low([seconds for at, seconds in samples if at >= since])


@ALGORITHMS.register("prequal", PrequalOptions)
class Prequal(Balancer):
    """By probes of load and latency: the fastest of those that are not among the most loaded."""

    probing = True
    options: PrequalOptions

    def __init__(self, options: PrequalOptions, rng: random.Random) -> None:
        super().__init__(options, rng)
        self._draw = WeightedDraw((), rng)
        self._seen: dict[Server, _Seen] = {}
        """Of each candidate."""
        self._pool: list[_Answer] = []
        """The oldest first."""
        self._reuse = inf
        self._rifs: deque[float] = deque()
        self._sorted_rifs: list[float] = []
        self._wanted: list[Server] = []
        self._probes_due = 0.0
        self._removals_due = 0.0
        self._worst_is_next = True

    def update(self, candidates: Sequence[Server], now: float) -> None:
        self._seen = {server: self._seen.get(server) or _Seen() for server in candidates}
        self._draw = WeightedDraw(candidates, self.rng)
        self._pool = [answer for answer in self._pool if answer.server in self._seen]
        for answer in self._pool:
            answer.rif = answer.in_flight / answer.server.effective_weight
        self._wanted = []
        self._reuse = self._reuse_budget(len(candidates))

    def _reuse_budget(self, servers: int) -> float:
        if not servers:
            return inf
        options = self.options
        entries = min(options.pool_size, max(_FEWEST, servers * _PART))
        fresh = (1 - entries / servers) * options.probe_rate - options.remove_rate
        return max(1.0, (1 + _DELTA) / fresh) if fresh > 0 else inf

    # ---- picks ----

    def pick(self, now: float, key: bytes | None = None, exclude: Collection[Server] = ()) -> Server | None:
        pool = self._pool
        oldest = now - self.options.max_age
        while pool and pool[0].at < oldest:
            del pool[0]
        answer = self._best(exclude)
        if answer is None:
            server = self._draw.draw(exclude)
        else:
            server = answer.server
            answer.use()
            if answer.uses <= 0:
                pool.remove(answer)
        self._remove_some()
        self._want_probes()
        return server

    def _best(self, exclude: Collection[Server]) -> _Answer | None:
        """The answer to go by; None where there are fewer than two."""
        usable = [answer for answer in self._pool if answer.server not in exclude] if exclude else self._pool
        if len(usable) < _FEWEST:
            return None
        limit = self._rif_limit()
        cold = [answer for answer in usable if answer.rif < limit]
        if cold:
            near = min(answer.seconds for answer in cold) * _ALIKE
            # The oldest of equals: their order is that of random probes, where latency would be one of habit.
            return min((answer for answer in cold if answer.seconds <= near), key=_RIF)
        # All that are idle are hot where most are idle: then latency may still decide.
        least = min(answer.rif for answer in usable)
        idlest = [answer for answer in usable if answer.rif == least]
        near = min(answer.seconds for answer in idlest) * _ALIKE
        return next(answer for answer in idlest if answer.seconds <= near)

    def _rif_limit(self) -> float:
        """The RIF from which on an answer is hot."""
        count = len(self._sorted_rifs)
        quantile = self.options.quantile
        if quantile == 0:
            return 0.0
        if quantile == 1 or not count:
            return inf
        return self._sorted_rifs[int(quantile * count)]

    def _remove_some(self) -> None:
        self._removals_due += self.options.remove_rate
        while self._removals_due >= 1:
            self._removals_due -= 1
            if self._pool:
                del self._pool[self._worst() if self._worst_is_next else 0]
                self._worst_is_next = not self._worst_is_next

    def _worst(self) -> int:
        """The place of the hot answer with the highest RIF, or else of the slowest cold one."""
        limit = self._rif_limit()

        def badness(place: int) -> tuple[bool, float]:
            answer = self._pool[place]
            is_hot = answer.rif >= limit
            return is_hot, answer.rif if is_hot else answer.seconds

        return max(range(len(self._pool)), key=badness)

    # ---- probes ----

    def _want_probes(self) -> None:
        self._probes_due += self.options.probe_rate
        count = int(self._probes_due)
        self._probes_due -= count
        if count >= len(self._seen):
            self._wanted = list(self._seen)
            return
        wanted: list[Server] = []
        while len(wanted) < count:
            server = self._draw.draw(wanted)
            if server is None:
                break
            wanted.append(server)
        self._wanted = wanted

    def take_probes(self) -> Sequence[Server]:
        wanted, self._wanted = self._wanted, []
        return wanted

    def probed(self, server: Server, in_flight: int, seconds: float | None, now: float) -> None:
        seen = self._seen.get(server)
        if seen is None:
            return
        if seconds is None:
            seconds = seen.latency(in_flight, now - self.options.memory)
        answer = _Answer(server, in_flight, seconds, self._uses(), now)
        self._note_rif(answer.rif)
        pool = self._pool
        for place, other in enumerate(pool):
            if other.server is server:
                del pool[place]
                break
        else:
            if len(pool) >= self.options.pool_size:
                del pool[0]
        pool.append(answer)

    def _uses(self) -> float:
        """The reuse budget of one answer: whole, and by chance right on average."""
        if self._reuse == inf:
            return inf
        whole = int(self._reuse)
        return whole + (self.rng.random() < self._reuse - whole)

    def _note_rif(self, rif: float) -> None:
        self._rifs.append(rif)
        insort(self._sorted_rifs, rif)
        if len(self._rifs) > _RIF_WINDOW:
            del self._sorted_rifs[bisect_left(self._sorted_rifs, self._rifs.popleft())]

    # ---- feedback ----

    def ended(self, server: Server, seconds: float, outcome: Outcome, now: float) -> None:
        seen = self._seen.get(server)
        if seen is None:
            return
        if outcome.is_failure:
            seconds = max(seconds, self.options.penalty)
        elif outcome is Outcome.CANCELLED and seconds <= seen.latency(
            server.open_sessions, now - self.options.memory
        ):
            # It would have taken longer: good only as news that the server is slower than thought.
            return
        seen.add(server.open_sessions, seconds, now)

    def score(self, server: Server, now: float) -> float | None:
        """By its latest answer: latency in seconds if cold, RIF plus 1e9 if hot, None where there is none."""
        for answer in self._pool:
            if answer.server is server:
                return answer.seconds if answer.rif < self._rif_limit() else 1e9 + answer.rif
        return None
