"""What every balancing algorithm is: a pure strategy over the servers that may be picked now.

The pool decides *who may* be picked (health, backup, drain, weight 0) and tells the balancer through
`update`; the balancer decides *who is* picked. So no algorithm knows about health, and a change
of the candidates, which is rare, may cost more than a pick, which is not: a pick must not look at every
server.

What happens on a server comes back through `started`, `responded` and `ended`, for the algorithms
that learn from it. A pool looks once which of them an algorithm overrides and calls no other.

What every algorithm promises beyond these signatures is written down as tests, in
`lbkit.testing.BalancerContract`: inherit it for one of your own.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any, ClassVar

from lbkit.registry import Registry
from lbkit.server import Outcome, Server

__all__ = ["ALGORITHMS", "Balancer"]


class Balancer(ABC):
    """Picks the server for the next session or request.

    *options* is the frozen dataclass that the algorithm registered, *rng* its only source of
    chance, so that one seed gives the same picks again.
    """

    keyed: ClassVar[bool] = False
    """Whether a pick depends on its key, so that the caller should work one out."""
    probing: ClassVar[bool] = False
    """Whether it wants answers to probes: see `take_probes`."""

    def __init__(self, options: Any, rng: random.Random) -> None:
        self.options = options
        self.rng = rng

    @abstractmethod
    def update(self, candidates: Sequence[Server], now: float) -> None:
        """Take the servers that may be picked from now on, in the pool's order.

        Each has an `effective_weight` above 0, a multiple of 1/16, which changes only before another
        call of `update`. Called on every change of health, weight or membership. What is known of a server
        that stays is kept, so that a change elsewhere does not disturb its share.
        """

    @abstractmethod
    def pick(self, now: float, key: bytes | None = None, exclude: Collection[Server] = ()) -> Server | None:
        """The next server, none of *exclude* (already tried, or full); None where none is left.

        `now` is monotonic seconds. *key* is what keyed algorithms map to a server; None is nothing
        known about the client, which they treat as a key of its own.
        """

    # ---- feedback; nothing by default ----

    def started(self, server: Server, now: float) -> None:  # noqa: B027 - optional to override
        """A session or request begins on *server*, whose `open_sessions` counts it already."""

    def responded(self, server: Server, seconds: float, now: float) -> None:  # noqa: B027
        """The first byte of an answer came *seconds* after its `started`."""

    def ended(self, server: Server, seconds: float, outcome: Outcome, now: float) -> None:  # noqa: B027
        """It is over, *seconds* after its `started`; `open_sessions` no longer counts it.

        Comes exactly once for each `started`, also for servers that have left the candidates meanwhile.
        """

    def take_probes(self) -> Sequence[Server]:
        """The servers to be probed after the last pick; each is handed out once.

        Whoever probes answers with `probed`, at once or later, or never where the probe was lost.
        """
        return ()

    def probed(self, server: Server, in_flight: int, seconds: float | None, now: float) -> None:  # noqa: B027
        """A probe of *server* was answered: requests it has in flight, and its latency at that load.

        *seconds* None: the server told none, and what was seen of it here has to do.
        """

    def score(self, server: Server, now: float) -> float | None:
        """What *server* is compared by, the lowest being picked; None where picks compare nothing."""
        return None


ALGORITHMS: Registry[Balancer] = Registry("algorithm")
