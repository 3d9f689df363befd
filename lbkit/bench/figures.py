"""What came out of a run: medians, spread, and ratios to HAProxy of the same rounds."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["LBKIT", "MEASURES", "NO_PROXY", "REFERENCE", "Figures", "Measure", "Sample", "median_of"]

REFERENCE = "haproxy"
NO_PROXY = "none"
LBKIT = "auto"
"""The path that stands for lbkit: its default."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one path in one case.

    Requests and bytes a second, latencies in ms, failed requests; the proxy's own CPU time and that of the
    whole machine (client, proxy, server and kernel), in µs for each request. 0 is not known.
    """

    rate: float
    bytes_rate: float
    p50_ms: float
    p99_ms: float
    failures: int
    own_us: float
    system_us: float


@dataclass(slots=True)
class Figures:
    """All samples of a run by case and path, and memory in bytes for each idle connection by path."""

    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=lambda: defaultdict(list))
    idle: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def median(self, case: str, path: str, what: str) -> float | None:
        """The median of the field *what* of `Sample`; None where that was not measured."""
        row = self.samples.get((case, path))
        return statistics.median(getattr(sample, what) for sample in row) if row else None

    def spread(self, case: str, path: str) -> float | None:
        """Half of what lies between the lowest and the highest rate, as a part of the median."""
        rates = [sample.rate for sample in self.samples.get((case, path), ())]
        middle = statistics.median(rates) if rates else 0.0
        return (max(rates) - min(rates)) / 2 / middle if middle else None

    def failures(self, case: str, path: str) -> int:
        """Failed requests of all rounds."""
        return sum(sample.failures for sample in self.samples.get((case, path), ()))

    def answered(self, case: str, path: str) -> float:
        """Requests that were answered, well or not, in one second of each round."""
        return sum(sample.rate for sample in self.samples.get((case, path), ()))

    def added_ms(self, case: str, path: str) -> float | None:
        """How much longer the median request takes than without a proxy, ms; None without that beside it."""
        mine, bare = (self.median(case, one, "p50_ms") for one in (path, NO_PROXY))
        return None if mine is None or bare is None or path == NO_PROXY else mine - bare

    def idle_bytes(self, path: str) -> float | None:
        """The median of the memory for each idle connection."""
        found = self.idle.get(path)
        return statistics.median(found) if found else None


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of each path, of which the ratio to HAProxy's is what counts."""

    name: str
    case: str
    read: Callable[[Figures, str], float | None]
    less_is_better: bool = False

    def ratio(self, figures: Figures, path: str, reference: str = REFERENCE) -> float | None:
        """That of *path* to that of *reference*; None where one of them is missing or not above 0.

        0 CPU time, memory or added latency means that it was too little to be seen, or not to be had.
        """
        mine, theirs = self.read(figures, path), self.read(figures, reference)
        if mine is None or theirs is None or theirs <= 0 or (mine <= 0 and self.less_is_better):
            return None
        return mine / theirs


def median_of(name: str, case: str, what: str, *, less_is_better: bool = False) -> Measure:
    """The median of the field *what* of `Sample` in *case*."""
    return Measure(name, case, lambda figures, path: figures.median(case, path, what), less_is_better)


MEASURES = {
    "small": median_of("small, keep-alive: requests/s", "small", "rate"),
    "medium": median_of("64 KiB: requests/s", "medium", "rate"),
    "big": median_of("10 MB: bytes/s", "big", "bytes_rate"),
    "connect": median_of("one connection a request: requests/s", "connect", "rate"),
    "many": median_of("1 000 connections: requests/s", "many", "rate"),
    "cpu": median_of("small, keep-alive: own CPU a request", "small", "own_us", less_is_better=True),
    "system": median_of("small, keep-alive: system CPU a request", "small", "system_us", less_is_better=True),
    "p99": median_of("small, keep-alive: p99", "small", "p99_ms", less_is_better=True),
    "added": Measure("one connection: added latency", "low", lambda f, path: f.added_ms("low", path), True),
    "idle": Measure("memory an idle connection", "idle", lambda f, path: f.idle_bytes(path), True),
}
"""In the order in which they are shown."""
