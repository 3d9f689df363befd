"""Plain numbers in, Prometheus text out."""

from __future__ import annotations

from lbkit.metrics.exposition import CONTENT_TYPE, Family, render

__all__ = ["CONTENT_TYPE", "Family", "render"]
