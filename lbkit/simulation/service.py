"""How long requests take: each kind is a frozen dataclass, its keys in a scenario's ``[service]`` table.

`works` is an endless stream of seconds of work on a server of speed 1, drawn in the order in which requests
come and not where they are served: so every algorithm has the same work to distribute (common random
numbers), and two algorithms differ by nothing but their picks.

Each kind takes its mean (log-normal and Pareto too, whose own parameters are worked out), because the mean is
what load is made of.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

from lbkit.config.values import Duration
from lbkit.simulation.arrivals import is_number

__all__ = ["SERVICES", "Constant", "Exponential", "LogNormal", "Normal", "Pareto", "Recorded", "Service"]


class Service(Protocol):
    """A distribution of the work in a request."""

    def works(self, rng: random.Random) -> Iterator[float]:
        """Seconds of work, one for each request."""
        ...


def _check_mean(mean: float) -> None:
    if is_number(mean) and mean <= 0:
        raise ValueError("mean: must be above 0")


@dataclass(frozen=True, slots=True)
class Constant:
    """Every request takes the same."""

    kind: ClassVar[str] = "constant"
    mean: Duration

    def __post_init__(self) -> None:
        _check_mean(self.mean)

    def works(self, rng: random.Random) -> Iterator[float]:
        """See `Service`."""
        return itertools.repeat(float(self.mean))


@dataclass(frozen=True, slots=True)
class Exponential:
    """Exponential with this mean: what queueing theory calculates with."""

    kind: ClassVar[str] = "exponential"
    mean: Duration

    def __post_init__(self) -> None:
        _check_mean(self.mean)

    def works(self, rng: random.Random) -> Iterator[float]:
        """See `Service`."""
        draw, log, mean = rng.random, math.log, -float(self.mean)
        while True:
            yield log(1.0 - draw()) * mean


@dataclass(frozen=True, slots=True)
class Normal:
    """Normal, truncated at 0: a negative draw is drawn again, which raises the mean of a wide one."""

    kind: ClassVar[str] = "normal"
    mean: Duration
    deviation: Duration

    def __post_init__(self) -> None:
        _check_mean(self.mean)

    def works(self, rng: random.Random) -> Iterator[float]:
        """See `Service`."""
        gauss, mean, deviation = rng.gauss, float(self.mean), float(self.deviation)
        while True:
            work = gauss(mean, deviation)
            if work >= 0.0:
                yield work


@dataclass(frozen=True, slots=True)
class LogNormal:
    """Log-normal with this mean; *sigma* is the deviation of the logarithm (1 is a long tail)."""

    kind: ClassVar[str] = "log_normal"
    mean: Duration
    sigma: float = 1.0

    def __post_init__(self) -> None:
        _check_mean(self.mean)
        if not 0 <= self.sigma <= 10:
            raise ValueError(f"sigma: {self.sigma:g} is not from 0 to 10")

    def works(self, rng: random.Random) -> Iterator[float]:
        """See `Service`. E[X] = exp(mu + sigma²/2)."""
        gauss, exp, sigma = rng.gauss, math.exp, self.sigma
        mu = math.log(self.mean) - sigma * sigma / 2
        while True:
            yield exp(gauss(mu, sigma))


@dataclass(frozen=True, slots=True)
class Pareto:
    """Pareto with this mean and *shape* above 1; at 2 and under its variance is infinite."""

    kind: ClassVar[str] = "pareto"
    mean: Duration
    shape: float = 2.5

    def __post_init__(self) -> None:
        _check_mean(self.mean)
        if not 1 < self.shape < math.inf:
            raise ValueError(f"shape: {self.shape:g} is not above 1, and then there is no mean")

    def works(self, rng: random.Random) -> Iterator[float]:
        """See `Service`. E[X] = minimum · shape / (shape - 1)."""
        draw, power = rng.random, -1.0 / self.shape
        minimum = self.mean * (self.shape - 1) / self.shape
        while True:
            yield minimum * (1.0 - draw()) ** power


@dataclass(frozen=True, slots=True)
class Recorded:
    """Recorded seconds, in their order and then again from the first."""

    kind: ClassVar[str] = "trace"
    values: Sequence[float]

    def works(self, rng: random.Random) -> Iterator[float]:
        """See `Service`."""
        return itertools.cycle(self.values)


SERVICES: Final[dict[str, type]] = {
    kind.kind: kind for kind in (Constant, Exponential, Normal, LogNormal, Pareto)
}
