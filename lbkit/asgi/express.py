"""The express way: for a request that is whole when it comes, and an answer that is given at once.

Most requests to an application are of one kind: a plain head, at most a small body that comes with it, and an
answer of one piece. Such a one needs no exchange, no engine and no buffer: the application's task and the
connection point at each other while it is under way, and that is all.

Whenever anything is not of that kind (a response in pieces, an application that waits for the disconnect, a
client that says something in the meantime) the request becomes an `Exchange` and goes on as any other:
`_Run.stop_over`. So nothing is decided here, and the same tests run over both ways.

A client on a kept connection mostly repeats its fields, request after request. What follows from them is
kept with the connection (`HttpProtocol.block`), and as long as they stay the same to the byte only the
request line and the body are looked at.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

from lbkit.asgi.call import HttpCall, cancel_when_gone, own_failure
from lbkit.asgi.due import Due
from lbkit.asgi.types import App, Message, Scope
from lbkit.exchange import HttpProtocol
from lbkit.exchange.exchange import Peer
from lbkit.http.heads import joined, outgoing_lines
from lbkit.http.messages import Headers, get
from lbkit.http.plain import Trait, survey_request
from lbkit.http.status import reason_of

__all__ = ["Express", "Sight"]

_log = logging.getLogger("lbkit.http")
# A path of plain segments, each as the application is to see it: no escapes, no dots first, none empty but
# the last. HEAD is left out, whose answers have no body.
_LINE = re.compile(
    rb"(GET|POST|PUT|DELETE|PATCH|OPTIONS) ((?:/(?![./])[!\"$&-.0->@-~]*)+)(?:\?([!\"$-~]*))? HTTP/1\.1"
)
_NOT_ORDINARY = int(Trait.TRANSFER_ENCODING | Trait.UPGRADE | Trait.EXPECT | Trait.CLOSE)
_LENGTH = int(Trait.CONTENT_LENGTH)
_CLAIM = int(Trait.CLAIM)
_LONGEST_KEPT = 2048
_OK = b"HTTP/1.1 200 OK"

Sight = Callable[[HttpProtocol, Headers], "tuple[Peer, str]"]
"""The client and scheme that a connection's fields claim, as far as they are believed."""


class Express:
    """The way of *app*'s requests; *scope_of* makes a scope, *sight* says whose request it is, *due* by when
    it has to be answered. With *cancels* a task whose client is gone is cancelled."""

    def __init__(
        self,
        app: App,
        scope_of: Callable[..., Scope],
        sight: Sight,
        due: Due | None = None,
        cancels: bool = False,
    ) -> None:
        self._app = app
        self._due = due
        self._cancels = cancels
        self._scope_of = scope_of
        self._sight = sight

    def __call__(self, wire: HttpProtocol, data: bytes) -> bool:
        """Answer the request *data*; False, and nothing has happened, where it is not of the kind."""
        start = data.find(b"\r\n")
        line = _LINE.fullmatch(data, 0, start)
        if line is None:
            return False
        block = wire.block
        end = start + len(block)
        if not (block and data.startswith(block, start) and end <= wire.limits.head_size):
            end = self._learn(wire, data, start)
            if not end:
                return False
        kept = wire.kept
        if len(data) - end != kept.length:
            return False
        method, raw_path, query = line.groups(b"")
        scope = self._scope_of(
            method.decode("ascii"),
            raw_path,
            query,
            kept.headers.copy(),
            kept.client,
            kept.scheme,
            wire.server,
        )
        run = wire.flight = _Run(wire, data, end, self._cancels)
        app = self._app if kept.left is None else Due.by(self._app, kept.left)
        wire.start(run.go(app, scope))
        return True

    def _learn(self, wire: HttpProtocol, data: bytes, start: int) -> int:
        """Where the head of *data* ends, 0 where its fields ask for anything special; what follows from them
        is kept."""
        end = data.find(b"\r\n\r\n") + 4
        if end < 4 or end > wire.limits.head_size:
            return 0
        seen = survey_request(data[:end], wire.limits.fields)
        if seen is None or seen[1] & _NOT_ORDINARY:
            return 0
        lines, traits, _, _ = seen
        fields = [(name.lower(), value) for name, _, value in [line.partition(b": ") for line in lines]]
        del fields[0]
        length = int(get(fields, b"content-length") or 0) if traits & _LENGTH else 0
        client, scheme = self._sight(wire, fields) if traits & _CLAIM else (wire.client, wire.scheme)
        left = None if self._due is None else self._due.left(wire.client, fields)
        wire.kept = _Kept(fields, length, client, scheme, left)
        wire.block = data[start:end] if end - start <= _LONGEST_KEPT else b""
        return end


class _Kept:
    """What follows from the fields of a request."""

    __slots__ = ("client", "headers", "left", "length", "scheme")

    def __init__(self, headers: Headers, length: int, client: Peer, scheme: str, left: float | None) -> None:
        self.headers = headers
        """With names in lower case."""
        self.length = length
        self.client = client
        self.scheme = scheme
        self.left = left
        """Seconds to answer it, where somebody says."""


class _Run:
    """One run of the application for the request *data* of *wire*, whose body begins at *body_at*."""

    __slots__ = (
        "_body_at",
        "_call",
        "_cancels",
        "_data",
        "_has_landed",
        "_head",
        "_request_told",
        "_task",
        "_wire",
    )

    def __init__(self, wire: HttpProtocol, data: bytes, body_at: int, cancels: bool) -> None:
        self._wire = wire
        self._data = data
        self._body_at = body_at
        self._head: tuple[int, Any] | None = None
        self._request_told = False
        self._has_landed = False
        self._cancels = cancels
        self._task: asyncio.Task[None] | None = None
        self._call: HttpCall | None = None
        """What goes on in the ordinary way."""

    async def go(self, app: App, scope: Scope) -> None:
        """The task's work."""
        failure: Exception | None = None
        if self._cancels:
            self._task = asyncio.current_task()
            if self._call is not None:  # the client has left before this began
                cancel_when_gone(self._call.exchange, self._task)
        try:
            await app(scope, self.receive, self.send)
        except (asyncio.CancelledError, SystemExit) as error:
            try:
                failure = own_failure(error)
            except asyncio.CancelledError:
                if not self._has_landed:
                    self._wire.abort()
                raise
        except Exception as error:  # noqa: BLE001 - a bug of the application: logged whole
            failure = error
        if not self._has_landed:
            call = self._ordinary()
            self._wire.settle(call.exchange, call.judged(failure))
        elif failure is not None:
            _log.error("the handler of %s failed", scope["raw_path"], exc_info=failure)

    async def receive(self) -> Message:
        if self._call is None:
            if not self._request_told:
                self._request_told = True
                return {"type": "http.request", "body": self._data[self._body_at :], "more_body": False}
            if self._has_landed:
                return {"type": "http.disconnect"}
        return await self._ordinary().receive()

    def send(self, message: Message) -> Awaitable[None]:
        """No coroutine of its own: each piece of a long response would pay for it."""
        return self._send(message) if self._call is None else self._call.send(message)

    async def _send(self, message: Message) -> None:
        if self._call is None:  # else `receive` has changed that since
            kind = message["type"]
            if kind == "http.response.start" and self._head is None and not message.get("trailers"):
                headers = message.get("headers", ())
                self._head = (message["status"], headers if type(headers) is list else list(headers))
                return
            if kind == "http.response.body" and self._head is not None and not message.get("more_body"):
                if self._has_landed:
                    raise RuntimeError("http.response.body came after the response's end")
                if self._land(message.get("body", b"")):
                    if self._wire.is_clogged:
                        await self._wire.drain()
                    return
            if self._has_landed:
                if kind == "http.response.trailers":
                    return
                raise RuntimeError(f"{kind} came after the response's end")
        await self._ordinary().send(message)

    def _land(self, body: bytes) -> bool:
        """The whole answer; False where there is more to say about it. Raises ValueError for fields that
        cannot be sent."""
        assert self._head is not None
        status, headers = self._head
        if status != 200 and (not 200 < status <= 599 or status == 204 or status == 304):
            return False
        try:
            first = _OK if status == 200 else b"HTTP/1.1 %d %b" % (status, reason_of(status))
            lines, traits, length, said = outgoing_lines(first, headers, status)
        except TypeError:
            return False  # something else than bytes, which `HttpCall` makes them
        if said or type(body) is not bytes:
            return False
        if length is None:
            lines.append(b"Content-Length: %d" % len(body))
        elif length != len(body):
            return False
        http = self._wire.http
        now = http.now()
        head = joined(lines)
        data = b"".join((head[:-4], http.missing(traits, now), head[-4:], body))
        self._wire.land(status, data, now)
        self._has_landed = True
        return True

    def _ordinary(self) -> HttpCall:
        if self._call is None:
            self.stop_over()
        assert self._call is not None
        return self._call

    def stop_over(self) -> None:
        """The request goes on in the ordinary way."""
        self._wire.flight = None
        exchange = self._wire.stop_over(self._data)
        exchange.has_task = True
        self._call = HttpCall(exchange)
        if self._task is not None:
            cancel_when_gone(exchange, self._task)
        if self._request_told:
            exchange.take()
            self._call.request_told = True
            self._wire.body_taken()  # else a client whose body was long is not read from, nor seen to leave
        if self._head is not None:
            self._call.begin(*self._head)
