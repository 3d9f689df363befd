"""The administration endpoint: an ASGI app with dashboard, metrics, status and changes at run time."""

from __future__ import annotations

from lbkit.admin.app import AdminApp
from lbkit.admin.changes import Control, ServerChange
from lbkit.admin.view import ListenerView, View, WorkerView

__all__ = ["AdminApp", "Control", "ListenerView", "ServerChange", "View", "WorkerView"]
