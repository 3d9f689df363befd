"""Balancing algorithms, one file each; importing this package registers them all."""

from __future__ import annotations

from lbkit.balancing.base import ALGORITHMS, Balancer

__all__ = ["ALGORITHMS", "Balancer"]

ALGORITHMS.discover(__name__, list(__path__))
