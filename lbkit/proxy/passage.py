"""`Passage`: an answer on its way from a server to a client, without a task.

What comes from the server goes out to the client within the same call. Where the client is slow, nothing more
is read from the server until it has taken what waits, so that a body of any size costs little memory.

The head of a common answer is not taken apart and put together again: its lines are known to be well-formed,
and all but those for one connection only go out as they came.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from lbkit.exchange import Exchange
from lbkit.http.hop_by_hop import end_to_end
from lbkit.http.messages import Body, End, Headers, Interim, Response, get_all, without
from lbkit.http.plain import Trait
from lbkit.http.trailers import passable, takes_trailers
from lbkit.proxy.upstream import UpstreamConnection

__all__ = ["Divert", "Passage"]

Divert: TypeAlias = Callable[[Exchange, Response], Response | None]
"""Told of a server's answer before it goes out: what takes its place, None where `Exchange.instead` does."""

_CODING = int(Trait.TRANSFER_ENCODING)


class Passage:
    """Relays the answer on *connection* to the client of *exchange*.

    `on_head` is told the status, once. `on_end` is called exactly once, with what went wrong, or None when
    the whole answer has come, before the client is told of that end. The connection is free then.
    """

    __slots__ = (
        "_connection",
        "_divert",
        "_edit",
        "_exchange",
        "_is_over",
        "_is_waiting",
        "_on_end",
        "_on_head",
        "_on_switch",
    )

    def __init__(
        self,
        connection: UpstreamConnection,
        exchange: Exchange,
        on_head: Callable[[int], None],
        on_end: Callable[[Exception | None], None],
        edit: Callable[[Headers], Headers] | None = None,
        on_switch: Callable[[Response], None] | None = None,
        divert: Divert | None = None,
    ) -> None:
        """*edit*, where given, changes the fields of the answer. *on_switch* takes a 101, and all that
        follows: then this is over. *divert* sees the answer first."""
        self._connection = connection
        self._exchange = exchange
        self._on_head = on_head
        self._on_end = on_end
        self._edit = edit
        self._on_switch = on_switch
        self._divert = divert
        self._is_over = False
        self._is_waiting = False
        """For a slow client."""

    def whole(self, response: Response, body: bytes) -> None:
        """All of the answer has come at once."""
        plain, exchange = response.plain, self._exchange
        assert plain is not None, "only a plain answer comes as a whole"
        self._on_head(response.status)
        lines = plain.lines
        if plain.hops is not None:
            lines = _without(lines, plain.hops)
        if self._divert is not None:
            diverted = self._divert(exchange, response)
            if diverted is None:
                self._finish(None)
                return
            response = diverted
        self._finish(None)
        try:
            if (
                response.plain is not None
                and self._edit is None
                and exchange.pass_whole(response.status, lines, plain.traits, body)
            ):
                return
            self._take_apart(response)
            exchange.send_body(body)
            exchange.send_end()
        except Exception as error:  # noqa: BLE001 - a client that left before the end, or a bug, which is shown
            exchange.fail(error)

    def received(self) -> None:
        """The connection has more."""
        if self._is_waiting:
            return
        next_event = self._connection.next_event
        exchange = self._exchange
        try:
            while not self._is_over and (event := next_event()) is not None:
                kind = type(event)
                if kind is Body:
                    exchange.send_body(event.data)  # type: ignore[union-attr]
                    if exchange.is_clogged:
                        self._wait()
                        return
                elif kind is Response:
                    self._head(event)  # type: ignore[arg-type]
                elif kind is End:
                    self._end(event.trailers)  # type: ignore[union-attr]
                else:
                    self._pass_interim(event)  # type: ignore[arg-type]
        except Exception as error:  # noqa: BLE001 - told to whoever began this
            if self._is_over:  # the server has done its part
                exchange.fail(error)
            else:
                self.failed(error)

    def _head(self, response: Response) -> None:
        self._on_head(response.status)
        if response.status == 101 and self._on_switch is not None:
            self._on_switch(response)
            self._is_over = True
            return
        exchange = self._exchange
        if self._divert is not None:
            diverted = self._divert(exchange, response)
            if diverted is None:
                while (event := self._connection.next_event()) is not None and type(event) is not End:
                    pass  # of the body what has come; where more follows the connection is not kept
                self._finish(None)
                return
            response = diverted
        plain = response.plain
        if plain is not None and self._edit is None and not plain.traits & _CODING:
            lines = plain.lines
            if plain.hops is not None:
                lines = _without(lines, plain.hops)
            if exchange.pass_head(response.status, lines, plain.traits, plain.length):
                return
        self._take_apart(response)

    def _take_apart(self, response: Response) -> None:
        """The head goes out field by field."""
        headers = end_to_end(response.headers)
        if takes_trailers(self._exchange.request):
            headers += [(b"Trailer", value) for value in get_all(response.headers, b"trailer")]
        if self._edit is not None:
            headers = self._edit(headers)
        self._exchange.send_head(response.status, headers, response.reason)

    def _end(self, trailers: Headers) -> None:
        self._finish(None)
        if trailers and takes_trailers(self._exchange.request):
            self._exchange.send_end(passable(trailers))
        else:
            self._exchange.send_end()

    def _pass_interim(self, interim: Interim) -> None:
        """Early hints and the like; a 100 is for the proxy, which has answered the client's Expect itself."""
        if interim.status != 100:
            headers = without(
                end_to_end(interim.headers), {b"content-length"}
            )  # RFC 9110 §8.6: it has no body
            self._exchange.send_interim(interim.status, headers)

    def failed(self, error: Exception) -> None:
        """The server's answer ends here."""
        self._finish(error)

    def cancel(self) -> None:
        """Nobody waits for the answer any more: `on_end` is not called."""
        if not self._is_over:  # else the connection may be another's by now
            self._is_over = True
            self._connection.release()

    def _finish(self, error: Exception | None) -> None:
        if not self._is_over:
            self._is_over = True
            self._connection.release()
            self._on_end(error)

    # ---- a slow client ----

    def _wait(self) -> None:
        self._is_waiting = True
        self._connection.pause()
        task = asyncio.get_running_loop().create_task(self._exchange.drain())
        task.add_done_callback(self._go_on)

    def _go_on(self, task: asyncio.Task[None]) -> None:
        self._is_waiting = False
        if task.cancelled() or self._is_over:
            return
        error = task.exception()
        if isinstance(error, Exception):
            self.failed(error)
            return
        self._connection.resume()
        self.received()


def _without(lines: list[bytes], places: list[int]) -> list[bytes]:
    """*lines* less those at *places*, which are in order."""
    kept = lines.copy()
    for place in reversed(places):
        del kept[place]
    return kept
