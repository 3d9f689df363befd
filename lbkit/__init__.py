"""lbkit: load balancer, web server, ASGI server and MySQL cluster in one package.

The names here are the pure core: servers, pools and the algorithms that pick among them. What does I/O is
imported from where it lives: `lbkit.runtime` (a whole configuration), `lbkit.asgi`, `lbkit.static`,
`lbkit.mysql`, `lbkit.cluster`. `lbkit.deadline` tells how long the present request may still take.
"""

from __future__ import annotations

from lbkit.errors import LbkitError, NoServerAvailable, PoolFull
from lbkit.pool import HealthRules, Pool, PoolSettings, make_balancer
from lbkit.server import Address, Outcome, Server

__version__ = "0.1.0"

__all__ = [
    "Address",
    "HealthRules",
    "LbkitError",
    "NoServerAvailable",
    "Outcome",
    "Pool",
    "PoolFull",
    "PoolSettings",
    "Server",
    "__version__",
    "make_balancer",
]
