"""HTTP/1.1: heads, requests, responses, chunks, targets and the fields that are understood."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterator

from fuzz.target import Target, agree, pieces
from lbkit.errors import BadResponse, ClientError
from lbkit.http import engine
from lbkit.http.chunks import ChunkReader
from lbkit.http.conditional import Validators, evaluate, range_applies
from lbkit.http.dates import format_date, parse_date
from lbkit.http.engine import ClientEngine, ServerEngine
from lbkit.http.forwarded import Hop, client_of, forwarded_headers, scheme_of
from lbkit.http.heads import head_of
from lbkit.http.hop_by_hop import HOP_BY_HOP, end_to_end
from lbkit.http.messages import Body, End, Headers, Interim, Request, Response, get_all, without
from lbkit.http.plain import parse_request, parse_response
from lbkit.http.ranges import MOST_RANGES, parse_ranges
from lbkit.http.rfc7239 import clients_of, element
from lbkit.http.targets import parse_target
from lbkit.http.tracing import parse_traceparent, valid_tracestate
from lbkit.proxy.keys import cookie_of
from tests.http.corpus import PASSED, REQUESTS, RESPONSES

__all__ = ["TARGETS"]

WHOLE = 1 << 20
NOW = 1_800_000_000.0


@contextlib.contextmanager
def strictly() -> Iterator[None]:
    """No head is plain."""
    fast = engine.parse_request, engine.parse_response
    engine.parse_request = engine.parse_response = lambda head, most: None  # type: ignore[assignment]
    try:
        yield
    finally:
        engine.parse_request, engine.parse_response = fast


# ---- requests ----

Exchanges = list[tuple[Request, bytes, Headers]]


def read_requests(data: bytes, size: int) -> tuple[Exchanges, str]:
    """Whole requests with body and trailers, and how it ends: refused, closed, or open."""
    reader, found = ServerEngine(), Exchanges()
    body = b""
    try:
        for piece in pieces(data, size):
            reader.receive(piece)
            while (event := reader.next_event()) is not None:
                if isinstance(event, Request):
                    request, body = event, b""
                elif isinstance(event, Body):
                    assert event.data
                    body += event.data
                else:
                    found.append((request, body, event.trailers))
                    reader.start(200, [(b"Content-Length", b"0")], b"OK")
                    reader.end()
                    if not reader.keeps_alive:
                        return found, "closed"
                    reader.next_cycle()
    except ClientError as error:
        assert error.status in (400, 417, 431, 501, 505)
        return found, "refused"
    return found, "open"


def check_requests(data: bytes) -> None:
    """However a stream is cut, and by whichever way it is read, it is the same; so is what is made of it."""
    size, data = data[0] % 16 + 1 if data else 1, data[1:]
    whole = read_requests(data, WHOLE)
    with strictly():
        ways = [("strict", read_requests(data, WHOLE)), ("strict, in pieces", read_requests(data, size))]
    agree([("whole", whole), ("in pieces", read_requests(data, size)), *ways])
    for request, body, _ in whole[0]:
        check_sent_on(request, body)


def check_sent_on(request: Request, body: bytes) -> None:
    """As a proxy would send it, and as the same parser reads it behind."""
    headers = without(request.headers, {b"expect", b"connection"})
    if request.version == "1.0" and not get_all(headers, b"host"):
        headers.append((b"Host", b"h"))
    writer = ClientEngine()
    sent = writer.request(request.method, request.target.origin_form, headers)
    if request.has_body:
        sent += writer.body(body)
    sent += writer.end()
    ((again, content, _),), end = read_requests(sent, WHOLE)
    assert end == "open" and content == body
    assert (again.method, again.path, again.target.query) == (
        request.method,
        request.path,
        request.target.query,
    )
    assert again.headers == headers and again.target.origin_form == request.target.origin_form


def check_heads(data: bytes) -> None:
    """Whatever the fast parser takes, the strict way takes with the same meaning."""
    data = data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    for fast, read in ((parse_request, strict_request), (parse_response, strict_response)):
        try:
            taken = fast(data, 100)
        except ClientError as error:
            assert fast is parse_request and error.status == 400
            assert read(data) is None
            continue
        if taken is None or len(data) > 16 * 1024:
            continue
        assert taken == read(data)
        plain = taken.plain
        assert plain is not None
        assert b"\r\n".join([*plain.lines, b"", b""]) == data
        hops = {plain.lines[place].partition(b":")[0].lower() for place in plain.hops or ()}
        assert hops == {name.lower() for name, _ in taken.headers} & HOP_BY_HOP
        assert head_of(plain.lines[0], taken.headers) == data


def strict_request(data: bytes) -> Request | None:
    reader = ServerEngine()
    with strictly(), contextlib.suppress(ClientError):
        reader.receive(data)
        event = reader.next_event()
        assert event is None or isinstance(event, Request)
        return event
    return None


def strict_response(data: bytes) -> Response | None:
    reader = ClientEngine()
    reader.begin_as_it_is("GET")
    with strictly(), contextlib.suppress(BadResponse):
        reader.receive(data)
        event = reader.next_event()
        assert event is None or isinstance(event, Response)
        return event
    return None


# ---- responses ----


def read_response(data: bytes, size: int, method: str, ends: bool) -> object:
    """Interim heads, head, body and trailers, how it ends, and whether the connection may be used again."""
    reader = ClientEngine()
    reader.begin_as_it_is(method)
    reader.end()
    body, heads, trailers, end = b"", [], [], "open"
    try:
        for piece in [*pieces(data, size), *[b""] * ends]:
            reader.receive(piece)
            while (event := reader.next_event()) is not None:
                if isinstance(event, Interim | Response):
                    heads.append(event)
                elif isinstance(event, Body):
                    assert event.data
                    body += event.data
                elif isinstance(event, End):
                    trailers, end = event.trailers, "over"
    except BadResponse:
        # How much of a body came before the mistake depends on the pieces: the answer is cut anyway.
        return [head for head in heads if isinstance(head, Response)], "refused"
    return heads, body, trailers, end, reader.reusable


def check_responses(data: bytes) -> None:
    """However an answer is cut, and by whichever way it is read, it is the same."""
    first, data = data[0] if data else 0, data[1:]
    size, method, ends = first % 16 + 1, "HEAD" if first & 16 else "GET", first & 32 != 0
    with strictly():
        ways = [(f"strict {step}", read_response(data, step, method, ends)) for step in (WHOLE, size)]
    agree([(f"fast {step}", read_response(data, step, method, ends)) for step in (WHOLE, size)] + ways)
    reader = ClientEngine()
    reader.begin_as_it_is(method)
    reader.end()
    taken = reader.take_whole(data)
    if taken is not None:
        heads, body, _, end, reusable = read_response(data, WHOLE, method, False)  # type: ignore[misc]
        assert ([taken[0]], taken[1], "over", reader.reusable) == (heads, body, end, reusable)


# ---- chunks ----


def read_chunks(data: bytes, size: int) -> object:
    reader, body = ChunkReader(), b""
    try:
        for piece in pieces(data, size):
            body += reader.read(piece)
    except ValueError:
        return "refused"
    return body, reader.is_over, reader.trailers, reader.take_rest() if reader.is_over else b""


def check_chunks(data: bytes) -> None:
    """However it is cut, it is the same; what is read and written anew is read as that."""
    size, data = data[0] % 16 + 1 if data else 1, data[1:]
    whole = read_chunks(data, WHOLE)
    agree([("whole", whole), ("in pieces", read_chunks(data, size)), ("bytes", read_chunks(data, 1))])
    if isinstance(whole, tuple):
        body = whole[0]
        sent = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces(body, size)) + b"0\r\n\r\n"
        assert read_chunks(sent, WHOLE) == (body, True, [], b"")


# ---- targets ----


def check_targets(data: bytes) -> None:
    """A path is normal once it is read, and what is sent on is read as the same."""
    for method in ("GET", "OPTIONS", "CONNECT"):
        try:
            target = parse_target(data, method)
        except ClientError as error:
            assert error.status in (400, 501)
            continue
        path = target.path
        assert path == b"*" or path.startswith(b"/")
        assert not {b".", b".."} & set(path.split(b"/")) and b"//" not in path and b"\0" not in path
        again = parse_target(target.origin_form, method)
        assert (again.path, again.query, again.has_query) == (path, target.query, target.has_query)
        assert again.origin_form == target.origin_form


# ---- fields ----


def check_ranges(data: bytes) -> None:
    """Ranges are bounded in number, not empty, and inside of what there is."""
    for size in (0, 1, 1000, 2**40):
        found = parse_ranges(data, size)
        assert found is None or len(found) <= MOST_RANGES
        for one in found or ():
            assert 0 <= one.start < one.stop <= size
            assert one.content_range(size).startswith(b"bytes ")


def fields_of(data: bytes, names: tuple[bytes, ...]) -> Headers:
    """The lines of *data* as values of *names* in turn; what no parser would have let through is left out."""
    values = [
        line
        for line in data.split(b"\n")
        if not line.translate(None, bytes(range(32, 127)) + bytes(range(128, 256)))
    ]
    return [(names[place % len(names)], value.strip()) for place, value in enumerate(values)]


def check_conditional(data: bytes) -> None:
    """There is always an answer."""
    names = (b"If-Match", b"If-None-Match", b"If-Modified-Since", b"If-Unmodified-Since", b"If-Range")
    headers = fields_of(data, names)
    for etag in (b'"a"', b'W/"a"', b""):
        current = Validators(etag, 1_700_000_000)
        assert evaluate("GET", headers, current, NOW) in (200, 304, 412)
        assert evaluate("POST", headers, current, NOW) in (200, 412)
        assert range_applies(headers, current, NOW) in (True, False)


def check_dates(data: bytes) -> None:
    """What is read is written as the same moment."""
    seconds = parse_date(data, NOW)
    if seconds is not None and seconds < 253_402_300_800:  # the leap second of the last year is in the next
        assert parse_date(format_date(seconds), NOW) == seconds


def check_forwarded(data: bytes) -> None:
    """Nobody but a trusted neighbour has a say, and there is one of each."""
    names = (
        b"X-Forwarded-For",
        b"X-Forwarded-Proto",
        b"X_Forwarded_For",
        b"Forwarded",
        b"Via",
        b"Connection",
        b"Host",
    )
    headers = fields_of(data, names)
    trusted = {"127.0.0.1"}
    for hop in (Hop("192.0.2.7", "http"), Hop("127.0.0.1", "https"), Hop("", "http")):
        sent = forwarded_headers(end_to_end(headers), hop, "lb", trusted)
        head_of(b"GET / HTTP/1.1", sent)
        for name in (b"x-forwarded-for", b"x-forwarded-proto", b"via"):
            assert len(get_all(sent, name)) == (name != b"x-forwarded-for" or bool(hop.ip))
        assert not get_all(sent, b"x_forwarded_for")
        client = client_of(headers, hop, trusted)
        assert scheme_of(headers, hop, trusted) in ("http", "https")
        if hop.ip not in trusted:
            assert client is None and not get_all(sent, b"forwarded")
            assert get_all(sent, b"x-forwarded-for") == ([hop.ip.encode()] if hop.ip else [])


def check_elements(data: bytes) -> None:
    """RFC 7239: only addresses come out, and one more hop says that and no other."""
    values = [value for _, value in fields_of(data, (b"Forwarded",)) if value]
    clients = clients_of(values)
    for client in clients:
        assert not client or ipaddress.ip_address(client)
    for last in ("192.0.2.7", "2001:db8::1", ""):
        told = clients_of([*values, element(last, "https", b'a"\\.example:80')])
        assert told == [*clients, last] or (not clients and (not told or told == [last]))


def check_traces(data: bytes) -> None:
    """What is read is written as the same."""
    values = [value for _, value in fields_of(data, (b"traceparent",))]
    parent = parse_traceparent(values[:1])
    if parent is not None:
        assert parse_traceparent([bytes(parent)]) == parent
        assert parse_traceparent([bytes(parent)] * 2) is None
    state = valid_tracestate(values)
    assert not state or valid_tracestate([state]) == state


def check_cookies(data: bytes) -> None:
    """A cookie is one part of the field."""
    for name in (b"a", b"", b"session"):
        value = cookie_of(fields_of(data, (b"Cookie",)), name)
        assert value is None or (b";" not in value and value in data)


STREAMS = tuple(b"\6" + case.data for case in REQUESTS.values() if len(case.data) < 4000)
ANSWERS = tuple(
    bytes([6 | (answer.method == "HEAD") << 4 | answer.ends << 5]) + answer.data
    for answer in RESPONSES.values()
    if len(answer.data) < 4000
)
BODIES = tuple(
    b"\6" + stream.partition(b"chunked\r\n\r\n")[2] for stream in STREAMS if b"chunked\r\n\r\n" in stream
)
HEADS = tuple({data[1:].partition(b"\r\n\r\n")[0] for data in (*STREAMS, *ANSWERS)})
DATES = (b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994")
TAGS = (b'"a"', b'W/"a", "b"', b"*")

TARGETS = (
    Target("requests", check_requests, STREAMS),
    Target("heads", check_heads, HEADS),
    Target("responses", check_responses, ANSWERS),
    Target("chunks", check_chunks, BODIES),
    Target(
        "targets", check_targets, tuple({line[1] for head in HEADS if len(line := head.split(b" ", 2)) > 2})
    ),
    Target("ranges", check_ranges, (b"bytes=0-1", b"bytes=-5", b"bytes=5-", b"bytes=0-1,3-", b"bytes=9-1")),
    Target("conditional", check_conditional, tuple(b"\n".join([*TAGS, date]) for date in DATES)),
    Target("dates", check_dates, DATES),
    Target(
        "forwarded",
        check_forwarded,
        (
            b"192.0.2.1, ::1\nhttps\nx\nfor=a\n1.0 x\nVia\nh",
            b"\n".join(c for p in PASSED.values() for c in p.sent),
        ),
    ),
    Target(
        "elements",
        check_elements,
        (
            b'for=192.0.2.1;proto=http, for="[2001:db8::1]:80"',
            b"for=unknown;by=_x\nfor=192.0.2.1",
            b'for="a\\"b"',
        ),
    ),
    Target(
        "traces",
        check_traces,
        (
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\na=b,c@d=e",
            b"01-" + b"1" * 32 + b"-" + b"2" * 16 + b"-00-x",
        ),
    ),
    Target("cookies", check_cookies, (b"a=b; session=c", b'a="b";;=c', b"=; a")),
)
