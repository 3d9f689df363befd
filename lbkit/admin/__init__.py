"""The administration endpoint: an ASGI app with /metrics and /status."""

from __future__ import annotations

from lbkit.admin.app import AdminApp
from lbkit.admin.view import ListenerView, View

__all__ = ["AdminApp", "ListenerView", "View"]
