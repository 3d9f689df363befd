"""`HttpCall`: the state behind the `receive` and `send` of one request."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable

from lbkit.asgi.files import opened, part_of
from lbkit.asgi.types import Message
from lbkit.errors import ClientError
from lbkit.exchange import Exchange
from lbkit.exchange.disk import on_disk
from lbkit.exchange.file_part import FilePart
from lbkit.http.messages import Headers, get, without
from lbkit.http.trailers import passable, takes_trailers

__all__ = ["HttpCall", "cancel_when_gone", "own_failure"]


def cancel_when_gone(exchange: Exchange, task: asyncio.Task[None] | None) -> None:
    """Cancel *task*, which answers *exchange*, when the client leaves before the response has ended."""
    assert task is not None, "the caller is in it"

    def cancel() -> None:
        task.cancel("the client left")

    if exchange.disconnected:
        cancel()
    else:
        exchange.on_disconnect = cancel


def own_failure(error: BaseException) -> Exception:
    """What the application failed by, where it ended with *error*, a cancellation or SystemExit.

    Neither may end more than this one request where nobody but the application has brought it about: by
    waiting for something that was cancelled, or by sys.exit. Raises *error* where the task was cancelled.
    """
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling()):
        raise error
    failure = RuntimeError(f"the application ended with {type(error).__name__}")
    failure.__cause__ = error
    return failure


class HttpCall:
    """One run of the application for *exchange*."""

    __slots__ = ("_head", "_trailers", "client_error", "exchange", "request_told")

    def __init__(self, exchange: Exchange) -> None:
        self.client_error: ClientError | None = None
        """What ended the request's body early."""
        self.exchange = exchange
        self._head: tuple[int, Headers] | None = None
        """Held until the body's first piece, so that both leave in one write."""
        self._trailers: Headers | None = None
        """Collected so far, where the application has announced some."""
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
            if message.get("trailers"):
                self._trailers = []
        elif kind == "http.response.early_hint":
            if self._head is not None:
                raise RuntimeError("http.response.early_hint came after http.response.start")
            with contextlib.suppress(ClientError):  # nobody is there to read it
                self.exchange.send_interim(103, [(b"Link", bytes(link)) for link in message["links"]])
        elif kind == "http.response.pathsend":
            self._check_order(kind)
            part = await _opened(message["path"])
            try:
                await self._file(part, more=False)
            finally:
                os.close(part.descriptor)
        elif kind == "http.response.zerocopysend":
            self._check_order(kind)
            part, then_at = part_of(message)
            await self._file(part, more=bool(message.get("more_body")))
            if then_at is not None:
                message["file"].seek(then_at)
        elif kind == "http.response.trailers":
            self._take_trailers(message)
        else:
            raise ValueError(f'unexpected ASGI message "{kind}"')

    def begin(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """The head of the response, which goes out with the first piece of the body."""
        self._head = (int(status), [(bytes(name), bytes(value)) for name, value in headers])

    def _check_order(self, kind: str) -> tuple[int, Headers]:
        """The head; raises RuntimeError where *kind* has no place."""
        if self._head is None:
            raise RuntimeError(f"{kind} came before http.response.start")
        if self.exchange.ended:
            raise RuntimeError(f"{kind} came after the response's end")
        return self._head

    def _body(self, body: bytes, more: bool) -> None:
        exchange, head = self.exchange, self._check_order("http.response.body")
        if not exchange.started:
            if not more and self._trailers is None:
                status, headers = head
                if not body and get(headers, b"x-accel-redirect") is not None:
                    # Django's libraries say the length of the file there, which the web server will send.
                    headers = without(headers, {b"content-length"})
                exchange.send_whole(status, headers, body)
                return
            exchange.cork()
            exchange.send_head(*head)
        exchange.send_body(body)
        if not more:
            self._end()

    async def _file(self, part: FilePart, *, more: bool) -> None:
        """`_body` for a part of a file. Raises OSError where it changes while it is sent."""
        exchange, (status, headers) = self.exchange, self._check_order("a file")
        try:
            if not exchange.started:
                if not more and self._trailers is None and get(headers, b"content-length") is None:
                    headers = [*headers, (b"Content-Length", b"%d" % part.left)]
                exchange.cork()
                exchange.send_head(status, headers)
            if not exchange.goes_nowhere:
                await exchange.write_file(part)
            if not more:
                self._end()
        except ClientError as error:
            if not (exchange.disconnected or exchange.ended):
                exchange.abort()  # the length was promised
                raise OSError(str(error)) from None
            await asyncio.sleep(0)  # as for any body: nobody is there to read it

    def _end(self) -> None:
        """The body is over, and where no trailers follow it the response, too."""
        if self._trailers is None:
            self.exchange.send_end()

    def _take_trailers(self, message: Message) -> None:
        trailers, exchange = self._trailers, self.exchange
        if exchange.ended or not exchange.started:
            return
        if trailers is None:
            raise RuntimeError("http.response.trailers came, which http.response.start has not announced")
        trailers += [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        if not message.get("more_trailers"):
            is_wanted = takes_trailers(exchange.request)
            with contextlib.suppress(ClientError):
                exchange.send_end(passable(trailers) if is_wanted else None)

    def judged(self, error: Exception | None) -> Exception | None:
        """What the run, which has ended with *error*, failed by: a client's fault that the application only
        passed on is the client's."""
        is_clients = not (self.exchange.ended if error is None else self.exchange.started)
        return self.client_error if self.client_error is not None and is_clients else error


async def _opened(path: str) -> FilePart:
    """`opened`, by a thread."""
    opening = on_disk(opened, path)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close)  # nothing stops the thread, and it opens the file
        raise


def _close(opening: asyncio.Future[FilePart]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        os.close(opening.result().descriptor)
