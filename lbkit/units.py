"""Quantities that a configuration writes with their unit; `lbkit.config.values` reads them."""

from __future__ import annotations

__all__ = ["Duration", "Size"]


class Duration(float):
    """Seconds."""

    def __str__(self) -> str:
        return f"{float(self):g}s"


class Size(int):
    """Bytes."""
