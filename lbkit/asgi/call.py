"""`HttpCall`: the state behind the `receive` and `send` of one request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from lbkit.asgi.types import Message
from lbkit.errors import ClientError
from lbkit.exchange import Exchange
from lbkit.http.messages import Headers, get, without

__all__ = ["HttpCall", "cancel_when_gone"]


def cancel_when_gone(exchange: Exchange, task: asyncio.Task[None] | None) -> None:
    """Cancel *task*, which answers *exchange*, when the client leaves before the response has ended."""
    assert task is not None, "the caller is in it"

    def cancel() -> None:
        task.cancel("the client left")

    if exchange.disconnected:
        cancel()
    else:
        exchange.on_disconnect = cancel


class HttpCall:
    """One run of the application for *exchange*."""

    __slots__ = ("_head", "client_error", "exchange", "request_told")

    def __init__(self, exchange: Exchange) -> None:
        self.client_error: ClientError | None = None
        """What ended the request's body early."""
        self.exchange = exchange
        self._head: tuple[int, Headers] | None = None
        """Held until the body's first piece, so that both leave in one write."""
        self.request_told = False

    async def receive(self) -> Message:
        exchange = self.exchange
        if self.request_told or exchange.ended:
            await exchange.wait_disconnected()
            return {"type": "http.disconnect"}
        try:
            body = await exchange.read()
        except ClientError as error:
            self.client_error = error
            self.request_told = True
            return {"type": "http.disconnect"}
        self.request_told = exchange.at_end
        return {"type": "http.request", "body": body, "more_body": not self.request_told}

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.body":
            exchange, body = self.exchange, message.get("body", b"")
            try:
                if message.get("more_body") and exchange.started and type(body) is bytes:
                    exchange.cork()
                    exchange.send_body(body)  # what most calls are for a response in pieces
                else:
                    self._body(bytes(body), bool(message.get("more_body")))
                if exchange.is_clogged:
                    await exchange.drain()
                elif exchange.goes_nowhere:
                    await asyncio.sleep(0)  # no slow client ever stops a writer whose data goes nowhere
            except ClientError:
                # Nobody is there to read it, and that is no fault of the application. But one that waits
                # for nothing but `send` would now hold up every other client, and never learn of it.
                await asyncio.sleep(0)
        elif kind == "http.response.start":
            if self._head is not None:
                raise RuntimeError("http.response.start was sent twice")
            self.begin(message["status"], message.get("headers", ()))
        elif kind == "http.response.early_hint":
            if self._head is not None:
                raise RuntimeError("http.response.early_hint came after http.response.start")
            with contextlib.suppress(ClientError):  # nobody is there to read it
                self.exchange.send_interim(103, [(b"Link", bytes(link)) for link in message["links"]])
        elif kind != "http.response.trailers":
            raise ValueError(f'unexpected ASGI message "{kind}"')

    def begin(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """The head of the response, which goes out with the first piece of the body."""
        self._head = (int(status), [(bytes(name), bytes(value)) for name, value in headers])

    def _body(self, body: bytes, more: bool) -> None:
        exchange = self.exchange
        if self._head is None:
            raise RuntimeError("http.response.body came before http.response.start")
        if exchange.ended:
            raise RuntimeError("http.response.body came after the response's end")
        if not exchange.started:
            if not more:
                status, headers = self._head
                if not body and get(headers, b"x-accel-redirect") is not None:
                    # Django's libraries say the length of the file there, which the web server will send.
                    headers = without(headers, {b"content-length"})
                exchange.send_whole(status, headers, body)
                return
            exchange.cork()
            exchange.send_head(*self._head)
        exchange.send_body(body)
        if not more:
            exchange.send_end()

    def judged(self, error: Exception | None) -> Exception | None:
        """What the run, which has ended with *error*, failed by: a client's fault that the application only
        passed on is the client's."""
        is_clients = not (self.exchange.ended if error is None else self.exchange.started)
        return self.client_error if self.client_error is not None and is_clients else error
