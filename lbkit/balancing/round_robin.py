"""Smooth weighted round robin, as in nginx, at constant cost.

nginx raises every candidate's credit by its weight at each pick, takes the highest, and lowers that one by
the sum of the weights. Weights {5, 1, 1} give a a b a c a a: the heavy server's picks are spread over the
round and do not come as a burst (nginx, ngx_http_upstream_round_robin.c, 2012). That looks at every server
for every pick. But its sequence repeats after (sum of the weights / their greatest common divisor) picks,
so here one round of it is worked out in `update`, and a pick is the next entry of a table.

Servers of one weight take their turns in order, so that only the first of each weight has to be compared.
So a round costs its length × the number of different weights, which is allowed to be 120 000 steps (about
10 ms). With equal weights the table is the candidates themselves.

Where a round would cost more (many different weights, or one of 10 000 servers that starts slowly), it is
stride scheduling (Waldspurger and Weihl, MIT/LCS/TM-528, 1995): each server is due again 1 / weight after it
was. The servers of one weight come in the same order again and again, so a heap only has to know which
weight is due first. First dues are spread evenly over the stride, and those of different weights by the
golden ratio, so that it is smooth from the start.

A change of the candidates keeps the place: with equal weights whoever was to come next does so, and in the
heap everybody has the same fraction of its stride left. A new round of different weights begins anywhere in
it. Excluded servers lose the turn that they are excluded from and no other.

Cost of a pick: an index, or one sift of a heap of the different weights, in C. Rejected: a table by
decreasing weight (LVS `wrr`), which is as cheap and bursty; drawing by chance, which is what `random` does.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from heapq import heapify, heapreplace
from math import gcd

from lbkit.balancing.base import ALGORITHMS, Balancer
from lbkit.registry import NoOptions
from lbkit.server import Server

__all__ = ["RoundRobin"]

_STEPS = 120_000  # of a round that is worked out in advance: about 10 ms
_PASSED_OVER = 64  # excluded turns after which is looked whether anybody is left at all
_GOLDEN = (5**0.5 - 1) / 2


@ALGORITHMS.register("round_robin")
class RoundRobin(Balancer):
    """Each server in turn, in proportion to its weight, evenly spread over the round."""

    def __init__(self, options: NoOptions, rng: random.Random) -> None:
        super().__init__(options, rng)
        self._servers: list[Server] = []
        self._weights: list[int] = []
        self._table: list[Server] = []
        self._length = 0
        self._next = 0
        self._heap: list[_Due] = []
        """Where a table would be too long."""

    def pick(self, now: float, key: bytes | None = None, exclude: Collection[Server] = ()) -> Server | None:
        if exclude:
            return self._pass_over(exclude) if self._table else self._pass_over_due(exclude)
        index = self._next
        if index < self._length:
            self._next = index + 1
            return self._table[index]
        if index:
            self._next = 1
            return self._table[0]
        if not self._heap:
            return None
        _, tie, lane = self._heap[0]
        turn = lane.turn
        server = lane.servers[turn]
        turn += 1
        if turn == lane.count:
            turn = 0
            lane.began += lane.stride
        lane.turn = turn
        heapreplace(self._heap, (lane.began + lane.dues[turn], tie, lane))
        return server

    def _pass_over(self, exclude: Collection[Server]) -> Server | None:
        """The next entry of the table that is not excluded."""
        table = self._table
        start = self._next
        passed = 0
        for span in (range(start, self._length), range(start)):
            for index in span:
                if table[index] not in exclude:
                    self._next = index + 1
                    return table[index]
                passed += 1
                if passed == _PASSED_OVER and not self._anybody_but(exclude):
                    return None
        return None

    def _pass_over_due(self, exclude: Collection[Server]) -> Server | None:
        """The next in the heap that is not excluded; where that takes long, a draw among those left."""
        for _ in range(_PASSED_OVER):
            server = self.pick(0.0)
            if server is None or server not in exclude:
                return server
        left = [server for server in self._servers if server not in exclude]
        return self.rng.choices(left, [server.effective_weight for server in left])[0] if left else None

    def _anybody_but(self, exclude: Collection[Server]) -> bool:
        return any(server not in exclude for server in self._servers)

    # ---- the candidates change ----

    def update(self, candidates: Sequence[Server], now: float) -> None:
        servers = list(candidates)
        weights = [int(server.effective_weight * 16) for server in servers]
        if servers == self._servers and weights == self._weights:
            return
        divisor = gcd(*weights) if weights else 1
        weights_of_round = [weight // divisor for weight in weights]
        kinds = len(set(weights))
        if kinds <= 1:
            self._enter_table(servers, servers)
        elif sum(weights_of_round) * kinds <= _STEPS:
            self._enter_table(_smooth_round(servers, weights_of_round), servers)
        else:
            self._enter_heap(servers, weights)
        self._servers, self._weights = servers, weights

    def _enter_table(self, table: list[Server], servers: list[Server]) -> None:
        if table is servers:
            following = self._first_kept(servers)
            start = next((index for index, server in enumerate(table) if server is following), 0)
        elif self._servers:
            # No place in one round is the same place in another, and any fixed rule for it gives the heavy
            # servers all picks where changes are as frequent as picks. A random one is right on average.
            start = int(self.rng.random() * len(table))
        else:
            start = 0
        self._table, self._length, self._next = table, len(table), start
        self._heap = []

    def _first_kept(self, servers: list[Server]) -> Server | None:
        """Of those that stay, whose turn is next."""
        staying = set(servers)
        return next((server for server in self._upcoming() if server in staying), None)

    def _upcoming(self) -> Iterator[Server]:
        """Everybody by their next turns (and some again)."""
        if self._heap:
            left = self._fractions_left()
            return iter(sorted(left, key=lambda server: left[server] / server.effective_weight))
        return (self._table[index % self._length] for index in range(self._next, self._next + self._length))

    def _enter_heap(self, servers: list[Server], weights: list[int]) -> None:
        left = self._fractions_left()
        heap: list[_Due] = []
        for weight, members in _by_weight(servers, weights).items():
            count = len(members)
            offset = (len(heap) + 0.5) * _GOLDEN % 1.0
            waits = {
                servers[number]: left.get(servers[number], (place + offset) / count)
                for place, number in enumerate(members)
            }
            lane = _Lane(sorted(waits, key=waits.__getitem__), sorted(waits.values()), 1.0 / weight)
            heap.append((lane.dues[0], len(heap), lane))
        heapify(heap)
        self._heap, self._table, self._length, self._next = heap, [], 0, 0

    def _fractions_left(self) -> dict[Server, float]:
        """How much of its own stride each server has to wait until its turn, 0–1."""
        if self._heap:
            start = self._heap[0][0]
            return {
                server: (due - start) / lane.stride
                for _, _, lane in self._heap
                for server, due in lane.in_turn()
            }
        turns: dict[Server, int] = {}
        distances: dict[Server, int] = {}
        for distance, server in enumerate(self._upcoming()):
            turns[server] = turns.get(server, 0) + 1
            distances.setdefault(server, distance)
        return {
            server: min(1.0, (distance + 0.5) * turns[server] / self._length)
            for server, distance in distances.items()
        }


class _Lane:
    """The servers of one weight. Each is due again a `stride` later, so they always come in the same order.

    `dues` are those of the round that `began` at a moment; `turn` is who is next.
    """

    __slots__ = ("began", "count", "dues", "servers", "stride", "turn")

    def __init__(self, servers: list[Server], waits: list[float], stride: float) -> None:
        """*waits* are fractions of the *stride*, in order."""
        self.servers = servers
        self.dues = [wait * stride for wait in waits]
        self.count = len(servers)
        self.stride = stride
        self.began = 0.0
        self.turn = 0

    def in_turn(self) -> Iterator[tuple[Server, float]]:
        """All of them by their next dues, and when these are."""
        for place in range(self.turn, self.turn + self.count):
            round_, member = divmod(place, self.count)
            yield self.servers[member], self.began + round_ * self.stride + self.dues[member]


_Due = tuple[float, int, _Lane]
"""(when its next turn is due, tie-break, lane)"""


def _by_weight(servers: list[Server], weights: list[int]) -> dict[int, list[int]]:
    """The numbers of the servers of each weight, in order."""
    groups: dict[int, list[int]] = {}
    for number in range(len(servers)):
        groups.setdefault(weights[number], []).append(number)
    return groups


class _Kind:
    """The servers of one weight: the credit of the one whose turn is next, and which that is."""

    __slots__ = ("credit", "first", "members", "turn", "weight")

    def __init__(self, weight: int, members: list[int]) -> None:
        self.weight = weight
        self.members = members
        self.turn = 0
        self.first = members[0]
        self.credit = 0


def _smooth_round(servers: list[Server], weights: list[int]) -> list[Server]:
    """One round of nginx's sequence.

    Within a kind everybody gains the same, and whoever was picked is behind by the whole sum until all
    others were, too: so turns go round, and the next one's credit falls only when a turn begins anew.
    """
    total = sum(weights)
    kinds = [_Kind(weight, members) for weight, members in _by_weight(servers, weights).items()]
    table = []
    for _ in range(total):
        best = kinds[0]
        best.credit += best.weight
        for kind in kinds[1:]:
            kind.credit += kind.weight
            # Of equal credits nginx takes the first in order.
            if kind.credit > best.credit or (kind.credit == best.credit and kind.first < best.first):
                best = kind
        table.append(servers[best.first])
        best.turn += 1
        if best.turn == len(best.members):
            best.turn = 0
            best.credit -= total
        best.first = best.members[best.turn]
    return table
