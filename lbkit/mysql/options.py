"""`RouterOptions`: everything about a router that can be set."""

from __future__ import annotations

from dataclasses import dataclass, field

from lbkit.mysql.connection_pool import PoolLimits

__all__ = ["RouterOptions"]


@dataclass(frozen=True, slots=True)
class RouterOptions:
    """Times in seconds; all defaults suit an application on the same network as its database."""

    pool: PoolLimits = field(default_factory=PoolLimits)
    """Limits of the connections to each single server."""
    connect_timeout: float = 3.0
    """Longest time to connect and log in."""
    monitor_interval: float = 1.0
    """Time between two probes of a server (ProxySQL's read-only check: 1 to 1.5 s)."""
    monitor_timeout: float = 1.0
    """A server silent for this long failed a probe; after two of them it is down."""
    algorithm: str = "round_robin"
    """How reads are spread over the replicas: any registered balancing algorithm."""

    def __post_init__(self) -> None:
        """Raises ValueError for a time or size that is not above 0."""
        times = (self.connect_timeout, self.monitor_interval, self.monitor_timeout, self.pool.wait)
        if min(times) <= 0 or self.pool.size < 1:
            raise ValueError("times and sizes of a router must be above 0")
