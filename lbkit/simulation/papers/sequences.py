"""Numbers that need no time at all: sequences, table entries and bounds that must hold exactly."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import Any

from lbkit.balancing.maglev import fill
from lbkit.pool import Pool, make_balancer
from lbkit.server import Address, Server
from lbkit.simulation.keys import Keys
from lbkit.simulation.papers.base import Report, options_of, paper

__all__ = ["bounded_loads", "maglev_table", "smooth_round_robin"]


def _pool(algorithm: str, weights: list[int], options: Any = None) -> Pool:
    servers = [
        Server(chr(97 + i) if len(weights) < 26 else f"s{i}", Address(f"10.0.0.{i + 1}", 80), weight=weight)
        for i, weight in enumerate(weights)
    ]
    return Pool("paper", servers, make_balancer(algorithm, random.Random(1), options))


@paper("smooth-round-robin", "nginx, ngx_http_upstream_round_robin.c 2012")
def smooth_round_robin(report: Report, small: bool) -> None:
    """The order in which smooth weighted round robin takes weights 5, 1, 1."""
    pool = _pool("round_robin", [5, 1, 1])
    published = "a a b a c a a"
    measured = " ".join(pool.pick(0.0).name for _ in range(7))
    report.add("picks of weights 5, 1, 1", published, measured, "exact", measured == published)


@paper("maglev", "Eisenbud et al. 2016, Maglev; the weights as in Envoy's tests")
def maglev_table(report: Report, small: bool) -> None:
    """Table entries of two servers of weights 1 and 2 in a Maglev table of 65537."""
    entries = Counter(fill(["a", "b"], [1.0, 2.0], 65537))
    measured = f"{entries[0]}/{entries[1]}"
    report.add("entries of weights 1:2 of 65537", "21846/43691", measured, "exact", measured == "21846/43691")


@paper("bounded-loads", "Mirrokni, Thorup and Zadimoghaddam 2018, Consistent Hashing with Bounded Loads")
def bounded_loads(report: Report, small: bool) -> None:
    """No server ever has more than ⌈c · mean⌉, with popular keys and requests that come and go."""
    for bound in (1.25, 2.0):
        steps = 5_000 if small else 200_000
        worst = _worst_excess(bound, steps)
        report.add(
            f"load over ⌈{bound:g} · mean⌉ in {steps} steps",
            "0",
            f"{max(0, worst)}",
            "exact",
            worst <= 0,
        )


def _worst_excess(bound: float, steps: int) -> int:
    """How far a load was ever above its bound just after a pick; 0 or less where it held."""
    pool = _pool("consistent_hash", [1] * 50, options_of("consistent_hash", bound=bound)["consistent_hash"])
    rng = random.Random(7)
    keys = Keys("zipf", 1000, 1.2).stream(rng)
    sessions: list[Server] = []
    worst = -steps
    for _ in range(steps):
        server = pool.pick(0.0, next(keys))
        pool.acquire(server, 0.0)
        sessions.append(server)
        allowed = math.ceil(bound * len(sessions) / len(pool) - 1e-9)
        worst = max(worst, server.open_sessions - allowed)
        # The number of sessions wanders, so that the bound falls as well as it rises.
        while sessions and rng.random() < len(sessions) / 2000:
            index = rng.randrange(len(sessions))
            sessions[index], sessions[-1] = sessions[-1], sessions[index]
            pool.release(sessions.pop(), 0.0)
    return worst
