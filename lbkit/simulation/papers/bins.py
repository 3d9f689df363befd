"""Balls in bins: the fullest of n servers after n requests that stay.

One random choice: ln n/ln ln n (1 + o(1)). That o(1) is still about a half for any n of practice, so that the
sharper Γ⁻¹(n) - 3/2 + o(1) (Gonnet 1981) is shown beside it. The best of d choices: ln ln n/ln d + Θ(1)
(Azar, Broder, Karlin and Upfal 1994), where the constant is up to 2 here.
"""

from __future__ import annotations

import math
import random

from lbkit.pool import Pool, make_balancer
from lbkit.server import Address, Server
from lbkit.simulation.papers.base import Report, options_of, paper

__all__ = ["balls_in_bins"]


@paper("balls-in-bins", "Azar, Broder, Karlin and Upfal 1994, Balanced Allocations")
def balls_in_bins(report: Report, small: bool) -> None:
    """The fullest of n servers after n requests, with 1, 2 and 3 choices."""
    count, rounds = (5_000, 1) if small else (100_000, 5)
    logarithm = math.log(count)
    one = _fullest(count, 1, rounds)
    published = logarithm / math.log(logarithm)
    report.add(
        f"fullest of {count}, 1 choice: ln n/ln ln n",
        f"{published:.2f}",
        f"{one:.2f}",
        "1 to 2 times",
        published <= one <= 2 * published,
    )
    sharper = inverse_gamma(count) - 1.5
    report.add(
        f"fullest of {count}, 1 choice: Γ⁻¹(n) - 3/2",
        f"{sharper:.2f}",
        f"{one:.2f}",
        "±1",
        abs(one - sharper) <= 1,
    )
    for choices in (2, 3):
        measured = _fullest(count, choices, rounds)
        published = math.log(logarithm) / math.log(choices)
        report.add(
            f"fullest of {count}, {choices} choices: ln ln n/ln {choices}",
            f"{published:.2f}",
            f"{measured:.2f}",
            "±2",
            abs(measured - published) <= 2,
        )


def inverse_gamma(value: float) -> float:
    """The x above 2 with Γ(x) = *value*."""
    low, high = 2.0, 170.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if math.gamma(middle) < value else (low, middle)
    return low


def _fullest(count: int, choices: int, rounds: int) -> float:
    """The load of the fullest server, a mean of several rounds."""
    return sum(_round(count, choices, seed) for seed in range(rounds)) / rounds


def _round(count: int, choices: int, seed: int) -> int:
    name = "random" if choices == 1 else "two_choices"
    options = None if choices == 1 else options_of(name, choices=choices)[name]
    balancer = make_balancer(name, random.Random(seed), options)
    address = Address("10.0.0.1", 80)
    pool = Pool("bins", [Server(f"bin{number}", address) for number in range(count)], balancer)
    for _ in range(count):
        pool.acquire(pool.pick(0.0), 0.0)
    return max(server.open_sessions for server in pool)
