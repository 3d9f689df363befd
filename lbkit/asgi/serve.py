"""`serve`: an ASGI application at an address, as a program's own server or inside a test."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Container
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from lbkit.asgi.blocked import Watch
from lbkit.asgi.handler import AsgiHandler
from lbkit.asgi.lifespan import Lifespan
from lbkit.asgi.limit import Limited
from lbkit.asgi.types import App
from lbkit.asgi.websocket import WebSocketSettings
from lbkit.exchange import HttpServer, HttpSettings
from lbkit.http.deadlines import FIELD
from lbkit.http.forwarded import LOOPBACK
from lbkit.server import Address
from lbkit.sockets import BACKLOG, bind

__all__ = ["APP_SETTINGS", "AsgiServer", "serve"]

APP_SETTINGS = replace(HttpSettings(), keep_alive=5.0)
"""Limits of an app server. A balancer in front reuses idle connections for less than these 5 s, the
keep-alive of uvicorn and hypercorn."""

_LAST_LOOK = 0.1
"""Seconds before idle connections are closed: on a busy server the next request of most is on its way
already, and is answered with Connection: close."""
WEBSOCKET_SETTINGS = WebSocketSettings()


class AsgiServer:
    """Serves *app*; made by `serve`.

    ``async with`` starts and stops it; or call `start` and `stop`. `address` is the real one once it has
    started, and `http` has the counters.
    """

    def __init__(
        self,
        app: App,
        address: Address,
        *,
        settings: HttpSettings,
        websocket: WebSocketSettings,
        root_path: str,
        trusted: Container[str],
        stop_timeout: float,
        sock: socket.socket | None,
        max_concurrent: int,
        blocked: float,
        deadline_field: bytes,
        cancel_on_disconnect: bool,
    ) -> None:
        self.address = address
        if max_concurrent:
            app = Limited(app, max_concurrent)
        self._blocked = blocked
        self._watch: Watch | None = None
        self._lifespan = Lifespan(app)
        self._handler = AsgiHandler(
            app,
            self._lifespan.state,
            root_path=root_path,
            trusted=trusted,
            websocket=websocket,
            deadline_field=deadline_field,
            cancel_on_disconnect=cancel_on_disconnect,
        )
        self.http = HttpServer(self._handler, settings)
        self._stop_timeout = stop_timeout
        self._given = sock
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Bind, start the application, then accept; raises StartFailed, or AppFailed for the application."""
        sock = self._given or bind(self.address)
        try:
            if sock.family != socket.AF_UNIX:
                host, port = sock.getsockname()[:2]
                self.address = Address(host, port)
            await self._lifespan.startup()
        except BaseException:
            sock.close()
            self._unlink()
            raise
        if self._blocked:
            self._watch = Watch(self._blocked)
            self._watch.start()
        loop = asyncio.get_running_loop()
        if sock.family == socket.AF_UNIX:
            self._server = await loop.create_unix_server(
                self.http.protocol_factory, sock=sock, backlog=BACKLOG
            )
        else:
            self._server = await loop.create_server(self.http.protocol_factory, sock=sock, backlog=BACKLOG)

    async def stop(self) -> int:
        """Accept no more, let requests end, close WebSockets with 1012, stop the application; the number of
        connections cut."""
        if self._server is None:
            return 0
        self._server.close()
        self._server = None
        self._unlink()
        self._handler.shutdown()
        self.http.draining = True
        if self.http.connections:
            await asyncio.sleep(min(_LAST_LOOK, self._stop_timeout))
        cut = await self.http.drain(self._stop_timeout)
        await self._lifespan.shutdown()
        if self._watch is not None:
            self._watch.stop()
        return cut

    def _unlink(self) -> None:
        if self.address.path and self._given is None:
            Path(self.address.path).unlink(missing_ok=True)

    async def __aenter__(self) -> AsgiServer:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def serve(
    app: App,
    address: Address | str,
    *,
    settings: HttpSettings = APP_SETTINGS,
    websocket: WebSocketSettings = WEBSOCKET_SETTINGS,
    root_path: str = "",
    trusted: Container[str] = LOOPBACK,
    stop_timeout: float = 10.0,
    sock: socket.socket | None = None,
    max_concurrent: int = 0,
    blocked: float = 0.0,
    deadlines: bool | str = False,
    cancel_on_disconnect: bool = False,
) -> AsgiServer:
    """A server for *app* at *address*, ``host:port`` (port 0 for any free one) or ``unix:/path``.

    Use: ``async with serve(app, "127.0.0.1:0") as server: server.address``. *settings* and *websocket* have
    every limit of HTTP and of WebSockets. *stop_timeout* is how many seconds requests may take to end when it
    stops. *sock* is a listening socket to accept on in place of one at *address*. With *max_concurrent*
    requests under way a further one gets 503 with Retry-After; 0 is no limit. Where the application holds up
    the event loop for *blocked* seconds its stack is logged; 0: never. *deadlines* true believes the field
    X-Envoy-Expected-Rq-Timeout-Ms of *trusted* neighbours, a text another one: see `lbkit.deadline`. With
    *cancel_on_disconnect* the task of a request whose client is gone is cancelled, and with it what it waits
    for. Raises ValueError for an address that is none; starting raises StartFailed with a line that says what
    to do.
    """
    where = Address.parse(address) if isinstance(address, str) else address
    return AsgiServer(
        app,
        where,
        settings=settings,
        websocket=websocket,
        root_path=root_path,
        trusted=trusted,
        stop_timeout=stop_timeout,
        sock=sock,
        max_concurrent=max_concurrent,
        blocked=blocked,
        deadline_field=(deadlines if isinstance(deadlines, str) else FIELD * deadlines).encode(),
        cancel_on_disconnect=cancel_on_disconnect,
    )
