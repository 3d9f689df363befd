"""What a pool can be told: how results are judged, how often to try, who may wait."""

from __future__ import annotations

from dataclasses import dataclass

from lbkit.health import OutlierRules, PassiveRules

__all__ = ["HealthRules", "PoolSettings"]


@dataclass(frozen=True, slots=True)
class HealthRules:
    """How results are judged. `checked` is False for a pool without a check: all servers are up.

    `passive` watches live traffic too, `outlier` leaves out servers that fail more than their neighbours.
    """

    checked: bool = False
    rise: int = 2
    fall: int = 3
    passive: PassiveRules | None = None
    outlier: OutlierRules | None = None


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Limits of a pool; the defaults are safe for one that nobody tuned."""

    retries: int = 3
    """Other servers tried after a failed connection (HAProxy `retries 3`)."""
    retry_percent: float = 20.0
    """Retries at a time, in percent of the open sessions: a retry storm must not follow an outage."""
    retry_minimum: int = 3
    """Retries at a time that are always allowed."""
    max_queue: int = 1024
    """Sessions or requests that may wait for a server under its connection limit; 0 refuses at once."""
    panic_threshold: float = 0.0
    """Percent of servers up below which health is ignored (Envoy: 50); 0 turns that off."""
    send_proxy: str = ""
    """``"v1"`` or ``"v2"``: connections to servers begin with a PROXY header of that version."""
