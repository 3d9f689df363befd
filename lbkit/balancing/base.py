"""What every balancing algorithm is: a pure strategy over the servers that may be picked now.

The pool decides *who may* be picked (health, backup, weight 0) and tells the balancer through
`update`; the balancer decides *who is* picked. So no algorithm knows about health, and a change
of the candidates, which is rare, may cost more than a pick, which is not.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any

from lbkit.registry import Registry
from lbkit.server import Server

__all__ = ["ALGORITHMS", "Balancer"]


class Balancer(ABC):
    """Picks the server for the next session or request.

    *options* is the frozen dataclass that the algorithm registered, *rng* its only source of
    chance, so that one seed gives the same picks again.
    """

    def __init__(self, options: Any, rng: random.Random) -> None:
        self.options = options
        self.rng = rng

    @abstractmethod
    def update(self, candidates: Sequence[Server], now: float) -> None:
        """Take the servers that may be picked from now on, in the pool's order, each of weight > 0.

        Called on every change of health, weight or membership. What is known of a server that stays
        is kept, so that a change elsewhere does not disturb its share.
        """

    @abstractmethod
    def pick(self, now: float, exclude: Collection[Server] = ()) -> Server | None:
        """The next server, none of *exclude* (already tried, or full); None where none is left.

        `now` is monotonic seconds.
        """


ALGORITHMS: Registry[Balancer] = Registry("algorithm")
