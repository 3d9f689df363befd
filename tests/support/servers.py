"""Servers for tests of the decision core."""

from __future__ import annotations

import random

from lbkit.pool import HealthRules, Pool, make_balancer
from lbkit.server import Server


def make_servers(*weights: int) -> list[Server]:
    """Servers a, b, c … with these weights."""
    return [
        Server(chr(ord("a") + i), f"127.0.0.1:{i + 1}", weight=weight) for i, weight in enumerate(weights)
    ]


def make_pool(*servers: Server, algorithm: str = "round_robin", **rules: int) -> Pool:
    """A pool under one seed; with rules (`rise`, `fall`) its servers wait for their first check."""
    health = HealthRules(checked=True, **rules) if rules else HealthRules()
    return Pool("p", servers, make_balancer(algorithm, random.Random(7)), rules=health)
