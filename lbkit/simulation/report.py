"""Results as rows of text and as JSON: the same figures, in units that people read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lbkit import __version__
from lbkit.simulation.result import PERCENTILES, Result
from lbkit.simulation.scenario import Scenario

__all__ = ["COLUMNS", "as_json", "describe", "rows", "unit_of"]

COLUMNS = ("algorithm", "mean", "p50", "p95", "p99", "p99.9", "errors", "imbalance")


def unit_of(results: Sequence[Result]) -> tuple[float, str]:
    """What to multiply seconds with, and the unit's name, so that the results are no long numbers."""
    means = [result.latency.mean for result in results if result.latency.count]
    smallest = min(means, default=1.0)
    if smallest < 0.001:
        return 1e6, "µs"
    return (1e3, "ms") if smallest < 1 else (1.0, "s")


def rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """One row of `COLUMNS` for each result; latencies are of the successful requests."""
    scale, unit = unit_of(results)
    return [_row(result, scale, unit) for result in results]


def _row(result: Result, scale: float, unit: str) -> tuple[str, ...]:
    values = [result.latency.mean, *result.latency.percentiles(list(PERCENTILES))]
    shown = ["–" if math.isnan(value) else f"{_short(value * scale)} {unit}" for value in values]
    return (result.algorithm, *shown, _errors(result), _ratio(result.imbalance))


def _ratio(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _short(value: float) -> str:
    """Four digits that tell something."""
    if value >= 1000:
        return f"{value:.0f}"
    return f"{value:.{max(0, 3 - len(str(int(value))))}f}" if value >= 1 else f"{value:.3g}"


def _errors(result: Result) -> str:
    if not result.errors:
        return "0"
    part = 100 * result.error_count / result.requests if result.requests else 100.0
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(result.errors.items()))
    return f"{result.error_count} ({part:.3g} %: {reasons})"


def describe(scenario: Scenario, results: Sequence[Result]) -> str:
    """The scenario in a line, above the table."""
    servers = sum(spec.count for spec in scenario.servers)
    requests = results[0].requests if results else 0
    duration = results[0].duration if results else 0.0
    several = "" if scenario.balancers == 1 else f", {scenario.balancers} balancers"
    return f"{servers} servers{several}, {requests} requests in {duration:.4g} s, seed {scenario.seed}"


def as_json(scenario: Scenario, results: Sequence[Result]) -> dict[str, Any]:
    """Everything, for machines: plain values, seconds, None for what is not known."""
    return {
        "lbkit": __version__,
        "scenario": {
            "seed": scenario.seed,
            "servers": sum(spec.count for spec in scenario.servers),
            "balancers": scenario.balancers,
            "duration_s": None if scenario.duration is None else float(scenario.duration),
            "requests": scenario.requests,
            "warmup_s": float(scenario.warmup),
            "timeout_s": float(scenario.timeout),
            "retries": scenario.retries,
        },
        "results": [result.as_dict() for result in results],
    }
