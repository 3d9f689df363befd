"""`RouterOptions` and `PoolLimits`: everything about a router that can be set."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["PoolLimits", "RouterOptions"]


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Limits of one server's connections; times in seconds.

    The defaults follow those of HikariCP and SQLAlchemy where these agree (ten connections, half an
    hour of life), and are below MySQL's `wait_timeout` of eight hours.
    """

    size: int = 10
    """Most connections open at once."""
    wait: float = 5.0
    """Longest wait for a connection when all are in use."""
    max_age: float = 1800.0
    """A connection this old is not used again."""
    idle: float = 60.0
    """A connection not used for this long is closed."""
    ping_after: float = 5.0
    """A connection not used for this long is asked whether it is alive before it is handed out."""
    reset: float = 2.0
    """Longest time for a ping, or for a rollback and reset on release; the connection is dropped after it."""


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
