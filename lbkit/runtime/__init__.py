"""The composition root: the only part that turns a `Config` into running objects."""

from __future__ import annotations

from lbkit.runtime.app_workers import AppWorkers, Link
from lbkit.runtime.catalog import catalog
from lbkit.runtime.edge import firewall_settings
from lbkit.runtime.pools import make_pool
from lbkit.runtime.runtime import Runtime, Secrets
from lbkit.runtime.supervisor import Source, Supervisor, worker_command, worker_count
from lbkit.runtime.worker import run_worker

__all__ = [
    "AppWorkers",
    "Link",
    "Runtime",
    "Secrets",
    "Source",
    "Supervisor",
    "catalog",
    "firewall_settings",
    "make_pool",
    "run_worker",
    "worker_command",
    "worker_count",
]
