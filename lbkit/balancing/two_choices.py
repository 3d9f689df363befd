"""Power of two choices: of two servers drawn at random, the less loaded one.

Two draws instead of one take the fullest of n servers from about ln n / ln ln n requests to about
ln ln n / ln 2 (Mitzenmacher 1996), at constant cost and with no need to know all loads at the same moment.
Unlike "least connections" it does not send everybody to the same momentarily idle server, which matters
when several balancers look at their own counts only (tower, Envoy and Linkerd default to it for that).

Load is open sessions in proportion to the weight, with the one to come: (sessions + 1) / weight. So of two
idle servers the heavier one is taken.

Cost: two draws, whatever the number of servers.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

from lbkit.balancing.base import ALGORITHMS, Balancer
from lbkit.balancing.random import WeightedDraw
from lbkit.registry import NoOptions
from lbkit.server import Server

__all__ = ["TwoChoices"]


@ALGORITHMS.register("two_choices")
class TwoChoices(Balancer):
    """The less loaded of two servers drawn at random, in proportion to the weights."""

    def __init__(self, options: NoOptions, rng: random.Random) -> None:
        super().__init__(options, rng)
        self._draw = WeightedDraw((), rng)

    def update(self, candidates: Sequence[Server], now: float) -> None:
        self._draw = WeightedDraw(tuple(candidates), self.rng)

    def pick(self, now: float, key: bytes | None = None, exclude: Collection[Server] = ()) -> Server | None:
        one = self._draw.draw(exclude)
        if one is None:
            return None
        other = self._draw.draw((*exclude, one)) or one
        return one if _load(one) <= _load(other) else other


def _load(server: Server) -> float:
    return (server.open_sessions + 1) / server.effective_weight
