"""`Due`: by when a request has to be answered, for the application and for what it calls."""

from __future__ import annotations

import time
from collections.abc import Container

from lbkit import deadline
from lbkit.asgi.types import App, Receive, Scope, Send
from lbkit.exchange.exchange import Peer
from lbkit.http.deadlines import told
from lbkit.http.messages import Headers

__all__ = ["EXTENSION", "Due"]

EXTENSION = "lbkit.deadline"
"""In ``scope["extensions"]``: a table with ``at``, monotonic seconds, and ``left``, seconds when it came."""


class Due:
    """Reads the field *name* of neighbours that are *trusted*."""

    def __init__(self, name: bytes, trusted: Container[str]) -> None:
        self._name = name
        self._trusted = trusted

    def left(self, neighbour: Peer, headers: Headers) -> float | None:
        """Seconds that the request has by its *headers*; None where nobody who is trusted says."""
        seconds = told(headers, self._name)
        if seconds is None or (neighbour[0] if neighbour else "") not in self._trusted:
            return None
        return seconds

    @staticmethod
    def by(app: App, left: float) -> App:
        """*app*, which has *left* seconds from now on."""
        at = time.monotonic() + left

        async def due(scope: Scope, receive: Receive, send: Send) -> None:
            scope["extensions"][EXTENSION] = {"at": at, "left": left}
            with deadline.until(at):
                await app(scope, receive, send)

        return due
