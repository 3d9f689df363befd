"""Health as a value: single results in, up or down out; when the next check is due."""

from __future__ import annotations

from lbkit.health.record import Health, HealthState
from lbkit.health.schedule import CheckSchedule

__all__ = ["CheckSchedule", "Health", "HealthState"]
