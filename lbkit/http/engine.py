"""The HTTP/1.1 protocol for both roles: bytes in, events out; parts of messages in, bytes out.

A head that comes in the plain common form is read by our own parser (`plain`); any other one has to pass
strict checks (`heads`) and is then read by h11, which sees one head at a time and nothing else. Bodies are
framed here (`framing`) in both directions, the same for every head.

Rejected: one h11 connection for the whole life of a connection. It would parse the head of a pipelined
request before the checks have seen it, and its bodies cost more than all the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

import h11

from lbkit.errors import BadResponse, ClientError
from lbkit.http.framing import BodyReader, Chunked, Counted, ToTheEnd
from lbkit.http.heads import (
    REASON,
    REQUEST_LINE,
    STATUS_LINE,
    HeadBuffer,
    check_request_fields,
    check_request_head,
    check_response_fields,
    check_response_head,
    content_length,
    head_of,
    joined,
    outgoing_lines,
)
from lbkit.http.messages import Body, End, Headers, Interim, Request, Response, get, tokens, without
from lbkit.http.plain import Trait, parse_request, parse_response
from lbkit.http.status import reason_of
from lbkit.http.targets import parse_target
from lbkit.http.upgrade import changes_to

__all__ = ["ClientEngine", "ClientEvent", "Limits", "ServerEngine", "ServerEvent"]

ServerEvent: TypeAlias = Request | Body | End
ClientEvent: TypeAlias = Interim | Response | Body | End

_CLOSE = int(Trait.CLOSE)
_CODING = int(Trait.TRANSFER_ENCODING)
_DATE = int(Trait.DATE)
_SERVER = int(Trait.SERVER)
_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(rb"[!-~]+")
_END = End()
_MOST_INTERIMS = 32  # before a final response: a server that sends them for ever is not at work


@dataclass(frozen=True, slots=True)
class Limits:
    """What a message head may have (HAProxy: a buffer of 16 KiB and 101 fields)."""

    head_size: int = 16 * 1024
    """Bytes of the head, with its start line and empty line. Trailers may have as many."""
    fields: int = 100
    """Header fields."""


class _BodyWriter:
    """Frames the body of a message that is sent."""

    __slots__ = ("is_chunked", "left")

    def __init__(self, left: int, is_chunked: bool) -> None:
        self.left = left
        """Bytes that Content-Length still promises; -1 where there is none."""
        self.is_chunked = is_chunked

    def body(self, data: bytes) -> bytes:
        if self.is_chunked:
            return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        if self.left >= 0:
            self.left -= len(data)
            if self.left < 0:
                raise ValueError("more body than Content-Length said")
        return data

    def end(self, trailers: Headers | None = None) -> bytes:
        if self.left > 0:
            raise ValueError("less body than Content-Length said")
        if trailers and self.is_chunked:
            return head_of(b"0", trailers)
        return b"0\r\n\r\n" if self.is_chunked else b""


class ServerEngine:
    """One connection from a client.

    Use: `receive` bytes, call `next_event` until it returns None; answer the request with `start`,
    `body` and `end`, and send the bytes that these return; then `next_cycle` for the next request.
    Events of a pipelined request come only after `next_cycle`.
    """

    __slots__ = (
        "_body",
        "_closes",
        "_eof",
        "_fresh",
        "_held",
        "_is_broken",
        "_is_old",
        "_request",
        "_writer",
        "expects_continue",
        "limits",
        "request_ended",
        "response_ended",
        "response_started",
    )

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._held = HeadBuffer(self.limits.head_size, REQUEST_LINE)
        self._fresh = b""
        """What has just come, where nothing is held: most often one whole head."""
        self._eof = False
        self._request: Request | None = None
        self._body: BodyReader | None = None
        self._writer: _BodyWriter | None = None
        """None where the response has no body."""
        self._closes = False
        """This exchange is the last one of the connection."""
        self._is_broken = False
        self._is_old = False
        """The present request is one of HTTP/1.0: its client must be told that the connection stays, if it
        does.
        """
        self.expects_continue = False
        """Whether the client holds its body back until it sees 100 Continue."""
        self.response_started = False
        self.response_ended = False
        self.request_ended = False

    @property
    def buffered(self) -> int:
        """Bytes received that wait for the present exchange to end, or for the rest of a head."""
        return len(self._held) + len(self._fresh)

    @property
    def head_has_begun(self) -> bool:
        """Whether bytes are held of which a head can be made; empty lines before one are none."""
        return bool(self._fresh) or self._held.has_begun

    def is_at_rest(self) -> bool:
        """Whether nothing is held, and no request is in progress."""
        return self._request is None and not self._fresh and not self._held.data

    @property
    def awaits_head(self) -> bool:
        """Whether no request has begun, or only a part of its head has come."""
        return self._request is None

    @property
    def may_continue(self) -> bool:
        """Whether the connection outlives this exchange once both messages are complete."""
        if self._closes or self._is_broken:
            return False
        return not self._eof or self.buffered > 0

    @property
    def keeps_alive(self) -> bool:
        """Whether both messages are complete and another request may follow."""
        return self.request_ended and self.response_ended and self.may_continue

    def receive(self, data: bytes) -> None:
        """Take bytes from the client; ``b""`` when it will send no more."""
        if not data:
            self._eof = True
        elif self._fresh or self._held:
            self._hold(data)
        else:
            self._fresh = data

    def _hold(self, data: bytes) -> None:
        if self._fresh:
            self._held.feed(self._fresh)
            self._fresh = b""
        self._held.feed(data)

    def take_whole(self, data: bytes) -> Request | None:
        """The request that *data* is, where nothing is held and it is exactly one plain head without a body.

        Then nothing more has to be asked for, and else nothing has changed: `receive` it. This is what nearly
        every request is. Raises ClientError as `next_event`.
        """
        if self._request is not None or self._fresh or self._held:
            return None
        end = data.find(b"\r\n\r\n") + 4
        if end != len(data) or end < 4 or end > self.limits.head_size:
            return None
        try:
            request = parse_request(data, self.limits.fields)
        except ClientError as error:
            raise self._broken(error) from None
        if request is None or request.has_body:
            return None
        plain = request.plain
        assert plain is not None
        self._request = request
        self._closes = plain.traits & _CLOSE != 0
        self.request_ended = True
        return request

    def next_event(self) -> ServerEvent | None:
        """The next event; None: more bytes, or the end of the present exchange, are needed first.

        Raises ClientError with the status to answer with (400, 417, 431, 501, 505), or 0 when the
        client left in mid-request. Nothing may be received after that.
        """
        if self._request is None:
            return self._next_head()
        if self.request_ended:
            return None
        body = self._body
        if body is not None:
            if not body.is_over:
                data = self._next_piece(body)
                if data:
                    self.expects_continue = False
                    return Body(data)
            if not body.is_over:
                if self._eof:
                    raise self._broken(ClientError("the client left in the middle of a request", 0))
                return None
            self._body = None
            if body.rest:
                self._hold(body.rest)
            self.expects_continue = False
            self.request_ended = True
            return End(body.trailers)
        self.request_ended = True
        return _END

    def _next_piece(self, body: BodyReader) -> bytes:
        data = self._fresh
        if data:
            self._fresh = b""
        elif self._held:
            data = self._held.take_all()
        else:
            return b""
        try:
            return body.read(data)
        except ValueError as error:
            raise self._broken(ClientError(str(error))) from None

    def _broken(self, error: ClientError) -> ClientError:
        self._is_broken = True
        return error

    def _next_head(self) -> Request | None:
        fresh = self._fresh
        if fresh:
            request = self._fresh_head(fresh)
            if request is not None:
                return request
            self._held.feed(fresh)
            self._fresh = b""
        try:
            return self._strict_head()
        except ClientError as error:
            raise self._broken(error) from None

    def _fresh_head(self, fresh: bytes) -> Request | None:
        """The request whose whole head *fresh* begins with, where that is a plain one."""
        end = fresh.find(b"\r\n\r\n") + 4
        if end < 4 or end > self.limits.head_size:
            return None
        whole = end == len(fresh)
        try:
            request = parse_request(fresh if whole else fresh[:end], self.limits.fields)
        except ClientError as error:
            raise self._broken(error) from None
        if request is None:
            return None
        plain = request.plain
        assert plain is not None
        self._request = request
        self._fresh = b"" if whole else fresh[end:]
        if request.has_body:
            self._body = self._reader(plain.traits & _CODING, plain.length)
        self._closes = plain.traits & _CLOSE != 0
        return request

    def _reader(self, is_chunked: int, length: int) -> BodyReader:
        return Chunked(self.limits.head_size, self.limits.fields) if is_chunked else Counted(length)

    def _strict_head(self) -> Request | None:
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
        request = self._checked(_read_request(head))
        self._request = request
        if request.has_body:
            length = content_length(request.headers)
            self._body = self._reader(length is None, length or 0)
        options = tokens(request.headers, b"connection")
        self._is_old = request.version == "1.0"
        self._closes = b"close" in options or (self._is_old and b"keep-alive" not in options)
        self.expects_continue = request.version == "1.1" and get(request.headers, b"expect") is not None
        if not request.has_body:
            self.expects_continue = False
        return request

    def _checked(self, event: h11.Request) -> Request:
        headers = event.headers.raw_items()
        if len(headers) > self.limits.fields:
            raise ClientError(f"more than {self.limits.fields} header fields", 431)
        method, version = event.method.decode("ascii"), event.http_version.decode("ascii")
        target = parse_target(event.target, method)
        check_request_fields(headers, target, version)
        if target.authority:
            headers = [(b"Host", target.authority), *without(headers, {b"host"})]
        is_chunked = get(headers, b"transfer-encoding") is not None
        has_body = is_chunked or get(headers, b"content-length") is not None
        return Request(method, target, headers, version, has_body)

    def proceed(self) -> bytes:
        """100 Continue, for a client that `expects_continue`."""
        self.expects_continue = False
        return b"HTTP/1.1 100 Continue\r\n\r\n"

    def interim(self, status: int, headers: Headers) -> bytes:
        """A 1xx head before the final one; nothing for a client of HTTP/1.0, which knows none (RFC 9110
        §15.2).
        """
        if self._request is None or self._request.version == "1.0" or self.response_started:
            return b""
        return head_of(b"HTTP/1.1 %d %b" % (status, reason_of(status)), headers)

    def start(
        self,
        status: int,
        headers: Headers,
        reason: bytes,
        *,
        close: bool = False,
        date: bytes = b"",
        server: bytes = b"",
    ) -> bytes:
        """The head of the final response.

        Framing is added where *headers* has no Content-Length: chunked, or close for HTTP/1.0; and *date* and
        *server*, whole lines, where it has no such field. *close* makes it the last response of the
        connection. Raises ValueError for a head that cannot be sent, such as a line break in a value.
        """
        if not 200 <= status <= 999 or not REASON.fullmatch(reason):
            raise ValueError(f"{status} {reason!r} is no final status with a reason phrase")
        lines, traits, length, said = outgoing_lines(b"HTTP/1.1 %d %b" % (status, reason), headers, status)
        writer = self._writer_for(status, length)
        options = b",".join(said).lower()
        closes = close or self._closes or b"close" in options or self._request is None
        if date and not traits & _DATE:
            lines.append(date)
        if server and not traits & _SERVER:
            lines.append(server)
        if writer is not None and writer.left < 0:
            if writer.is_chunked:
                lines.append(b"Transfer-Encoding: chunked")
            else:
                closes = True
        if closes:
            lines.append(b"Connection: close")
        elif self._is_old:
            lines.append(b"Connection: keep-alive")
        elif said:
            lines.append(b"Connection: " + b", ".join(said))
        head = joined(lines)
        # From here on nothing fails: before it, an error page can still be sent instead.
        self._closes = closes
        self._writer = writer
        self.response_started = True
        return head

    def _writer_for(self, status: int, length: int | None) -> _BodyWriter | None:
        request = self._request
        if status in (204, 304) or (request is not None and request.method == "HEAD"):
            return None
        if length is not None:
            return _BodyWriter(length, False)
        return _BodyWriter(-1, request is not None and request.version == "1.1")

    @property
    def may_pass(self) -> bool:
        """Whether the connection stays, so that the head of a response needs no word about it."""
        return not (self._closes or self._is_broken or self._eof or self._is_old or self.expects_continue)

    def start_as_it_is(self, status: int, length: int) -> bool:
        """A head that is made elsewhere is sent now, which says *length*, or -1 for no length at all.

        False, and nothing has changed, where the end of the body would not be told by that.
        """
        if status in (204, 304) or (self._request is not None and self._request.method == "HEAD"):
            self._writer = None
        elif length < 0:
            return False
        else:
            self._writer = _BodyWriter(length, False)
        self.response_started = True
        return True

    def body(self, data: bytes) -> bytes:
        """A piece of the response's body; dropped where there can be none (HEAD, 204, 304).

        Raises ValueError when it is more than Content-Length said.
        """
        return b"" if self._writer is None else self._writer.body(data)

    def leave_out(self, size: int) -> bool:
        """The next *size* bytes of the response's body are sent elsewhere, as they are.

        False, and nothing has changed, where they need framing or are not to be sent.
        """
        writer = self._writer
        if writer is None or writer.is_chunked or 0 <= writer.left < size:
            return False
        if writer.left >= 0:
            writer.left -= size
        return True

    def end(self, trailers: Headers | None = None) -> bytes:
        """The response is complete; raises ValueError when it is less than Content-Length said.

        *trailers* go out only where the body is chunked.
        """
        last = b"" if self._writer is None else self._writer.end(trailers)
        self.response_ended = True
        return last

    def switch(self, headers: Headers, reason: bytes) -> bytes:
        """The head of a 101: what has come behind the request, `take_rest`, is of another protocol.

        Raises ValueError for a head that cannot be sent.
        """
        head = head_of(b"HTTP/1.1 101 " + reason, headers)
        self._closes = True
        self.response_started = self.response_ended = True
        return head

    def take_rest(self) -> bytes:
        """All that is held; once, after `switch`."""
        rest, self._fresh = self._held.take_all() + self._fresh, b""
        return rest

    def answer_as_it_is(self) -> None:
        """A whole response that is made elsewhere is sent now; only where it `may_pass`."""
        self.response_started = self.response_ended = True

    def next_cycle(self) -> None:
        """Be ready for the next request; only when `keeps_alive`."""
        self._request = self._body = self._writer = None
        self.expects_continue = self._is_old = False
        self.response_started = self.response_ended = self.request_ended = False


def _read_request(head: bytes) -> h11.Request:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head))
    connection.receive_data(head)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as exc:
        raise ClientError(str(exc), exc.error_status_hint) from None
    assert isinstance(event, h11.Request), "h11 refuses or takes a head that is complete"
    return event


class ClientEngine:
    """One request to a server and its response.

    Use: send what `request`, `body` and `end` return; `receive` bytes and call `next_event` until it
    returns None. When it is `reusable`, `next_cycle` makes it ready for the next request.
    """

    __slots__ = (
        "_asked",
        "_body",
        "_closes",
        "_eof",
        "_fresh",
        "_held",
        "_interims",
        "_is_head",
        "_method",
        "_request_ended",
        "_response",
        "_writer",
        "limits",
        "response_ended",
    )

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._held = HeadBuffer(self.limits.head_size, STATUS_LINE, skips=False)
        self._fresh = b""
        self._eof = False
        self._method = "GET"
        self._asked: list[bytes] = []
        """Protocols that the server may change to."""
        self._is_head = False
        self._interims = 0
        self._response: Response | None = None
        self._body: BodyReader | None = None
        self._writer: _BodyWriter | None = None
        self._closes = False
        self._request_ended = False
        self.response_ended = False

    @property
    def reusable(self) -> bool:
        """Whether both messages are complete and the server keeps the connection open."""
        done = self.response_ended and self._request_ended and not self._closes
        return done and not self._eof and not self._fresh and not self._held

    @property
    def is_untouched(self) -> bool:
        """Whether not a byte of the response has come."""
        return self._response is None and not self._fresh and not self._held

    def next_cycle(self) -> None:
        """Be ready for the next request."""
        self._response = self._body = None
        self._interims = 0
        self._is_head = self._closes = self._request_ended = self.response_ended = False

    def request(self, method: str, target: bytes, headers: Headers) -> bytes:
        """The request head; without framing fields in *headers* there is no body.

        Raises ValueError for a head that cannot be sent.
        """
        if not _METHOD.fullmatch(method) or not _TARGET.fullmatch(target):
            raise ValueError("malformed method or target")
        length = content_length(headers)
        is_chunked = get(headers, b"transfer-encoding") is not None
        head = head_of(b"%b %b HTTP/1.1" % (method.encode("ascii"), target), headers)
        self.begin_as_it_is(method)
        options = tokens(headers, b"connection")
        self._closes = b"close" in options
        self._asked = tokens(headers, b"upgrade") if b"upgrade" in options else []
        self._writer = _BodyWriter(-1 if is_chunked else length or 0, is_chunked)
        return head

    def begin_as_it_is(self, method: str) -> None:
        """A request without a body is sent without this engine: it only keeps count. Then comes `end`."""
        self._method = method
        self._is_head = method == "HEAD"
        self._asked = []
        self._writer = None

    def body(self, data: bytes) -> bytes:
        """A piece of the request's body."""
        return b"" if self._writer is None else self._writer.body(data)

    def end(self) -> bytes:
        """The request is complete."""
        last = b"" if self._writer is None else self._writer.end()
        self._request_ended = True
        return last

    def receive(self, data: bytes) -> None:
        """Take bytes from the server; ``b""`` when it will send no more."""
        if not data:
            self._eof = True
        elif self._fresh or self._held:
            self._hold(data)
        else:
            self._fresh = data

    def _hold(self, data: bytes) -> None:
        if self._fresh:
            self._held.feed(self._fresh)
            self._fresh = b""
        self._held.feed(data)

    def take_whole(self, data: bytes) -> tuple[Response, bytes] | None:
        """The response that *data* is, and its body, where it is exactly one plain message with a length.

        Then nothing more has to be asked for, and else nothing has changed: `receive` it.
        """
        if self._response is not None or self._fresh or self._held or not self._request_ended:
            return None
        end = data.find(b"\r\n\r\n") + 4
        if end < 4 or end > self.limits.head_size:
            return None
        response = parse_response(data[:end], self.limits.fields)
        if response is None:
            return None
        plain = response.plain
        assert plain is not None
        length = 0 if self._is_head or response.status in (204, 304) else plain.length
        if len(data) - end != length or plain.traits & _CODING:
            return None
        self._response = response
        if plain.traits & _CLOSE:
            self._closes = True
        self.response_ended = True
        return response, data[end:]

    def next_event(self) -> ClientEvent | None:
        """The next event, None when more bytes are needed.

        Raises BadResponse when the server breaks the protocol or leaves before the end.
        """
        if self.response_ended:
            return None
        if self._response is None:
            return self._next_head()
        body = self._body
        if body is None:
            self.response_ended = True
            return _END
        if not body.is_over:
            data = self._next_piece(body)
            if data:
                return Body(data)
            if not body.is_over:
                if not self._eof:
                    return None
                self._finish(body)
        self._body = None
        self.response_ended = True
        if body.rest:
            self._hold(body.rest)
        return End(body.trailers)

    def _next_piece(self, body: BodyReader) -> bytes:
        data = self._fresh
        if data:
            self._fresh = b""
        elif self._held:
            data = self._held.take_all()
        else:
            return b""
        try:
            return body.read(data)
        except ValueError as error:
            raise BadResponse(f"the server broke the protocol: {error}") from None

    def _finish(self, body: BodyReader) -> None:
        try:
            body.finish()
        except ValueError as error:
            raise BadResponse(f"the server closed the connection too early: {error}") from None

    def _next_head(self) -> Interim | Response | None:
        fresh = self._fresh
        if fresh:
            response = self._fresh_head(fresh)
            if response is not None:
                return response
            self._held.feed(fresh)
            self._fresh = b""
        return self._strict_head()

    def _fresh_head(self, fresh: bytes) -> Response | None:
        end = fresh.find(b"\r\n\r\n") + 4
        if end < 4 or end > self.limits.head_size:
            return None
        response = parse_response(fresh[:end], self.limits.fields)
        if response is None:
            return None
        plain = response.plain
        assert plain is not None
        self._fresh = fresh[end:]
        self._frame(response, plain.traits & _CODING != 0, plain.length)
        if plain.traits & _CLOSE:
            self._closes = True
        return response

    def _frame(self, response: Response, is_chunked: bool, length: int) -> None:
        """RFC 9112 §6.3: where the body of *response* ends."""
        self._response = response
        if self._is_head or response.status in (204, 304):
            self._body = None
        elif is_chunked:
            self._body = Chunked(self.limits.head_size, self.limits.fields)
        elif length >= 0:
            self._body = Counted(length) if length else None
        else:
            self._body = ToTheEnd()
            self._closes = True

    def _strict_head(self) -> Interim | Response | None:
        try:
            head = self._held.take()
        except (OverflowError, ValueError) as exc:
            raise BadResponse(f"malformed response: {exc}") from None
        if head is None:
            if self._eof:
                raise BadResponse("the server closed the connection before it answered")
            return None
        check_response_head(head)
        event = _read_response(head, self._method, self._asked)
        headers = event.headers.raw_items()
        if len(headers) > self.limits.fields:
            raise BadResponse(f"more than {self.limits.fields} header fields")
        version = event.http_version.decode("ascii")
        if isinstance(event, h11.InformationalResponse):
            if event.status_code == 101:
                return self._switched(headers, event.reason, version)
            self._interims += 1
            if self._interims > _MOST_INTERIMS:
                raise BadResponse(f"more than {_MOST_INTERIMS} interim responses")
            return Interim(event.status_code, headers)
        check_response_fields(headers, version)
        response = Response(event.status_code, headers, event.reason, version)
        length = content_length(headers)
        is_chunked = get(headers, b"transfer-encoding") is not None
        self._frame(response, is_chunked, -1 if length is None else length)
        if version == "1.0" or b"close" in tokens(headers, b"connection"):
            self._closes = True
        return response

    def _switched(self, headers: Headers, reason: bytes, version: str) -> Response:
        if not self._request_ended or version != "1.1" or not changes_to(headers, self._asked):
            raise BadResponse("the server changed the protocol to one that it was not asked for")
        self._response = Response(101, headers, reason)
        self._closes = self.response_ended = True
        return self._response

    def take_rest(self) -> bytes:
        """What has come behind a 101; once."""
        rest, self._fresh = self._held.take_all() + self._fresh, b""
        return rest


def _read_response(head: bytes, method: str, asked: list[bytes]) -> h11.Response | h11.InformationalResponse:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=len(head))
    headers = [(b"Host", b"h")]
    if asked:
        headers += [(b"Connection", b"Upgrade"), (b"Upgrade", b", ".join(asked))]
    connection.send(h11.Request(method=method, target=b"/", headers=headers))
    connection.send(h11.EndOfMessage())
    connection.receive_data(head)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError as exc:
        raise BadResponse(f"the server broke the protocol: {exc}") from None
    assert isinstance(event, h11.Response | h11.InformationalResponse), "h11 refuses or takes a whole head"
    return event
