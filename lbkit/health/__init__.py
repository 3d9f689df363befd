"""Health as values: single results in, up or down out; when the next check is due; who is left out."""

from __future__ import annotations

from lbkit.health.advice import Advice, parse_advice
from lbkit.health.outlier import OutlierDetector, OutlierRules
from lbkit.health.passive import ErrorCounter, PassiveRules
from lbkit.health.record import Health, HealthState
from lbkit.health.schedule import CheckSchedule, Intervals

__all__ = [
    "Advice",
    "CheckSchedule",
    "ErrorCounter",
    "Health",
    "HealthState",
    "Intervals",
    "OutlierDetector",
    "OutlierRules",
    "PassiveRules",
    "parse_advice",
]
