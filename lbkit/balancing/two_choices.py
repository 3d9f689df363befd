"""Power of two choices: of two servers drawn at random, the less loaded one.

Two draws instead of one take the fullest of n servers from about ln n / ln ln n requests to about
ln ln n / ln 2 (Mitzenmacher 1996), at constant cost and with no need to know all loads at the same moment.
Unlike "least connections" it does not send everybody to the same momentarily idle server, which matters
when several balancers look at their own counts only (tower, Envoy and Linkerd default to it for that).

Load is open sessions in proportion to the weight, with the one to come: (sessions + 1) / weight. So of two
idle servers the heavier one is taken. Of equal loads the one drawn first is.

More than two choices gain little: ln ln n / ln d (the same paper's supermarket model).

Cost: one draw for each choice, whatever the number of servers. The usual case, two choices among equal
weights, is written out, because a simulation makes one pick for each request. The second draw is among the
others, so that none has to be repeated; more than two are drawn until they are different, but among
different weights independently.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from lbkit.balancing.base import ALGORITHMS, Balancer
from lbkit.balancing.random import WeightedDraw
from lbkit.server import Server

__all__ = ["TwoChoices", "TwoChoicesOptions"]


@dataclass(frozen=True, slots=True)
class TwoChoicesOptions:
    """`choices`: servers drawn for each pick, 2–16 (one is the algorithm `random`)."""

    choices: int = 2

    def __post_init__(self) -> None:
        if not 2 <= self.choices <= 16:
            raise ValueError(f"choices: {self.choices} is not from 2 to 16")


@ALGORITHMS.register("two_choices", TwoChoicesOptions)
class TwoChoices(Balancer):
    """The less loaded of two servers drawn at random, in proportion to the weights."""

    options: TwoChoicesOptions

    def __init__(self, options: TwoChoicesOptions, rng: random.Random) -> None:
        super().__init__(options, rng)
        self._draw = WeightedDraw((), rng)
        self._random: Callable[[], float] = rng.random
        self._servers: list[Server] = []
        self._count = 0
        """Of servers where two plain draws do: weights are equal, and there are two to choose from."""

    def update(self, candidates: Sequence[Server], now: float) -> None:
        self._draw = WeightedDraw(candidates, self.rng)
        self._servers = self._draw.servers
        is_plain = self._draw.equal and self.options.choices == 2 and len(candidates) > 1
        self._count = len(candidates) if is_plain else 0

    def pick(self, now: float, key: bytes | None = None, exclude: Collection[Server] = ()) -> Server | None:
        count = self._count
        if exclude or not count:
            return self._of_several(exclude)
        servers = self._servers
        first = int(self._random() * count)
        second = int(self._random() * (count - 1))
        one = servers[first]
        other = servers[second + 1 if second >= first else second]
        return one if one.open_sessions <= other.open_sessions else other

    def _of_several(self, exclude: Collection[Server]) -> Server | None:
        if self.options.choices == 2:
            pair = self._draw.pair(exclude)
            return None if pair is None else min(pair, key=_load)
        return min(self._drawn(exclude), key=_load, default=None)

    def _drawn(self, exclude: Collection[Server]) -> list[Server]:
        """The servers to compare, none of *exclude*."""
        choices = self.options.choices
        servers = self._servers
        if len(servers) <= 2 * choices:
            left = [server for server in servers if server not in exclude]
            if self._draw.equal:
                return self.rng.sample(left, min(choices, len(left)))
        elif self._draw.equal and not exclude:
            indexes: list[int] = []
            while len(indexes) < choices:
                index = int(self._random() * len(servers))
                if index not in indexes:
                    indexes.append(index)
            return [servers[index] for index in indexes]
        return [server for _ in range(choices) if (server := self._draw.draw(exclude)) is not None]

    def score(self, server: Server, now: float) -> float | None:
        return _load(server)


def _load(server: Server) -> float:
    return (server.open_sessions + 1) / server.effective_weight
