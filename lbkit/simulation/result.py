"""What a simulation found, as values: for the table, for JSON and for pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lbkit.simulation.record import Histogram, Window

__all__ = ["PERCENTILES", "Result", "ServerResult", "server_results"]

PERCENTILES = (0.5, 0.95, 0.99, 0.999)


@dataclass(frozen=True, slots=True)
class ServerResult:
    """One server: the picks it got, and the requests in it on average and at most, at the ends of windows."""

    name: str
    picks: int
    mean_load: float
    peak_load: int


@dataclass(frozen=True, slots=True)
class Result:
    """One algorithm in one scenario. Durations are seconds of virtual time.

    `requests` and `errors` (by reason) are those after the warm-up; `latency` is of the successful from the
    first try to the last byte, `failed` of those that failed. `duration` is until the last one came.
    """

    algorithm: str
    requests: int
    errors: dict[str, int]
    latency: Histogram
    failed: Histogram
    retries: int
    duration: float
    windows: list[Window]
    servers: list[ServerResult]

    @property
    def error_count(self) -> int:
        """Requests that failed."""
        return sum(self.errors.values())

    @property
    def success(self) -> float:
        """The successful part, 0–1; NaN without requests."""
        return 1 - self.error_count / self.requests if self.requests else math.nan

    @property
    def imbalance(self) -> float:
        """Picks of the busiest server in proportion to the mean, whatever the weights: 1 is even."""
        total = sum(server.picks for server in self.servers)
        return max(server.picks for server in self.servers) * len(self.servers) / total if total else math.nan

    def percentile(self, part: float) -> float:
        """Latency that *part* (0–1) of the successful requests do not exceed; NaN where there are none."""
        return self.latency.percentile(part)

    def percentile_of_all(self, part: float) -> float:
        """The same with failed requests, which count with the time until they failed."""
        everything = Histogram()
        everything.merge(self.latency)
        everything.merge(self.failed)
        return everything.percentile(part)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: plain values, None for what is not known."""
        parts = self.latency.percentiles(list(PERCENTILES))
        return {
            "algorithm": self.algorithm,
            "requests": self.requests,
            "errors": dict(sorted(self.errors.items())),
            "retries": self.retries,
            "duration_s": self.duration,
            "latency_s": {
                "mean": _known(self.latency.mean),
                **{f"p{part * 100:g}": _known(value) for part, value in zip(PERCENTILES, parts, strict=True)},
                "max": _known(self.latency.highest if self.latency.count else math.nan),
            },
            "imbalance": _known(self.imbalance),
            "servers": [
                {
                    "name": server.name,
                    "picks": server.picks,
                    "mean_load": _known(server.mean_load),
                    "peak_load": server.peak_load,
                }
                for server in self.servers
            ],
            "windows": [_window(window) for window in self.windows],
        }


def _window(window: Window) -> dict[str, Any]:
    median, tail = window.latency.percentiles([0.5, 0.99])
    loads = window.loads
    return {
        "start_s": window.start,
        "end_s": window.end,
        "arrivals": window.arrivals,
        "errors": window.errors,
        "p50_s": _known(median),
        "p99_s": _known(tail),
        "load_mean": sum(loads) / len(loads),
        "load_max": max(loads),
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def server_results(
    names: Sequence[str], picks: Sequence[int], windows: Iterable[Window]
) -> list[ServerResult]:
    """Each server's part of it."""
    sums, peaks, count = [0] * len(names), [0] * len(names), 0
    for window in windows:
        count += 1
        sums = [total + load for total, load in zip(sums, window.loads, strict=True)]
        peaks = [max(peak, load) for peak, load in zip(peaks, window.loads, strict=True)]
    return [
        ServerResult(name, pick, total / count if count else math.nan, peak)
        for name, pick, total, peak in zip(names, picks, sums, peaks, strict=True)
    ]
