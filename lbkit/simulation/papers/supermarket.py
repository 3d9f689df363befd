"""The supermarket model: what a second choice does for the mean time in system.

Customers come at rate λn to n queues, each serves one at a time in a time that is exponential with mean 1,
and everybody goes to the shortest of d queues drawn at random. For n → ∞ the mean time in system is
Σ λ^((dⁱ - d)/(d - 1)) over i = 1, 2, … (Mitzenmacher 1996, Theorem 3.8).

A run starts empty, so that the first part is not counted; at λ = 0.95 with one choice a queue forgets its
beginning slowest, in some 1500 mean service times (1/(1-√λ)²), which is why that load has a wider tolerance.
"""

from __future__ import annotations

import math

from lbkit.config.values import Duration
from lbkit.simulation.arrivals import Poisson
from lbkit.simulation.papers.base import Report, options_of, paper
from lbkit.simulation.run import simulate_one
from lbkit.simulation.scenario import Scenario, ServerSpec
from lbkit.simulation.service import Exponential

__all__ = ["mean_time", "supermarket"]

_LOADS = (0.5, 0.7, 0.9, 0.95)
_CHOICES = (1, 2, 3)


def mean_time(load: float, choices: int) -> float:
    """The published formula, in mean service times."""
    if choices == 1:
        return 1 / (1 - load)
    exponents = ((float(choices) ** i - choices) / (choices - 1) for i in range(1, 12))
    return math.fsum(load**exponent for exponent in exponents)


@paper("supermarket", "Mitzenmacher 1996, The Power of Two Choices in Randomized Load Balancing")
def supermarket(report: Report, small: bool) -> None:
    """Mean time in system with 1, 2 and 3 choices, by load."""
    for load in _LOADS[:3] if small else _LOADS:
        for choices in _CHOICES:
            measured = _measure(load, choices, small)
            tolerance = 0.03 if load <= 0.9 else 0.05
            if small:
                tolerance = 0.12 if (load, choices) == (0.9, 1) else 0.05
            what = f"mean time in system, load {load:g}, {choices} choice{'s' * (choices > 1)}"
            report.compare(what, mean_time(load, choices), measured, tolerance)


def _measure(load: float, choices: int, small: bool) -> float:
    # The longer a queue remembers, the longer the warm-up and the run.
    memory = 1 / (1 - load**0.5) ** 2 if choices == 1 else 5 / (1 - load)
    servers = 300 if small else 1000
    warmup = (1 if small else 2) * memory + 10
    duration = warmup + (200 if small else max(1000.0, (8 if load <= 0.9 else 3) * memory))
    scenario = Scenario(
        (ServerSpec(count=servers),),
        # Of its own for each row, or all would be off by the same chance.
        seed=round(1000 * load) + choices,
        duration=Duration(duration),
        warmup=Duration(warmup),
        arrivals=Poisson(load * servers),
        service=Exponential(Duration(1)),
        options={} if choices == 1 else options_of("two_choices", choices=choices),
    )
    return simulate_one(scenario, "random" if choices == 1 else "two_choices").latency.mean
