"""`serve`: an ASGI application at an address, as a program's own server or inside a test."""

from __future__ import annotations

import asyncio
import logging
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
from lbkit.relay.tls_transport import TlsTransport
from lbkit.server import Address
from lbkit.sockets import BACKLOG, bind
from lbkit.tls import Termination

__all__ = ["APP_SETTINGS", "AsgiServer", "serve"]

_log = logging.getLogger("lbkit.asgi")

APP_SETTINGS = replace(HttpSettings(), keep_alive=5.0)
"""Limits of an app server. A balancer in front reuses idle connections for less than these 5 s, the
keep-alive of uvicorn and hypercorn."""

_LAST_LOOK = 0.1
"""Seconds before idle connections are closed: on a busy server the next request of most is on its way
already, and is answered with Connection: close."""
_MAX_SECURING = 4096
"""TLS handshakes at a time."""
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
        startup_timeout: float,
        shutdown_timeout: float,
        sock: socket.socket | None,
        max_concurrent: int,
        blocked: float,
        deadline_field: bytes,
        cancel_on_disconnect: bool,
        tls: Termination | None,
    ) -> None:
        self.address = address
        if max_concurrent:
            app = Limited(app, max_concurrent)
        self._blocked = blocked
        self._watch: Watch | None = None
        self._lifespan = Lifespan(app, startup_timeout=startup_timeout, shutdown_timeout=shutdown_timeout)
        self.stop_failed = False
        """Whether the application did not stop as it should; the log says why."""
        self._tls = tls
        self._securing: dict[TlsTransport, None] = {}
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
        listen = loop.create_unix_server if sock.family == socket.AF_UNIX else loop.create_server
        accept = self.http.protocol_factory if self._tls is None else self._secure
        self._server = await listen(accept, sock=sock, backlog=BACKLOG)

    def _secure(self) -> TlsTransport:
        """What the event loop gives an accepted connection: first a handshake, then HTTP inside."""
        tls = self._tls
        assert tls is not None
        if len(self._securing) >= _MAX_SECURING:
            next(iter(self._securing)).abort()  # the oldest one; who connects and says nothing keeps no place

        def secured(transport: TlsTransport) -> None:
            del self._securing[transport]
            is_h2 = transport.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
            transport.attach(self.http.h2_protocol_factory() if is_h2 else self.http.protocol_factory())

        def failed(error: Exception) -> None:
            self._securing.pop(transport, None)
            _log.debug("TLS handshake failed: %s", error)  # any scanner can bring it about, at any rate

        transport = TlsTransport(
            asyncio.get_running_loop(),
            None,
            tls.context,
            timeout=tls.timeout,
            secured=secured,
            failed=failed,
        )
        self._securing[transport] = None
        transport.expect()
        return transport

    async def stop(self) -> int:
        """Accept no more, let requests end, close WebSockets with 1012, stop the application; the number of
        connections cut."""
        if self._server is None:
            return 0
        self._server.close()
        self._server = None
        self._unlink()
        for transport in list(self._securing):
            transport.abort()
        self._handler.shutdown()
        self.http.draining = True
        if self.http.connections:
            await asyncio.sleep(min(_LAST_LOOK, self._stop_timeout))
        cut = await self.http.drain(self._stop_timeout)
        self.stop_failed = not await self._lifespan.shutdown()
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
    startup_timeout: float = 60.0,
    shutdown_timeout: float = 60.0,
    sock: socket.socket | None = None,
    max_concurrent: int = 0,
    blocked: float = 0.0,
    deadlines: bool | str = False,
    cancel_on_disconnect: bool = False,
    tls: Termination | None = None,
) -> AsgiServer:
    """A server for *app* at *address*, ``host:port`` (port 0 for any free one) or ``unix:/path``.

    Use: ``async with serve(app, "127.0.0.1:0") as server: server.address``. *settings* and *websocket* have
    every limit of HTTP and of WebSockets. *stop_timeout* is how many seconds requests may take to end when it
    stops; the application's lifespan has *startup_timeout* and *shutdown_timeout*. *sock* is a listening
    socket to accept on in place of one at *address*. With *max_concurrent* requests under way a further one
    gets 503 with Retry-After; 0 is no limit. Where the application holds up the event loop for *blocked*
    seconds its stack is logged; 0: never. *deadlines* true believes the field X-Envoy-Expected-Rq-Timeout-Ms
    of *trusted* neighbours, a text another one: see `lbkit.deadline`. With *cancel_on_disconnect* the task of
    a request whose client is gone is cancelled, and with it what it waits for. With *tls* it speaks HTTPS,
    and HTTP/2 where that offers it. Raises ValueError for an address that is none; starting raises
    StartFailed with a line that says what to do.
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
        startup_timeout=startup_timeout,
        shutdown_timeout=shutdown_timeout,
        sock=sock,
        max_concurrent=max_concurrent,
        blocked=blocked,
        deadline_field=(deadlines if isinstance(deadlines, str) else FIELD * deadlines).encode(),
        cancel_on_disconnect=cancel_on_disconnect,
        tls=tls,
    )
