"""Smooth weighted round robin, as in nginx.

Each pick raises every candidate's credit by its weight, takes the highest, and lowers that one by
the sum of the weights. Weights {5, 1, 1} give a a b a c a a: the heavy server's picks are spread
over the round and do not come as a burst (nginx, ngx_http_upstream_round_robin.c, 2012).

Cost: one pass over the candidates for each pick. A plain rotating index is taken where all weights
are equal, which gives the same sequence at constant cost.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

from lbkit.balancing.base import ALGORITHMS, Balancer
from lbkit.registry import NoOptions
from lbkit.server import Server

__all__ = ["RoundRobin"]


class _Share:
    __slots__ = ("credit", "server")

    def __init__(self, server: Server) -> None:
        self.server = server
        self.credit = 0.0


@ALGORITHMS.register("round_robin")
class RoundRobin(Balancer):
    """Each server in turn, in proportion to its weight, evenly spread over the round."""

    def __init__(self, options: NoOptions, rng: random.Random) -> None:
        super().__init__(options, rng)
        self._shares: list[_Share] = []
        self._equal = True
        self._next = 0

    def update(self, candidates: Sequence[Server], now: float) -> None:
        known = {share.server: share for share in self._shares}
        following = self._following_server()
        self._shares = [known.get(server) or _Share(server) for server in candidates]
        self._equal = len({server.effective_weight for server in candidates}) <= 1
        self._next = next((i for i, share in enumerate(self._shares) if share.server is following), 0)

    def _following_server(self) -> Server | None:
        return self._shares[self._next].server if self._shares else None

    def pick(self, now: float, key: bytes | None = None, exclude: Collection[Server] = ()) -> Server | None:
        return self._rotate(exclude) if self._equal else self._highest_credit(exclude)

    def _rotate(self, exclude: Collection[Server]) -> Server | None:
        shares = self._shares
        count = len(shares)
        for _ in range(count):
            index = self._next
            self._next = index + 1 if index + 1 < count else 0
            server = shares[index].server
            if server not in exclude:
                return server
        return None

    def _highest_credit(self, exclude: Collection[Server]) -> Server | None:
        best: _Share | None = None
        total = 0.0
        for share in self._shares:
            if share.server in exclude:
                continue
            weight = share.server.effective_weight
            total += weight
            share.credit += weight
            if best is None or share.credit > best.credit:
                best = share
        if best is None:
            return None
        best.credit -= total
        return best.server
