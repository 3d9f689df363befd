"""Random choice in proportion to the weights.

Stateless between picks, so that many balancers that don't see each other still share the load evenly on
average. The price is chance itself: of n servers the fullest has about ln n / ln ln n requests where a
round robin has one (Azar et al. 1994); `two_choices` keeps most of the simplicity without that.

Cost: one draw and a bisection over the cumulative weights; a pick does not look at every server.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Collection, Sequence
from itertools import accumulate

from lbkit.balancing.base import ALGORITHMS, Balancer
from lbkit.registry import NoOptions
from lbkit.server import Server

__all__ = ["Random", "WeightedDraw"]

_TRIES = 8


class WeightedDraw:
    """Draws one of *servers* with a chance in proportion to its weight."""

    __slots__ = ("_bounds", "_rng", "_servers", "_total")

    def __init__(self, servers: Sequence[Server], rng: random.Random) -> None:
        self._servers = servers
        self._bounds = list(accumulate(server.effective_weight for server in servers))
        self._total = self._bounds[-1] if servers else 0
        self._rng = rng

    def draw(self, exclude: Collection[Server] = ()) -> Server | None:
        """A server, none of *exclude*; None where none is left.

        An excluded one is drawn again. Only after several tries, when most must be excluded, are the
        others listed.
        """
        if not self._total:
            return None
        for _ in range(_TRIES):
            server = self._servers[bisect_right(self._bounds, self._rng.random() * self._total)]
            if server not in exclude:
                return server
        left = [server for server in self._servers if server not in exclude]
        return self._rng.choices(left, [server.effective_weight for server in left])[0] if left else None


@ALGORITHMS.register("random")
class Random(Balancer):
    """A random server, in proportion to its weight."""

    def __init__(self, options: NoOptions, rng: random.Random) -> None:
        super().__init__(options, rng)
        self._draw = WeightedDraw((), rng)

    def update(self, candidates: Sequence[Server], now: float) -> None:
        self._draw = WeightedDraw(tuple(candidates), self.rng)

    def pick(self, now: float, key: bytes | None = None, exclude: Collection[Server] = ()) -> Server | None:
        return self._draw.draw(exclude)
