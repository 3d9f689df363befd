"""Maglev hashing: a key is an index into a table that the servers have filled in turns.

Each server has a permutation of the table's entries, from its name: offset + n × skip modulo a prime. In
turns they take the next entry of theirs that is free, until none is (Eisenbud et al., "Maglev: A Fast and
Reliable Software Network Load Balancer", NSDI 2016, § 3.4). So loads are even to about an entry each, far
more than on a ring, and a change moves its own keys and a few per cent of the others.

Weights are Envoy's: the heaviest server takes an entry in each turn, one with a third of its weight in each
third. So weights 1 and 2 get 21 846 and 43 691 of 65 537 entries. Everybody takes one in the first turn.

Servers take turns by name, so that the pool's order does not matter.

Cost of a pick: a hash (0.3 µs), a remainder and an index. Each change fills the table anew: about
M ln M steps for M entries, 30–60 ms for 65 537. The paper wants a hundred entries a server for loads to be
within a per cent: for more than 655 servers give a larger prime. Where there are more servers than entries
the next prime above twice their number is taken, so that everybody gets one.

An excluded server's key goes where it hashes to next (double hashing with a step from the same hash, which
comes by every entry, as the size is prime), so the same excluded servers send it to the same other one.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lbkit.balancing.base import ALGORITHMS, Balancer
from lbkit.balancing.hashing import hash64, hashes64
from lbkit.server import Server

__all__ = ["Maglev", "MaglevOptions", "fill"]

_PASSED_OVER = 64  # entries after which is looked whether anybody is left at all


@dataclass(frozen=True, slots=True)
class MaglevOptions:
    """`table_size`: entries of the table, a prime from 2 to 5 000 011 (Envoy's limit)."""

    table_size: int = 65_537

    def __post_init__(self) -> None:
        if not 2 <= self.table_size <= 5_000_011:
            raise ValueError(f"table_size: {self.table_size} is not from 2 to 5000011")
        if not _is_prime(self.table_size):
            raise ValueError(f"table_size: {self.table_size} is no prime")


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


@ALGORITHMS.register("maglev", MaglevOptions)
class Maglev(Balancer):
    """The server in a table's entry for the key; the table is filled evenly, by hashes of the names."""

    keyed = True
    options: MaglevOptions

    def __init__(self, options: MaglevOptions, rng: random.Random) -> None:
        super().__init__(options, rng)
        self._table: list[Server] = []
        self._size = options.table_size
        self._servers: list[Server] = []
        self._weights: list[float] = []

    def update(self, candidates: Sequence[Server], now: float) -> None:
        servers = sorted(candidates, key=lambda server: server.name)
        weights = [server.effective_weight for server in servers]
        if servers == self._servers and weights == self._weights:
            return
        self._servers, self._weights = servers, weights
        self._size = self.options.table_size
        if len(servers) > self._size:
            self._size = 2 * len(servers) + 1
            while not _is_prime(self._size):
                self._size += 2
        numbers = fill([server.name for server in servers], weights, self._size) if servers else []
        self._table = [servers[number] for number in numbers]

    def pick(self, now: float, key: bytes | None = None, exclude: Collection[Server] = ()) -> Server | None:
        if not self._table:
            return None
        hashed = self.rng.getrandbits(64) if key is None else hash64(key)
        server = self._table[hashed % self._size]
        if exclude and server in exclude:
            return self._next_place(hashed, exclude)
        return server

    def _next_place(self, hashed: int, exclude: Collection[Server]) -> Server | None:
        step = 1 + hashed // self._size % (self._size - 1)
        for tried in range(1, self._size):
            server = self._table[(hashed + tried * step) % self._size]
            if server not in exclude:
                return server
            if tried == _PASSED_OVER and all(candidate in exclude for candidate in self._servers):
                return None
        return None


def fill(names: Sequence[str], weights: Sequence[float], size: int) -> list[int]:
    """The table of *size* entries, a prime: for each the number of the server that has it."""
    table = [-1] * size
    free = bytearray(b"\1") * size
    places: list[int] = []
    skips: list[int] = []
    for name in names:
        offset, skip = hashes64(name, 2)
        places.append(offset % size)
        skips.append(1 + skip % (size - 1))
    heaviest = max(weights)
    is_even = min(weights) == heaviest
    targets = [0.0] * len(names)
    left = size
    turn = 0
    while True:
        turn += 1
        for number, weight in enumerate(weights):
            if not is_even:
                if turn * weight < targets[number]:
                    continue
                targets[number] += heaviest
            place = places[number]
            if not free[place]:
                skip = skips[number]
                while not free[place]:
                    place += skip
                    if place >= size:
                        place -= size
                places[number] = place
            free[place] = 0
            table[place] = number
            left -= 1
            if not left:
                return table
