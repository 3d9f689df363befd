"""`Limited`: an application that works on so many requests at a time."""

from __future__ import annotations

from lbkit.asgi.types import App, Receive, Scope, Send
from lbkit.http.status import error_page

__all__ = ["Limited"]

_PAGE, _BODY = error_page(503)
_START = {
    "type": "http.response.start",
    "status": 503,
    "headers": [*_PAGE, (b"Retry-After", b"1")],
}


class Limited:
    """*app*, with at most *most* of its requests under way: one more is answered with 503 and Retry-After.

    What counts is work, from the request's head to the end of the application's call. Connections that only
    stay open do not, and neither do WebSockets, which may say nothing for hours.
    """

    def __init__(self, app: App, most: int) -> None:
        self.running = 0
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self.running >= self._most:
            await send(dict(_START))
            await send({"type": "http.response.body", "body": _BODY})
        else:
            self.running += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self.running -= 1
