"""`RouterOptions` and `PoolLimits`: everything about a router that can be set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

__all__ = ["Consistency", "PoolLimits", "RouterOptions", "check_consistency"]

Consistency = Literal["eventual", "session", "strong"]
"""What a read must show: whatever its replica has; all that its user has written; all that anybody has."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Limits of one server's connections; times in seconds.

    The defaults follow those of HikariCP and SQLAlchemy where these agree (ten connections, half an
    hour of life), and are below MySQL's `wait_timeout` of eight hours.
    """

    size: int = 10
    """Most connections open at once."""
    warm: int = 0
    """So many are kept open, also when nobody needs them; opened in the background."""
    wait: float = 5.0
    """Longest wait for a connection when all are in use."""
    max_age: float = 1800.0
    """A connection this old is not used again; each gets up to a tenth less, by chance, so that those
    opened together do not end together."""
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
    consistency: Consistency = "session"
    """What reads must show unless they say otherwise (MaxScale's `causal_reads` is off by default)."""
    wait_for_writes: float = 1.0
    """Longest wait for a replica to have what a read must show; then the primary answers (MySQL Router's
    `wait_for_my_writes_timeout` is 2 s, MaxScale's 10 s)."""
    max_lag: float = 10.0
    """A replica further behind, or of unknown lag, serves no reads while a primary can; infinite for any."""
    wait_for_primary: float = 5.0
    """Longest wait of a write for a primary, while there is none; 0 for none."""

    def __post_init__(self) -> None:
        """Raises ValueError for a time or size that is not above 0, and for an unknown consistency."""
        times = (
            self.connect_timeout,
            self.monitor_interval,
            self.monitor_timeout,
            self.pool.wait,
            self.wait_for_writes,
        )
        if min(times) <= 0 or self.pool.size < 1:
            raise ValueError("times and sizes of a router must be above 0")
        if self.max_lag < 0 or self.wait_for_primary < 0 or not 0 <= self.pool.warm <= self.pool.size:
            raise ValueError("max_lag and wait_for_primary are not below 0, pool.warm is from 0 to pool.size")
        check_consistency(self.consistency)


def check_consistency(name: str) -> None:
    """Raises ValueError for what is no `Consistency`."""
    if name not in get_args(Consistency):
        raise ValueError(f'consistency is one of {", ".join(get_args(Consistency))}, not "{name}"')
