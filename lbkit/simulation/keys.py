"""What requests are about: the key that hashing algorithms map to a server."""

from __future__ import annotations

import itertools
import random
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["Keys"]


@dataclass(frozen=True, slots=True)
class Keys:
    """*count* keys, all as popular (``uniform``) or the i-th in proportion to 1/i^exponent (``zipf``)."""

    kind: Literal["uniform", "zipf"] = "uniform"
    count: int = 1000
    exponent: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.count <= 10_000_000:
            raise ValueError(f"count: {self.count} is not from 1 to 10000000")
        if not 0 <= self.exponent <= 10:
            raise ValueError(f"exponent: {self.exponent:g} is not from 0 to 10")

    def stream(self, rng: random.Random) -> Iterator[bytes]:
        """One key for each request."""
        draw, count = rng.random, self.count
        names = [b"key%d" % number for number in range(1, count + 1)]
        if self.kind == "uniform":
            while True:
                yield names[int(draw() * count)]
        bounds = list(itertools.accumulate(rank**-self.exponent for rank in range(1, count + 1)))
        total = bounds[-1]
        while True:
            yield names[min(bisect_right(bounds, draw() * total), count - 1)]
