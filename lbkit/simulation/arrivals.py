"""When requests come: each kind is a frozen dataclass, its keys in a scenario's ``[arrivals]`` table.

`times` is an endless, never falling stream of seconds, drawn only from its *rng*, so that all algorithms of a
run meet the same requests. Streams are generators of floats and not lists: ten million of them take no
memory.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

from lbkit.config.values import Duration

__all__ = ["ARRIVALS", "Arrivals", "Bursts", "Constant", "Poisson", "Steps", "is_number"]


class Arrivals(Protocol):
    """A way in which requests come."""

    def times(self, rng: random.Random) -> Iterator[float]:
        """The seconds at which requests come, from 0 on."""
        ...

    def expected_duration(self, requests: int) -> float:
        """Seconds in which about so many come."""
        ...


def is_number(value: object) -> bool:
    """False for what stands in for a key that a file lacks, about which the reader complains by itself."""
    return isinstance(value, int | float)


def _check_positive(key: str, value: float) -> None:
    if is_number(value) and not 0 < value < math.inf:
        raise ValueError(f"{key}: {value:g} is not above 0")


@dataclass(frozen=True, slots=True)
class Poisson:
    """Independent clients: exponential gaps, *rate* requests a second on average."""

    kind: ClassVar[str] = "poisson"
    rate: float

    def __post_init__(self) -> None:
        _check_positive("rate", self.rate)

    def times(self, rng: random.Random) -> Iterator[float]:
        """See `Arrivals`."""
        draw, log, gap, now = rng.random, math.log, 1.0 / self.rate, 0.0
        while True:
            now -= log(1.0 - draw()) * gap
            yield now

    def expected_duration(self, requests: int) -> float:
        """See `Arrivals`."""
        return requests / self.rate


@dataclass(frozen=True, slots=True)
class Constant:
    """*rate* requests a second at equal distances."""

    kind: ClassVar[str] = "constant"
    rate: float

    def __post_init__(self) -> None:
        _check_positive("rate", self.rate)

    def times(self, rng: random.Random) -> Iterator[float]:
        """See `Arrivals`."""
        rate, number = self.rate, 0
        while True:  # a quotient and no running sum, which would drift
            yield number / rate
            number += 1

    def expected_duration(self, requests: int) -> float:
        """See `Arrivals`."""
        return requests / self.rate


@dataclass(frozen=True, slots=True)
class Bursts:
    """*size* requests *every* so often, evenly over *spread* seconds (0: at the same moment)."""

    kind: ClassVar[str] = "bursts"
    size: int
    every: Duration
    spread: Duration = Duration(0)

    def __post_init__(self) -> None:
        _check_positive("size", self.size)
        _check_positive("every", self.every)
        if is_number(self.every) and self.spread > self.every:
            raise ValueError("spread: is longer than every")

    def times(self, rng: random.Random) -> Iterator[float]:
        """See `Arrivals`."""
        gap, number = self.spread / self.size, 0
        while True:
            start = number * self.every
            for place in range(self.size):
                yield start + place * gap
            number += 1

    def expected_duration(self, requests: int) -> float:
        """See `Arrivals`."""
        return requests / self.size * self.every


@dataclass(frozen=True, slots=True)
class Steps:
    """Poisson arrivals whose rate is one of *rates* for *step* seconds each; the last one stays."""

    kind: ClassVar[str] = "steps"
    rates: tuple[float, ...]
    step: Duration

    def __post_init__(self) -> None:
        if not self.rates:
            raise ValueError("rates: at least one is needed")
        for rate in self.rates:
            _check_positive("rates", rate)
        _check_positive("step", self.step)

    def times(self, rng: random.Random) -> Iterator[float]:
        """See `Arrivals`.

        A gap that reaches over the end of a step is drawn again from there: exponential gaps have no memory.
        """
        for number, rate in enumerate(self.rates, 1):
            end = number * self.step if number < len(self.rates) else math.inf
            now = (number - 1) * self.step
            while (now := now + rng.expovariate(rate)) < end:
                yield now

    def expected_duration(self, requests: int) -> float:
        """See `Arrivals`."""
        seconds, left = 0.0, float(requests)
        for rate in self.rates[:-1]:
            if left <= rate * self.step:
                return seconds + left / rate
            seconds, left = seconds + self.step, left - rate * self.step
        return seconds + left / self.rates[-1]


ARRIVALS: Final[dict[str, type]] = {kind.kind: kind for kind in (Poisson, Constant, Bursts, Steps)}
