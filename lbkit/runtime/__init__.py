"""The composition root: the only part that turns a `Config` into running objects."""

from __future__ import annotations

from lbkit.runtime.catalog import catalog
from lbkit.runtime.pools import make_pool
from lbkit.runtime.runtime import Runtime

__all__ = ["Runtime", "catalog", "make_pool"]
