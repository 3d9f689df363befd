"""Active-passive: the first server in the pool's order that is available takes everything.

Cost: constant; only where the active server is excluded are the others looked at, in order.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lbkit.balancing.base import ALGORITHMS, Balancer
from lbkit.server import Server

__all__ = ["ActivePassive", "ActivePassiveOptions"]


@dataclass(frozen=True, slots=True)
class ActivePassiveOptions:
    """`failback`: whether a server of higher priority that returns takes over again at once.

    True is keepalived's default (`nopreempt` off). False leaves the standby active until it fails
    itself, for servers that are expensive to warm up.
    """

    failback: bool = True


@ALGORITHMS.register("active_passive", ActivePassiveOptions)
class ActivePassive(Balancer):
    """The first available server in order takes everything; the next one when it fails."""

    def __init__(self, options: ActivePassiveOptions, rng: random.Random) -> None:
        super().__init__(options, rng)
        self._candidates: tuple[Server, ...] = ()
        self._active: Server | None = None

    def update(self, candidates: Sequence[Server], now: float) -> None:
        self._candidates = tuple(candidates)
        keep = not self.options.failback and self._active in candidates
        if not keep:
            self._active = candidates[0] if candidates else None

    def pick(self, now: float, key: bytes | None = None, exclude: Collection[Server] = ()) -> Server | None:
        # An excluded active server only failed one connection: health, not one failure, changes roles.
        if self._active not in exclude:
            return self._active
        return next((server for server in self._candidates if server not in exclude), None)
