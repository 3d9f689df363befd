"""Consistent hashing on a ring, with bounded loads.

Each server has 160 points on a ring of 64 bits for each unit of weight (ketama's and nginx's number), and a
key belongs to the server whose point comes next. Points follow from the server's name only, so a server that
leaves gives away its own keys and no other key moves (Karger et al. 1997), and a weight that changes adds or
removes only the last of that server's points.

A popular key, or the unevenness of the ring (a standard deviation of about 8 % at 160 points), overloads a
server. With a `bound` c nobody has more than ⌈c × (its share by weight) × (all open sessions + 1)⌉; who is
there already is passed over, and the next on the ring takes the key (Mirrokni, Thorup and Zadimoghaddam,
"Consistent Hashing with Bounded Loads", SODA 2018; HAProxy's `hash-balance-factor`). A pick then looks at
O(1/(c−1)²) points on average, whatever the number of servers.

Cost: a hash (0.3 µs) and a bisection. The ring is one array of 64-bit numbers, 46 bits of hash and the number
of the server in the other 18, because it is memory that a pick on a large ring waits for: a list of points
and a dict of owners take fifteen times the memory and twice the time. A change cuts out and puts in the
points it concerns, about 1 µs each, and copies the rest as it is; above a quarter of the ring it is built
anew. With 10 000 servers of weight 1 (1.6 million points, 13 MB) it takes 1.2 s to build and 20 ms to change
one server. So that large weights do not make it explode, points are halved for all as often as it takes to
get below 320 a server and 65 536 in all, but nobody goes below one. At most 262 144 servers.

Rejected: `maglev`, which is faster to pick from and rebuilds everything; `rendezvous`, which needs no ring
and looks at every server.
"""

from __future__ import annotations

import random
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lbkit.balancing.base import ALGORITHMS, Balancer
from lbkit.balancing.hashing import hash64, hashes64
from lbkit.server import Outcome, Server

__all__ = ["ConsistentHash", "ConsistentHashOptions"]

_MOST_POINTS = 65_536  # that a small pool has at least the right to
_SLOT = (1 << 18) - 1  # the bits of a point that say whose it is
_PASSED_OVER = 256  # points after which is looked whether anybody is left at all


@dataclass(frozen=True, slots=True)
class ConsistentHashOptions:
    """`points`: on the ring for each unit of weight, 1–10 000.

    `bound`: how far above its fair share of the open sessions a server may get, 1.25 being a quarter; at
    least 1, and 0 for no bound. Near 1 loads are even, and keys often land elsewhere.
    """

    points: int = 160
    bound: float = 1.25

    def __post_init__(self) -> None:
        if not 1 <= self.points <= 10_000:
            raise ValueError(f"points: {self.points} is not from 1 to 10000")
        if self.bound != 0 and not 1 <= self.bound < float("inf"):
            raise ValueError(f"bound: {self.bound} is neither 0 nor at least 1")


@ALGORITHMS.register("consistent_hash", ConsistentHashOptions)
class ConsistentHash(Balancer):
    """The server next on a ring of hashes after the key's, unless it has more than its share open."""

    keyed = True
    options: ConsistentHashOptions

    def __init__(self, options: ConsistentHashOptions, rng: random.Random) -> None:
        super().__init__(options, rng)
        self._ring = array("Q")
        self._slots: dict[int, Server] = {}
        """Servers by the number that their points carry."""
        self._slot_of: dict[str, int] = {}
        """By name, as everything about the ring."""
        self._free: list[int] = []
        self._counts: dict[str, int] = {}
        """Points on the ring."""
        self._candidates: dict[Server, None] = {}
        self._weight = 0.0
        """The sum of the weights."""
        self._open = 0
        """Open sessions on all candidates."""

    # ---- the candidates change ----

    def update(self, candidates: Sequence[Server], now: float) -> None:
        self._candidates = dict.fromkeys(candidates)
        self._weight = sum(server.effective_weight for server in candidates)
        self._open = sum(server.open_sessions for server in candidates)
        self._lay_out(self._wanted(candidates))
        for server in candidates:
            self._slots[self._slot_of[server.name]] = server

    def _wanted(self, candidates: Sequence[Server]) -> dict[str, int]:
        """How many points each gets."""
        total = self.options.points * self._weight
        allowed = max(_MOST_POINTS, 2 * self.options.points * len(candidates))
        each = float(self.options.points)
        while total > allowed:
            total /= 2
            each /= 2
        return {server.name: max(1, round(each * server.effective_weight)) for server in candidates}

    def _lay_out(self, counts: dict[str, int]) -> None:
        """Make the ring what *counts* says, from what it is."""
        old, self._counts = self._counts, counts
        removed: list[int] = []
        for name, had in old.items():
            count = counts.get(name, 0)
            if count < had:
                removed += self._points(name, had)[count:]
            if not count:
                self._free.append(self._slot_of.pop(name))
        added: list[int] = []
        for name, count in counts.items():
            had = old.get(name, 0)
            if not had:
                self._slot_of[name] = self._free.pop() if self._free else len(self._slot_of)
            if count > had:
                added += self._points(name, count)[had:]
        if 4 * (len(removed) + len(added)) > len(self._ring):
            points = [point for name, count in counts.items() for point in self._points(name, count)]
            self._ring = array("Q", sorted(points))
        elif removed or added:
            self._ring = _with(_without(self._ring, sorted(removed)), sorted(added))

    def _points(self, name: str, count: int) -> list[int]:
        slot = self._slot_of[name]
        return [hashed & ~_SLOT | slot for hashed in hashes64(name, count)]

    # ---- picks ----

    def pick(self, now: float, key: bytes | None = None, exclude: Collection[Server] = ()) -> Server | None:
        ring = self._ring
        if not ring:
            return None
        at = bisect_right(ring, self.rng.getrandbits(64) if key is None else hash64(key))
        server = self._slots[ring[at if at < len(ring) else 0] & _SLOT]
        if not exclude or server not in exclude:
            if not self.options.bound:
                return server
            # Only one product is rounded here, so the bound holds to the session: weights are sixteenths.
            allowed = self.options.bound * (server.effective_weight * (self._open + 1))
            if server.open_sessions * self._weight < allowed:
                return server
        return self._further_on(at + 1, exclude)

    def _further_on(self, start: int, exclude: Collection[Server]) -> Server | None:
        """The next on the ring that is not excluded and has room; otherwise the next not excluded.

        Somebody always has room, unless it is one of the excluded.
        """
        seen: set[Server] = set()
        first = None
        for passed in range(len(self._ring)):
            server = self._slots[self._ring[(start + passed) % len(self._ring)] & _SLOT]
            if passed == _PASSED_OVER and all(candidate in exclude for candidate in self._candidates):
                return None
            if server in seen:
                continue
            if server not in exclude:
                first = first or server
                if self._has_room(server):
                    return server
            seen.add(server)
            if len(seen) == len(self._candidates):
                break
        return first

    def _has_room(self, server: Server) -> bool:
        if not self.options.bound:
            return True
        allowed = self.options.bound * (server.effective_weight * (self._open + 1))
        return server.open_sessions * self._weight < allowed

    # ---- feedback ----

    def started(self, server: Server, now: float) -> None:
        if server in self._candidates:
            self._open += 1

    def ended(self, server: Server, seconds: float, outcome: Outcome, now: float) -> None:
        if server in self._candidates and self._open:
            self._open -= 1

    def score(self, server: Server, now: float) -> float | None:
        """Its open sessions in proportion to what the bound allows; None without a bound."""
        if not self.options.bound or not self._weight:
            return None
        allowed = self.options.bound * server.effective_weight * (self._open + 1) / self._weight
        return server.open_sessions / allowed


def _without(ring: array[int], points: list[int]) -> array[int]:
    """*ring* without these of its points; both are sorted."""
    left = array("Q")
    start = 0
    for point in points:
        at = bisect_left(ring, point, start)
        left += ring[start:at]
        start = at + 1
    left += ring[start:]
    return left


def _with(ring: array[int], points: list[int]) -> array[int]:
    """*ring* and these points; both are sorted."""
    merged = array("Q")
    start = 0
    for point in points:
        at = bisect_left(ring, point, start)
        merged += ring[start:at]
        merged.append(point)
        start = at
    merged += ring[start:]
    return merged
