"""Least connections: the server with the fewest open sessions in proportion to its weight.

Load is (open sessions + 1) / weight, with the one to come, so that of two idle servers the heavier one is
taken (HAProxy `leastconn`, nginx `least_conn`). Of equal loads the least recently picked one is: in rotation
where nothing is open, and not always the first of the list.

This suits long sessions. It believes its own count, so a server that fails at once looks idle and draws
traffic, and several balancers send everybody to the same idle server; see `two_choices` and `peak_ewma`.

Cost: a heap of (load, stamp of the last pick), one entry pushed at each start and end. An outdated entry
stays until it comes up or the heap is four times as long as needed, when it is built anew: logarithmic, and
amortised constant. Full servers leave the heap until one of their sessions ends: where limits differ, they
may be those with the fewest sessions, and each pick would pass over all of them.

Rejected: HAProxy's ordered tree, which removes the old entry at once, as Python has no tree in C; buckets of
equal load, which need whole weights.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Collection, Sequence
from heapq import heapify, heappop, heappush, heapreplace

from lbkit.balancing.base import ALGORITHMS, Balancer
from lbkit.registry import NoOptions
from lbkit.server import Outcome, Server

__all__ = ["LeastConnections"]

_Entry = tuple[float, int, Server]
"""(load, stamp, server); stamps are unique, so that servers are never compared."""


@ALGORITHMS.register("least_connections")
class LeastConnections(Balancer):
    """The server with the fewest open sessions in proportion to its weight; equals in rotation."""

    def __init__(self, options: NoOptions, rng: random.Random) -> None:
        super().__init__(options, rng)
        self._heap: list[_Entry] = []
        self._valid: dict[Server, _Entry] = {}
        """The one entry of each candidate that is not outdated."""
        self._full: deque[_Entry] = deque()
        """Entries taken out of the heap, outdated ones too. Each pick looks whether one of them has room by
        now, as a limit that is raised is told nobody."""
        self._stamp = 0
        self._limit = 64

    def update(self, candidates: Sequence[Server], now: float) -> None:
        # Newcomers queue up behind those that wait: a server that flaps is not always the next.
        known = self._valid
        stamps = {server: known[server][1] for server in candidates if server in known}
        valid = {}
        for server in candidates:
            stamp = stamps.get(server)
            if stamp is None:
                stamp = self._stamp = self._stamp + 1
            valid[server] = (_load(server), stamp, server)
        self._valid = valid
        self._limit = 4 * len(valid) + 64
        self._build()

    def _build(self) -> None:
        self._full.clear()
        self._heap = list(self._valid.values())
        heapify(self._heap)

    def pick(self, now: float, key: bytes | None = None, exclude: Collection[Server] = ()) -> Server | None:
        heap, valid = self._heap, self._valid
        if self._full:
            self._look_at_one_full()
        aside: list[_Entry] = []
        picked = None
        while heap:
            entry = heap[0]
            server = entry[2]
            if valid.get(server) is not entry:
                heappop(heap)
                continue
            # Sessions that were counted with no `started` must not make it look idle.
            load = (server.open_sessions + 1) / server.effective_weight
            if load != entry[0]:
                valid[server] = entry = (load, entry[1], server)
                heapreplace(heap, entry)
            elif exclude and server in exclude:
                (self._full if server.is_full else aside).append(heappop(heap))
            else:
                self._stamp += 1
                valid[server] = entry = (load, self._stamp, server)
                heapreplace(heap, entry)
                picked = server
                break
        for entry in aside:
            heappush(heap, entry)
        return picked

    def _look_at_one_full(self) -> None:
        entry = self._full.popleft()
        if self._valid.get(entry[2]) is not entry:
            return
        if entry[2].is_full:
            self._full.append(entry)
        else:
            heappush(self._heap, entry)

    def started(self, server: Server, now: float) -> None:
        self._count(server)

    def ended(self, server: Server, seconds: float, outcome: Outcome, now: float) -> None:
        self._count(server)

    def _count(self, server: Server) -> None:
        """Enter a load that has changed."""
        old = self._valid.get(server)
        if old is None:
            return  # it has left the candidates
        self._valid[server] = entry = ((server.open_sessions + 1) / server.effective_weight, old[1], server)
        heappush(self._heap, entry)
        if len(self._heap) > self._limit:
            self._build()

    def score(self, server: Server, now: float) -> float | None:
        return _load(server)


def _load(server: Server) -> float:
    return (server.open_sessions + 1) / server.effective_weight
