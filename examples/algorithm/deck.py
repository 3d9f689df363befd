"""An algorithm of one's own in one file: servers are dealt like cards from a shuffled deck.

Each server is in the deck as often as its weight says; when the deck is empty it is shuffled again. So
shares are exact over a round, as with round robin, but no two balancers go through the servers in step, as
with random.

    lbkit --load deck.py list
    lbkit --load deck.py simulate scenario.toml --algorithm deck --algorithm random
    lbkit --load deck.py run lbkit.toml          # with algorithm = "deck"
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lbkit.balancing import ALGORITHMS, Balancer
from lbkit.server import Server


@dataclass(frozen=True, slots=True)
class DeckOptions:
    """`rounds`: how many times each server is in the deck at least. More is more like chance."""

    rounds: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.rounds <= 100:
            raise ValueError(f"rounds: {self.rounds} is not from 1 to 100")


@ALGORITHMS.register("deck", DeckOptions)
class Deck(Balancer):
    """Servers are dealt like cards from a shuffled deck."""

    def __init__(self, options: DeckOptions, rng: random.Random) -> None:
        super().__init__(options, rng)
        self._cards: list[Server] = []
        self._deck: list[Server] = []

    def update(self, candidates: Sequence[Server], now: float) -> None:
        sixteenths = [int(server.effective_weight * 16) for server in candidates]
        unit = math.gcd(*sixteenths) if sixteenths else 1
        self._cards = [
            server
            for server, weight in zip(candidates, sixteenths, strict=True)
            for _ in range(weight // unit * self.options.rounds)
        ]
        # Cards of servers that stay keep their place: a change elsewhere disturbs nobody's share.
        left = set(candidates)
        self._deck = [server for server in self._deck if server in left]

    def pick(self, now: float, key: bytes | None = None, exclude: Collection[Server] = ()) -> Server | None:
        if exclude and not any(server not in exclude for server in self._cards):
            return None
        aside: list[Server] = []
        chosen = self._deal()
        while chosen is not None and chosen in exclude:
            aside.append(chosen)
            chosen = self._deal()
        self._deck += reversed(aside)  # their turn comes with the next pick
        return chosen

    def _deal(self) -> Server | None:
        if not self._deck:
            self._deck = self._cards.copy()
            self.rng.shuffle(self._deck)
        return self._deck.pop() if self._deck else None
