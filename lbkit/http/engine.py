"""The HTTP/1.1 protocol for both roles: bytes in, events out; parts of messages in, bytes out.

h11 is the engine behind this interface, which a faster parser can take over without a change above
it. An h11 connection lives for one request and its response: what it would carry over to the next one
is only bytes, and those have to pass our own head checks first (see `heads`), so they are taken
back when a message is complete.

Rejected: one h11 connection for the whole life of the connection with `start_next_cycle`. It would
parse the head of a pipelined request before the checks have seen it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import h11

from lbkit.errors import BadResponse, ClientError
from lbkit.http.heads import (
    REASON,
    REQUEST_LINE,
    STATUS_LINE,
    HeadBuffer,
    check_request_fields,
    check_request_head,
    check_response_fields,
    check_response_head,
)
from lbkit.http.messages import Body, End, Headers, Interim, Request, Response, get, tokens, without
from lbkit.http.targets import parse_target

__all__ = ["ClientEngine", "ClientEvent", "Limits", "ServerEngine", "ServerEvent"]

ServerEvent: TypeAlias = Request | Body | End
ClientEvent: TypeAlias = Interim | Response | Body | End


@dataclass(frozen=True, slots=True)
class Limits:
    """What a message head may have (HAProxy: a buffer of 16 KiB and 101 fields)."""

    head_size: int = 16 * 1024
    """Bytes of the head, with its start line and empty line."""
    fields: int = 100
    """Header fields."""


class ServerEngine:
    """One connection from a client.

    Use: `receive` bytes, call `next_event` until it returns None; answer the request with `start`,
    `body` and `end`, and send the bytes that these return; then `next_cycle` for the next request.
    Events of a pipelined request come only after `next_cycle`.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._held = HeadBuffer(self.limits.head_size, REQUEST_LINE)
        self._h11 = _connection(h11.SERVER, self.limits)
        self._eof = False
        self._in_body = False
        self._is_chunked = False
        self._fed = b""
        """The end of what h11 has got of a chunked body."""
        self._request: Request | None = None
        self._is_head = False
        self._has_no_body = False
        self.response_started = False
        self.response_ended = False
        self.request_ended = False

    @property
    def buffered(self) -> int:
        """Bytes received that wait for the present exchange to end, or for the rest of a head."""
        return len(self._held)

    @property
    def awaits_head(self) -> bool:
        """Whether no request has begun, or only a part of its head has come."""
        return self._request is None

    @property
    def expects_continue(self) -> bool:
        """Whether the client holds its body back until it sees 100 Continue."""
        return self._h11.they_are_waiting_for_100_continue

    @property
    def may_continue(self) -> bool:
        """Whether the connection outlives this exchange once both messages are complete."""
        if self._h11.our_state is not h11.DONE or self._h11.their_state is h11.ERROR:
            return False
        return not self._eof or len(self._held) > 0

    @property
    def keeps_alive(self) -> bool:
        """Whether both messages are complete and another request may follow."""
        return self.request_ended and self.response_ended and self.may_continue

    def receive(self, data: bytes) -> None:
        """Take bytes from the client; ``b""`` when it will send no more."""
        if not data:
            self._eof = True
        if self._in_body:
            self._feed(data)
        else:
            self._held.feed(data)

    def _feed(self, data: bytes) -> None:
        if self._is_chunked:
            self._fed += data
        self._h11.receive_data(data)

    def next_event(self) -> ServerEvent | None:
        """The next event; None: more bytes, or the end of the present exchange, are needed first.

        Raises ClientError with the status to answer with (400, 417, 431, 501, 505), or 0 when the
        client left in mid-request. Nothing may be received after that.
        """
        if self._request is None:
            return self._next_head()
        if self.request_ended:
            return None
        event = self._h11_event()
        if isinstance(event, h11.Data):
            return Body(bytes(event.data))
        if isinstance(event, h11.EndOfMessage):
            self._take_back()
            return End(event.headers.raw_items())
        if self._eof:
            raise ClientError("the client left in the middle of a request", 0)
        self._fed = self._fed[-3:]
        return None

    def _next_head(self) -> Request | None:
        try:
            head = self._held.take()
        except OverflowError as exc:
            raise ClientError(str(exc), 431) from None
        except ValueError:
            raise ClientError("malformed request head") from None
        if head is None:
            if self._eof and len(self._held):
                raise ClientError("the client left in the middle of a request head", 0)
            return None
        check_request_head(head)
        self._h11.receive_data(head)
        event = self._h11_event()
        assert isinstance(event, h11.Request), "h11 refuses or takes a head that is complete"
        self._request = self._checked(event)
        if self._request.has_body:
            self._in_body = True
            self._hand_over()
        return self._request

    def _checked(self, event: h11.Request) -> Request:
        self._is_head = event.method == b"HEAD"
        headers = event.headers.raw_items()
        if len(headers) > self.limits.fields:
            raise ClientError(f"more than {self.limits.fields} header fields", 431)
        method, version = event.method.decode("ascii"), event.http_version.decode("ascii")
        target = parse_target(event.target, method)
        check_request_fields(headers, target, version)
        if target.authority:
            headers = [(b"Host", target.authority), *without(headers, {b"host"})]
        self._is_chunked = get(headers, b"transfer-encoding") is not None
        has_body = self._is_chunked or get(headers, b"content-length") is not None
        return Request(method, target, headers, version, has_body)

    def _hand_over(self) -> None:
        if len(self._held):
            self._feed(self._held.take_all())
        if self._eof:
            self._h11.receive_data(b"")

    def _take_back(self) -> None:
        rest, _ = self._h11.trailing_data
        # h11 takes a bare LF for the empty line after trailers: see `heads` why that must not pass.
        if self._is_chunked and not self._fed.endswith(b"\r\n\r\n", 0, len(self._fed) - len(rest)):
            raise ClientError("malformed end of a chunked body")
        self._fed = b""
        self._held.feed(rest)
        self._in_body = False
        self.request_ended = True

    def _h11_event(self) -> object:
        try:
            return self._h11.next_event()
        except h11.RemoteProtocolError as exc:
            if self._eof:
                raise ClientError("the client left in the middle of a request", 0) from None
            raise ClientError(str(exc), exc.error_status_hint) from None

    def proceed(self) -> bytes:
        """100 Continue, for a client that `expects_continue`."""
        return _sent(self._h11, h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))

    def start(self, status: int, headers: Headers, reason: bytes, *, close: bool = False) -> bytes:
        """The head of the final response.

        Framing is added where *headers* has no Content-Length: chunked, or close for HTTP/1.0.
        *close* makes it the last response of the connection. Raises ValueError for a head that
        cannot be sent, such as a line break in a value.
        """
        headers = without(headers, {b"transfer-encoding"})
        if status == 204:
            headers = without(headers, {b"content-length"})  # RFC 9110 §8.6
        if close and b"close" not in tokens(headers, b"connection"):
            headers.append((b"Connection", b"close"))
        self._has_no_body = self._is_head or status in (204, 304)
        # h11 checks the fields when the event is made, before its state moves: an error page can follow.
        # The reason it sends as it is.
        if not REASON.fullmatch(reason):
            raise ValueError(f"{reason!r} is no reason phrase")
        try:
            response = h11.Response(status_code=status, headers=headers, reason=reason)
        except h11.LocalProtocolError as exc:
            raise ValueError(str(exc)) from None
        self.response_started = True
        return _sent(self._h11, response)

    def body(self, data: bytes) -> bytes:
        """A piece of the response's body; dropped where there can be none (HEAD, 204, 304).

        Raises ValueError when it is more than Content-Length said.
        """
        if self._has_no_body:
            return b""
        return _sent(self._h11, h11.Data(data=data))

    def end(self) -> bytes:
        """The response is complete; raises ValueError when it is less than Content-Length said."""
        last = _sent(self._h11, h11.EndOfMessage())
        self.response_ended = True
        return last

    def next_cycle(self) -> None:
        """Be ready for the next request; only when `keeps_alive`."""
        self._h11 = _connection(h11.SERVER, self.limits)
        self._request = None
        self._is_head = False
        self.response_started = self.response_ended = self.request_ended = False


class ClientEngine:
    """One request to a server and its response.

    Use: send what `request`, `body` and `end` return; `receive` bytes and call `next_event` until it
    returns None. Make a new one for the next request on a connection that is `reusable`.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._h11 = _connection(h11.CLIENT, self.limits)
        self._held = HeadBuffer(self.limits.head_size, STATUS_LINE)
        self._has_head = False
        self._eof = False
        self.response_ended = False

    @property
    def reusable(self) -> bool:
        """Whether both messages are complete and the server keeps the connection open."""
        done = self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE
        return done and not self._eof and not self._h11.trailing_data[0]

    @property
    def is_untouched(self) -> bool:
        """Whether not a byte of the response has come."""
        return not self._has_head and not len(self._held)

    def request(self, method: str, target: bytes, headers: Headers) -> bytes:
        """The request head; without framing fields in *headers* there is no body."""
        return _sent(self._h11, h11.Request(method=method, target=target, headers=headers))

    def body(self, data: bytes) -> bytes:
        """A piece of the request's body."""
        return _sent(self._h11, h11.Data(data=data))

    def end(self) -> bytes:
        """The request is complete."""
        return _sent(self._h11, h11.EndOfMessage())

    def receive(self, data: bytes) -> None:
        """Take bytes from the server; ``b""`` when it will send no more."""
        if not data:
            self._eof = True
        if self._has_head:
            self._h11.receive_data(data)
        elif data:
            self._held.feed(data)

    def next_event(self) -> ClientEvent | None:
        """The next event, None when more bytes are needed.

        Raises BadResponse when the server breaks the protocol or leaves before the end.
        """
        if self.response_ended:
            return None
        if not self._has_head:
            return self._next_head()
        event = self._h11_event()
        if isinstance(event, h11.Data):
            return Body(bytes(event.data))
        if isinstance(event, h11.EndOfMessage):
            self.response_ended = True
            return End(event.headers.raw_items())
        return None

    def _next_head(self) -> Interim | Response | None:
        try:
            head = self._held.take()
        except (OverflowError, ValueError) as exc:
            raise BadResponse(f"malformed response: {exc}") from None
        if head is None:
            if self._eof:
                raise BadResponse("the server closed the connection before it answered")
            return None
        check_response_head(head)
        self._h11.receive_data(head)
        event = self._h11_event()
        if isinstance(event, h11.InformationalResponse):
            return Interim(event.status_code, event.headers.raw_items())
        assert isinstance(event, h11.Response), "h11 refuses or takes a head that is complete"
        return self._final(event)

    def _final(self, event: h11.Response) -> Response:
        headers = event.headers.raw_items()
        if len(headers) > self.limits.fields:
            raise BadResponse(f"more than {self.limits.fields} header fields")
        check_response_fields(headers)
        self._has_head = True
        if len(self._held):
            self._h11.receive_data(self._held.take_all())
        if self._eof:
            self._h11.receive_data(b"")
        return Response(event.status_code, headers, event.reason, event.http_version.decode("ascii"))

    def _h11_event(self) -> object:
        try:
            return self._h11.next_event()
        except h11.RemoteProtocolError as exc:
            raise BadResponse(f"the server broke the protocol: {exc}") from None


def _connection(role: type[h11.CLIENT] | type[h11.SERVER], limits: Limits) -> h11.Connection:
    return h11.Connection(role, max_incomplete_event_size=limits.head_size)


def _sent(connection: h11.Connection, event: h11.Event) -> bytes:
    try:
        return connection.send(event) or b""
    except h11.LocalProtocolError as exc:
        raise ValueError(str(exc)) from None
