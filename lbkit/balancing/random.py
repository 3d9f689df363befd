"""Random choice in proportion to the weights.

Stateless between picks, so that many balancers that don't see each other still share the load evenly on
average. The price is chance itself: of n servers the fullest has about ln n / ln ln n requests where a
round robin has one (Azar et al. 1994); `two_choices` keeps most of the simplicity without that.

Cost: one draw, and where weights differ a search in the cumulative weights, of which a guide table leaves a
place or two on average to look at (Chen and Asau 1974), whatever the number of servers. Rejected: Walker's
alias table, which is dearer to build and tells nothing of a draw among the others; see `WeightedDraw.two`.
"""

from __future__ import annotations

import random
from array import array
from bisect import bisect_right
from collections.abc import Collection, Sequence
from itertools import accumulate

from lbkit.balancing.base import ALGORITHMS, Balancer
from lbkit.registry import NoOptions
from lbkit.server import Server

__all__ = ["Random", "WeightedDraw"]

_TRIES = 8
_TRIES_OF_MANY = 1 / 8  # of the servers: so many draws cost no more than to list all


class WeightedDraw:
    """Draws of *servers* with a chance in proportion to the weight.

    `equal` tells whether the weights are all the same, so that ``servers[int(rng.random() * len(servers))]``
    is a draw, too.
    """

    __slots__ = ("_bounds", "_guide", "_last", "_parts", "_rng", "_total", "_tries", "equal", "servers")

    def __init__(self, servers: Sequence[Server], rng: random.Random) -> None:
        self.servers = list(servers)
        self.equal = len({server.effective_weight for server in servers}) <= 1
        # An array, not a list: a bisection of many waits for memory more than it computes.
        self._bounds = array("d", accumulate(server.effective_weight for server in servers))
        self._total = self._bounds[-1] if servers else 0.0
        self._last = len(self.servers) - 1
        self._tries = max(_TRIES, int(len(self.servers) * _TRIES_OF_MANY))
        # Where to begin: the place that a point is in, for each of as many equal parts as there are servers.
        self._parts = len(self.servers) / self._total if servers else 0.0
        self._guide = [] if self.equal else self._make_guide()
        self._rng = rng

    def _make_guide(self) -> list[int]:
        starts = [part / self._parts for part in range(len(self.servers) + 1)]
        return [bisect_right(self._bounds, start, 0, self._last) for start in starts] + [self._last]

    def draw(self, exclude: Collection[Server] = (), but: Server | None = None) -> Server | None:
        """A server, none of *exclude* and not *but*; None where none is left.

        An excluded one is drawn again. Only when draws have cost as much as it costs to list the others, and
        so most must be excluded, is that done.
        """
        if not self._total:
            return None
        for _ in range(self._tries):
            server = self.servers[self._index()]
            if server is not but and server not in exclude:
                return server
        left = [server for server in self.servers if server is not but and server not in exclude]
        return self._rng.choices(left, [server.effective_weight for server in left])[0] if left else None

    def pair(self, exclude: Collection[Server] = ()) -> tuple[Server, Server] | None:
        """Two different servers, none of *exclude*; one twice where it is alone, None where none is left."""
        if exclude or self._last < 1:
            one = self.draw(exclude)
            return None if one is None else (one, self.draw(exclude, one) or one)
        first, second = self.two()
        return self.servers[first], self.servers[second]

    def two(self) -> tuple[int, int]:
        """The places in `servers` of two different ones; there must be two."""
        draw = self._rng.random
        if self.equal:
            first = int(draw() * (self._last + 1))
            second = int(draw() * self._last)
            return first, second + (second >= first)
        bounds, guide, parts = self._bounds, self._guide, self._parts
        point = draw() * self._total
        part = int(point * parts)
        first = bisect_right(bounds, point, guide[part], guide[part + 1])
        # The second from what is left when the first is cut out: no draw has to be repeated.
        weight = self.servers[first].effective_weight
        point = draw() * (self._total - weight)
        if point >= bounds[first] - weight:
            point += weight
        part = int(point * parts)
        return first, bisect_right(bounds, point, guide[part], guide[part + 1])

    def _index(self) -> int:
        if self.equal:
            return int(self._rng.random() * (self._last + 1))
        point = self._rng.random() * self._total
        part = int(point * self._parts)
        return bisect_right(self._bounds, point, self._guide[part], self._guide[part + 1])


@ALGORITHMS.register("random")
class Random(Balancer):
    """A random server, in proportion to its weight."""

    def __init__(self, options: NoOptions, rng: random.Random) -> None:
        super().__init__(options, rng)
        self._draw = WeightedDraw((), rng)
        self._count = 0
        """Of servers where all weights are equal; 0 where they are not."""

    def update(self, candidates: Sequence[Server], now: float) -> None:
        self._draw = WeightedDraw(candidates, self.rng)
        self._count = len(candidates) if self._draw.equal else 0

    def pick(self, now: float, key: bytes | None = None, exclude: Collection[Server] = ()) -> Server | None:
        if exclude or not self._count:
            return self._draw.draw(exclude)
        return self._draw.servers[int(self.rng.random() * self._count)]
