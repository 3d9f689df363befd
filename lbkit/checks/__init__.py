"""Health checks, one file each, and the prober that runs the due ones."""

from __future__ import annotations

from lbkit.checks.base import CHECKS, HealthCheck
from lbkit.checks.prober import AT_A_TIME, Prober, judge, report

__all__ = ["AT_A_TIME", "CHECKS", "HealthCheck", "Prober", "judge", "report"]

CHECKS.discover(__name__, list(__path__))
