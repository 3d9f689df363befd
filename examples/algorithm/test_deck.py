"""The contract that lbkit's own algorithms keep, for this one: ``pytest test_deck.py``."""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path

from lbkit.server import Server
from lbkit.testing import BalancerContract

sys.path.insert(0, str(Path(__file__).parent))

from deck import Deck, DeckOptions


class TestDeck(BalancerContract):
    def make(self, seed: int) -> Deck:
        return Deck(DeckOptions(), random.Random(seed))


def test_every_round_is_fair_and_no_two_are_alike() -> None:
    servers = [Server("a", "127.0.0.1:1", weight=3), Server("b", "127.0.0.1:2"), Server("c", "127.0.0.1:3")]
    deck = Deck(DeckOptions(), random.Random(7))
    deck.update(servers, 0.0)
    rounds = ["".join(server.name for _ in range(5) if (server := deck.pick(0.0))) for _ in range(20)]
    assert all(Counter(one) == Counter("aaabc") for one in rounds)
    assert len(set(rounds)) > 5
