"""What is installed, for reading a configuration."""

from __future__ import annotations

from lbkit.balancing import ALGORITHMS
from lbkit.checks import CHECKS
from lbkit.config import Catalog
from lbkit.relay import RELAYS

__all__ = ["catalog"]


def catalog() -> Catalog:
    """Every algorithm, check and relay, for reading a configuration."""
    return Catalog(
        {name: entry.options for name, entry in ALGORITHMS.items()},
        {name: entry.options for name, entry in CHECKS.items()},
        {name: entry.options for name, entry in RELAYS.items()},
    )
