"""`HttpCall`: the state behind the `receive` and `send` of one request."""

from __future__ import annotations

import asyncio

from lbkit.asgi.types import Message
from lbkit.errors import ClientError
from lbkit.exchange import Exchange
from lbkit.http.messages import Headers

__all__ = ["HttpCall"]


class HttpCall:
    """One run of the application for *exchange*."""

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
