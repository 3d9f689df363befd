"""`AsgiHandler`: answers exchanges by an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from lbkit.asgi.scope import http_scope
from lbkit.asgi.types import App, Message
from lbkit.errors import ClientError
from lbkit.exchange import Exchange
from lbkit.http.forwarded import LOOPBACK
from lbkit.http.messages import Headers

__all__ = ["AsgiHandler"]


class AsgiHandler:
    """Runs *app* for each exchange.

    An application that raises before its response begins gets its client a 500, later on a reset; both are
    logged by the server of the exchange. WebSocket upgrades are answered as plain requests.
    """

    def __init__(
        self,
        app: App,
        state: Mapping[str, Any] | None = None,
        *,
        root_path: str = "",
        trusted: Collection[str] = LOOPBACK,
    ) -> None:
        """*state* is what the lifespan left; each request gets a copy. *root_path* is where the app is
        mounted. *trusted* are the neighbours whose X-Forwarded-For and -Proto are believed."""
        self._app = app
        self._state = state
        self._root_path = root_path
        self._trusted = trusted

    async def __call__(self, exchange: Exchange) -> None:
        """Answer *exchange*; raises whatever the application raises."""
        scope = http_scope(exchange, root_path=self._root_path, state=self._state, trusted=self._trusted)
        call = _Call(exchange)
        try:
            await self._app(scope, call.receive, call.send)
        except Exception:
            if call.client_error is not None and not exchange.started:
                raise call.client_error from None  # the application only passed on what the client did
            raise
        if call.client_error is not None and not exchange.ended:
            raise call.client_error


class _Call:
    """One run of the application: the state behind its `receive` and `send`."""

    __slots__ = ("_exchange", "_head", "_request_told", "client_error")

    def __init__(self, exchange: Exchange) -> None:
        self.client_error: ClientError | None = None
        """What ended the request's body early."""
        self._exchange = exchange
        self._head: tuple[int, Headers] | None = None
        """Held until the body's first piece, so that both leave in one write."""
        self._request_told = False

    async def receive(self) -> Message:
        exchange = self._exchange
        if self._request_told or exchange.ended:
            await exchange.wait_disconnected()
            return {"type": "http.disconnect"}
        try:
            body = await exchange.read()
        except ClientError as error:
            self.client_error = error
            self._request_told = True
            return {"type": "http.disconnect"}
        self._request_told = exchange.at_end
        return {"type": "http.request", "body": body, "more_body": not self._request_told}

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self._start(message)
        elif kind == "http.response.body":
            try:
                await self._body(message.get("body", b""), bool(message.get("more_body", False)))
            except ClientError:
                # Nobody is there to read it, and that is no fault of the application. But one that waits
                # for nothing but `send` would now hold up every other client, and never learn of it.
                await asyncio.sleep(0)
        elif kind != "http.response.trailers":
            raise ValueError(f'unexpected ASGI message "{kind}"')

    def _start(self, message: Message) -> None:
        if self._head is not None:
            raise RuntimeError("http.response.start was sent twice")
        headers = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        self._head = (int(message["status"]), headers)

    async def _body(self, body: bytes, more: bool) -> None:
        exchange = self._exchange
        if self._head is None:
            raise RuntimeError("http.response.body came before http.response.start")
        if exchange.ended:
            raise RuntimeError("http.response.body came after the response's end")
        if not exchange.started:
            if not more:
                exchange.send_whole(*self._head, bytes(body))
                if exchange.is_clogged:
                    await exchange.drain()
                return
            await exchange.start(*self._head)
        await exchange.write(bytes(body))
        if not more:
            await exchange.end()
