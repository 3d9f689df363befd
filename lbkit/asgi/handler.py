"""`AsgiHandler`: answers exchanges by an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Mapping
from typing import Any

from lbkit.asgi.call import HttpCall, cancel_when_gone, own_failure
from lbkit.asgi.due import Due
from lbkit.asgi.express import Express
from lbkit.asgi.scope import claimed, http_scope, scope_of, websocket_scope
from lbkit.asgi.types import App, Scope
from lbkit.asgi.websocket import ClientGone, WebSocket, WebSocketSettings
from lbkit.exchange import Exchange, HttpProtocol
from lbkit.exchange.exchange import Peer
from lbkit.http.forwarded import LOOPBACK
from lbkit.http.messages import Headers
from lbkit.http.upgrade import asked_protocols
from lbkit.http.websocket import refusal

__all__ = ["AsgiHandler"]

_WEBSOCKET = (b"websocket",)


class AsgiHandler:
    """Runs *app* for each exchange.

    An application that raises before its response begins gets its client a 500, later on a reset; both are
    logged by the server of the exchange. One that raises when its WebSocket is open closes it with 1011.
    """

    def __init__(
        self,
        app: App,
        state: Mapping[str, Any] | None = None,
        *,
        root_path: str = "",
        trusted: Container[str] = LOOPBACK,
        websocket: WebSocketSettings | None = None,
        deadline_field: bytes = b"",
        cancel_on_disconnect: bool = False,
    ) -> None:
        """*state* is what the lifespan left; each request gets a copy. *root_path* is where the app is
        mounted. *trusted* are the neighbours whose X-Forwarded-For and -Proto are believed, and the
        *deadline_field*, where there is one. *websocket*: the limits of WebSockets. With
        *cancel_on_disconnect* the task of a request whose client is gone is cancelled."""
        self._app = app
        self._state = state
        self._root_path = root_path
        self._trusted = trusted
        self._websocket_settings = websocket or WebSocketSettings()
        self._websockets: set[WebSocket] = set()
        self._is_stopping = False
        self._due = Due(deadline_field, trusted) if deadline_field else None
        self._cancels = cancel_on_disconnect
        self.express = Express(app, self._scope, self._sight, self._due, cancel_on_disconnect)
        """For the requests that need no exchange; see there."""

    async def __call__(self, exchange: Exchange) -> None:
        """Answer *exchange*; raises whatever the application raises."""
        request = exchange.request
        if request.plain is None and asked_protocols(request, _WEBSOCKET):
            await self._websocket(exchange)
            return
        scope = http_scope(exchange, root_path=self._root_path, state=self._state, trusted=self._trusted)
        call = HttpCall(exchange)
        failure: Exception | None = None
        app = self._app
        if self._due is not None:
            left = self._due.left(exchange.client, request.headers)
            if left is not None:
                app = self._due.by(app, left)
        if self._cancels:
            cancel_when_gone(exchange, asyncio.current_task())
        try:
            await app(scope, call.receive, call.send)
        except (asyncio.CancelledError, SystemExit) as error:
            failure = own_failure(error)
        except Exception as error:  # noqa: BLE001 - raised below
            failure = error
        failure = call.judged(failure)
        if failure is not None:
            raise failure

    def _scope(self, *about: Any) -> Scope:
        scope = scope_of(self._root_path, *about)
        if self._state is not None:
            scope["state"] = dict(self._state)
        return scope

    def _sight(self, wire: HttpProtocol, headers: Headers) -> tuple[Peer, str]:
        return claimed(headers, wire.client, wire.scheme, "1.1", self._trusted)

    def shutdown(self) -> None:
        """The server stops: open WebSockets end with 1012, and no more are taken."""
        self._is_stopping = True
        for websocket in list(self._websockets):
            websocket.shutdown()

    async def _websocket(self, exchange: Exchange) -> None:
        wrong = refusal(exchange.request)
        if wrong is not None or self._is_stopping:
            await exchange.respond_error(*(wrong or (503, [])))
            return
        scope = websocket_scope(exchange, root_path=self._root_path, state=self._state, trusted=self._trusted)
        websocket = WebSocket(exchange, self._websocket_settings)
        self._websockets.add(websocket)
        code = 1011
        try:
            await self._app(scope, websocket.receive, websocket.send)
            code = 1000
        except ClientGone:
            pass  # the application only passed on what the client did
        except (asyncio.CancelledError, SystemExit) as error:
            raise own_failure(error) from error
        finally:
            try:
                await websocket.finish(code)
            finally:
                self._websockets.discard(websocket)
