"""The ASGI app behind ``[admin]``: it reads, it changes nothing."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from html import escape
from typing import Any

from lbkit.admin.view import View, families, status
from lbkit.metrics import CONTENT_TYPE, render

__all__ = ["AdminApp"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_INDEX = "<!doctype html><title>lbkit</title><h1>lbkit</h1><ul>{}</ul>"


class AdminApp:
    """Serves ``/metrics`` (Prometheus text), ``/status`` (JSON) and an index of both.

    *view* is called for each request.
    """

    def __init__(self, view: Callable[[], View], version: str) -> None:
        self._view = view
        self._version = version
        self._pages: dict[str, Callable[[], tuple[str, bytes]]] = {
            "/": self._index,
            "/metrics": self._metrics,
            "/status": self._status,
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI 3; http only."""
        if scope["type"] != "http":
            raise ValueError(f"scope type {scope['type']} is not served here")
        page = self._pages.get(scope["path"])
        if page is None:
            await _respond(send, 404, "text/plain; charset=utf-8", b"404 Not Found\n")
        elif scope["method"] not in ("GET", "HEAD"):
            await _respond(
                send, 405, "text/plain; charset=utf-8", b"405 Method Not Allowed\n", allow=b"GET, HEAD"
            )
        else:
            await _respond(send, 200, *page())

    def _index(self) -> tuple[str, bytes]:
        links = "".join(
            f'<li><a href="{escape(path)}">{escape(path)}</a>' for path in self._pages if path != "/"
        )
        return "text/html; charset=utf-8", _INDEX.format(links).encode()

    def _metrics(self) -> tuple[str, bytes]:
        return CONTENT_TYPE, render(families(self._view()), {"version": self._version})

    def _status(self) -> tuple[str, bytes]:
        text = json.dumps({"version": self._version, **status(self._view())}, indent=1)
        return "application/json", text.encode() + b"\n"


async def _respond(send: Send, code: int, kind: str, body: bytes, allow: bytes = b"") -> None:
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    if allow:
        headers.append((b"allow", allow))
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
