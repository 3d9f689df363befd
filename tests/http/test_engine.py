from __future__ import annotations

import contextlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.errors import BadResponse, ClientError
from lbkit.http.engine import ClientEngine, ClientEvent, Limits, ServerEngine, ServerEvent
from lbkit.http.messages import Body, End, Interim, Request, Response
from tests.http.corpus import REQUESTS, RESPONSES, Answer

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"


def events_of(engine: ServerEngine) -> list[ServerEvent]:
    events = []
    while (event := engine.next_event()) is not None:
        events.append(event)
    return events


def joined(events: list[ServerEvent] | list[ClientEvent]) -> list[object]:
    """The events with neighbouring pieces of a body joined, which framing may cut anywhere."""
    result: list[object] = []
    for event in events:
        if isinstance(event, Body) and result and isinstance(result[-1], Body):
            result[-1] = Body(result[-1].data + event.data)
        else:
            result.append(event)
    return result


def bodies_of(events: Sequence[object]) -> tuple[bytes, ...]:
    """Of all requests of *events*, in order."""
    bodies: list[bytes] = []
    for event in events:
        if isinstance(event, Request):
            bodies.append(b"")
        elif isinstance(event, Body):
            bodies[-1] += event.data
    return tuple(bodies)


def serve(
    engine: ServerEngine, data: bytes, size: int, seen: list[ServerEvent] | None = None
) -> list[object]:
    """Feed *data* in pieces of *size*, answering every request; all events, which are put in *seen* as they come."""
    seen = [] if seen is None else seen
    for start in range(0, len(data), size):
        engine.receive(data[start : start + size])
        while True:
            while (event := engine.next_event()) is not None:
                seen.append(event)
            if not engine.request_ended:
                break
            engine.start(200, [(b"Content-Length", b"0")], b"")
            engine.end()
            if not engine.keeps_alive:
                return joined(seen)
            engine.next_cycle()
    return joined(seen)


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_the_corpus_in_pieces(name: str, size: int) -> None:
    case = REQUESTS[name]
    engine = ServerEngine()
    seen: list[ServerEvent] = []
    if case.status == 200:
        serve(engine, case.data, size, seen)
        assert isinstance(seen[0], Request) and isinstance(seen[-1], End)
        assert bodies_of(seen) == case.bodies
        return
    with pytest.raises(ClientError) as caught:
        serve(engine, case.data, size, seen)
    assert caught.value.status == case.status
    assert bodies_of(seen)[: sum(isinstance(event, End) for event in seen)] == case.bodies
    assert (
        b"\r\n\r\n" in engine.start(case.status, [(b"Content-Length", b"0")], b"", close=True) + engine.end()
    )
    assert not engine.keeps_alive


@given(st.lists(st.sampled_from([GET, POST, CHUNKED]), min_size=1, max_size=4), st.integers(1, 60))
def test_pipelined_requests_are_the_same_however_they_arrive(requests: list[bytes], size: int) -> None:
    data = b"".join(requests)
    assert serve(ServerEngine(), data, size) == serve(ServerEngine(), data, len(data))


def test_a_request_keeps_the_case_of_its_fields() -> None:
    engine = ServerEngine()
    engine.receive(b"GET /a?b HTTP/1.1\r\nhOST: h\r\nX-Odd: 1 \r\n\r\n")
    request, end = events_of(engine)
    assert isinstance(request, Request) and isinstance(end, End)
    assert request.headers == [(b"hOST", b"h"), (b"X-Odd", b"1")]
    assert (request.method, request.version, request.has_body) == ("GET", "1.1", False)


@pytest.mark.parametrize("size", range(len(GET)))
def test_the_beginning_of_a_request_is_no_whole_one(size: int) -> None:
    engine = ServerEngine()
    assert engine.take_whole(GET[:size]) is None
    assert engine.awaits_head and not engine.buffered
    engine.receive(GET)
    assert isinstance(engine.next_event(), Request)


def test_an_absolute_target_rules_over_host() -> None:
    engine = ServerEngine()
    engine.receive(b"GET http://b.example:81/x HTTP/1.1\r\nHost: a.example\r\nA: b\r\n\r\n")
    request = events_of(engine)[0]
    assert isinstance(request, Request)
    assert request.headers == [(b"Host", b"b.example:81"), (b"A", b"b")]
    assert request.target.origin_form == b"/x"


def test_the_next_request_waits_for_the_response() -> None:
    engine = ServerEngine()
    engine.receive(GET + POST)
    assert len(events_of(engine)) == 2
    assert engine.buffered == len(POST)
    engine.start(200, [(b"Content-Length", b"0")], b"OK")
    engine.end()
    assert engine.keeps_alive
    engine.next_cycle()
    request = engine.next_event()
    assert isinstance(request, Request) and request.method == "POST"


def answer(request: bytes, status: int, headers: list[tuple[bytes, bytes]], *pieces: bytes) -> bytes:
    engine = ServerEngine()
    engine.receive(request)
    events_of(engine)
    sent = engine.start(status, headers, b"R")
    for piece in pieces:
        sent += engine.body(piece)
    return sent + engine.end()


def test_framing_of_responses() -> None:
    assert answer(GET, 200, [], b"ab", b"c").endswith(b"\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")
    assert answer(GET, 200, [(b"Content-Length", b"3")], b"ab", b"c").endswith(b"\r\n\r\nabc")
    old = answer(b"GET / HTTP/1.0\r\n\r\n", 200, [], b"ab", b"c")
    assert old.endswith(b"\r\n\r\nabc") and b"Connection: close" in old and b"chunked" not in old


@pytest.mark.parametrize(
    ("request_", "status"), [(GET.replace(b"GET", b"HEAD"), 200), (GET, 204), (GET, 304)]
)
def test_responses_without_a_body_stay_without(request_: bytes, status: int) -> None:
    sent = answer(request_, status, [(b"Content-Length", b"3")], b"abc")
    assert sent.endswith(b"\r\n\r\n") and b"abc" not in sent
    assert (b"Content-Length" in sent) is (status != 204)


def test_a_body_that_is_sent_elsewhere_is_counted() -> None:
    engine = begun()
    engine.start(200, [(b"Content-Length", b"5")], b"OK")
    assert not engine.leave_out(6)
    assert engine.leave_out(4)
    assert engine.body(b"x") == b"x"
    engine.end()
    for headers, request_ in (([(b"Content-Length", b"5")], b"HEAD"), ([], b"GET")):
        engine = begun(request_)  # a body that there is not, and a chunked one
        engine.start(200, headers, b"OK")
        assert not engine.leave_out(1)


def begun(method: bytes = b"GET") -> ServerEngine:
    engine = ServerEngine()
    assert engine.take_whole(method + b" / HTTP/1.1\r\nHost: h\r\n\r\n") is not None
    return engine


def test_a_wrong_length_is_the_handlers_fault() -> None:
    with pytest.raises(ValueError):
        answer(GET, 200, [(b"Content-Length", b"2")], b"abc")
    with pytest.raises(ValueError):
        answer(GET, 200, [(b"Content-Length", b"4")], b"abc")


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ((b"A", b"b\r\nSet-Cookie: x"), b"OK"),
        ((b"A\r\nB", b"c"), b"OK"),
        ((b"A", b"b"), b"OK\r\nSet-Cookie: x"),
    ],
)
def test_a_head_that_cannot_be_sent_leaves_room_for_an_error_page(
    field: tuple[bytes, bytes], reason: bytes
) -> None:
    engine = ServerEngine()
    engine.receive(GET)
    events_of(engine)
    with pytest.raises(ValueError):
        engine.start(200, [field], reason)
    assert engine.start(500, [(b"Content-Length", b"0")], b"").startswith(b"HTTP/1.1 500")


def test_100_continue() -> None:
    engine = ServerEngine()
    engine.receive(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert len(events_of(engine)) == 1
    assert engine.expects_continue
    assert engine.proceed() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert not engine.expects_continue
    engine.receive(b"ab")
    assert events_of(engine) == [Body(b"ab"), End()]


def test_close_is_kept_and_told() -> None:
    engine = ServerEngine()
    engine.receive(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    events_of(engine)
    assert b"Connection: close" in engine.start(200, [(b"Content-Length", b"0")], b"")
    engine.end()
    assert not engine.keeps_alive


@pytest.mark.parametrize("cut", [1, 20, len(POST) - 1])
def test_a_client_that_leaves_in_mid_request_gets_no_answer(cut: int) -> None:
    engine = ServerEngine()
    engine.receive(POST[:cut])
    engine.receive(b"")
    with pytest.raises(ClientError) as caught:
        events_of(engine)
    assert caught.value.status == 0


def test_a_client_that_leaves_between_requests_is_fine() -> None:
    engine = ServerEngine()
    engine.receive(b"")
    assert engine.next_event() is None


def test_the_limits_are_settings() -> None:
    engine = ServerEngine(Limits(head_size=40, fields=1))
    engine.receive(GET)
    assert len(events_of(engine)) == 2
    engine = ServerEngine(Limits(fields=1))
    engine.receive(b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n")
    with pytest.raises(ClientError) as caught:
        engine.next_event()
    assert caught.value.status == 431


@given(st.data())
def test_a_damaged_request_is_refused_or_read_but_never_a_crash(data: st.DataObject) -> None:
    damaged = damage(data, data.draw(st.sampled_from([case.data for case in REQUESTS.values()])))
    with contextlib.suppress(ClientError):
        serve(ServerEngine(Limits(head_size=1000)), damaged, data.draw(st.integers(1, 200)))


def damage(data: st.DataObject, message: bytes) -> bytes:
    """Replace, insert and cut out a few pieces, mostly by bytes that mean something."""
    pieces = st.sampled_from(
        [b"\r", b"\n", b"\r\n", b" ", b":", b";", b"\0", b"0", b"\xff", b"chunked", b"1.0"]
    )
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(message)))
        stop = data.draw(st.integers(start, min(len(message), start + 3)))
        message = message[:start] + data.draw(pieces) + message[stop:]
    return message


# ---- towards servers ----


def read(
    data: bytes, size: int, method: str = "GET", *, eof: bool = False
) -> tuple[ClientEngine, list[object]]:
    engine = ClientEngine()
    engine.request(method, b"/", [(b"Host", b"h")])
    engine.end()
    events: list[ClientEvent] = []
    pieces = [data[start : start + size] for start in range(0, len(data), size)] + ([b""] if eof else [])
    for piece in pieces:
        engine.receive(piece)
        while (event := engine.next_event()) is not None:
            events.append(event)
    return engine, joined(events)


def outcome(answer: Answer, size: int) -> tuple[ClientEngine, list[ClientEvent], bool]:
    """Feed *answer* in pieces of *size*: the engine, all events, and whether it was refused at some point."""
    engine = ClientEngine()
    engine.request(answer.method, b"/", [(b"Host", b"h")])
    engine.end()
    events: list[ClientEvent] = []
    data = answer.data
    pieces = [data[start : start + size] for start in range(0, len(data), size)] + [b""] * answer.ends
    try:
        for piece in pieces:
            engine.receive(piece)
            while (event := engine.next_event()) is not None:
                events.append(event)
    except BadResponse:
        return engine, events, True
    return engine, events, False


@pytest.mark.parametrize("name", RESPONSES)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_the_corpus_of_responses_in_pieces(name: str, size: int) -> None:
    answer = RESPONSES[name]
    engine, events, refused = outcome(answer, size)
    finals = [event for event in events if not isinstance(event, Interim)]
    assert refused == (answer.status == 502 or answer.cut)
    if answer.status == 502:
        assert not finals
        return
    head, *rest = finals
    assert isinstance(head, Response) and head.status == answer.status
    if not answer.cut:
        assert joined(rest) == [*([Body(answer.body)] if answer.body else []), *rest[-1:]]
        assert isinstance(rest[-1], End) and engine.reusable == answer.kept


@pytest.mark.parametrize("size", [1, 3, 10_000])
@pytest.mark.parametrize(
    ("data", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", b"abc"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b""),
    ],
)
def test_responses_in_pieces(data: bytes, body: bytes, size: int) -> None:
    engine, events = read(data, size)
    assert isinstance(events[0], Response) and isinstance(events[-1], End)
    assert events[1:-1] == ([Body(body)] if body else [])
    assert engine.reusable


def test_a_response_that_ends_with_the_connection() -> None:
    data = b"HTTP/1.1 200 OK\r\n\r\nabc"
    engine, events = read(data, 100)
    assert not engine.response_ended
    engine, events = read(data, 100, eof=True)
    assert events[1:] == [Body(b"abc"), End()]
    assert not engine.reusable


def test_the_response_to_head_has_no_body() -> None:
    engine, events = read(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", 100, "HEAD")
    assert len(events) == 2 and engine.reusable


def test_interim_responses_come_before_the_final_one() -> None:
    data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 N\r\n\r\n"
    for size in (1, 1000):
        _, events = read(data, size)
        assert events[:2] == [Interim(100, []), Interim(103, [(b"Link", b"x")])]
        assert isinstance(events[2], Response)


@pytest.mark.parametrize(
    "data",
    [b"garbage\r\n\r\n", b"\0", b"HTTP/9.9 200 OK\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 200 OK\nA: b\n\n",
     b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: " + b"b" * 20000,
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 101 + b"\r\n"],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 100_000])
def test_broken_responses(data: bytes, size: int) -> None:
    with pytest.raises(BadResponse):
        read(data, size)


LONG_ONES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 103 E\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nA: b\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nabc",
]


@given(st.data())
def test_a_damaged_response_is_refused_or_read_but_never_a_crash(data: st.DataObject) -> None:
    damaged = damage(
        data, data.draw(st.sampled_from([*LONG_ONES, *(answer.data for answer in RESPONSES.values())]))
    )
    with contextlib.suppress(BadResponse):
        read(damaged, data.draw(st.integers(1, 100)), eof=data.draw(st.booleans()))


@pytest.mark.parametrize(
    "data",
    [b"", b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"],
)  # fmt: skip
def test_servers_that_leave_too_early(data: bytes) -> None:
    with pytest.raises(BadResponse):
        read(data, 100, eof=True)


def test_a_connection_with_unasked_bytes_is_not_used_again() -> None:
    engine, _ = read(b"HTTP/1.1 204 N\r\n\r\nHTTP/1.1 200 OK\r\n", 1000)
    assert not engine.reusable


def test_a_connection_that_the_server_closes_is_not_used_again() -> None:
    engine, _ = read(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 1000)
    assert not engine.reusable


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=5), st.booleans(), st.integers(1, 50))
def test_two_engines_understand_each_other(pieces: list[bytes], chunked: bool, size: int) -> None:
    """What one side says is what the other hears, in both directions."""
    client, server = ClientEngine(), ServerEngine()
    body = b"".join(pieces)
    framing = (b"Transfer-Encoding", b"chunked") if chunked else (b"Content-Length", b"%d" % len(body))
    sent = client.request("POST", b"/x", [(b"Host", b"h"), framing])
    sent += b"".join(client.body(piece) for piece in pieces) + client.end()
    events: list[ServerEvent] = []
    for start in range(0, len(sent), size):
        server.receive(sent[start : start + size])
        events += events_of(server)
    assert joined(events)[1:] == [*([Body(body)] if body else []), End()]
    back = server.start(200, [] if chunked else [framing], b"OK")
    back += b"".join(server.body(piece) for piece in pieces) + server.end()
    heard: list[ClientEvent] = []
    for start in range(0, len(back), size):
        client.receive(back[start : start + size])
        while (event := client.next_event()) is not None:
            heard.append(event)
    assert joined(heard)[1:] == [*([Body(body)] if body else []), End()]
    assert client.reusable and server.keeps_alive


SWITCH = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_change_of_protocol_that_was_asked_for(size: int) -> None:
    client, server = ClientEngine(), ServerEngine()
    wish = client.request("GET", b"/", [(b"Host", b"h"), (b"Connection", b"Upgrade"), (b"Upgrade", b"chat")])
    wish += client.end() + b"client's"
    events: list[object] = []
    for start in range(0, len(wish), size):
        server.receive(wish[start : start + size])
        events += events_of(server)
    assert [type(event) for event in events] == [Request, End] and server.buffered == 8
    head = server.switch([(b"Connection", b"Upgrade"), (b"Upgrade", b"chat")], b"Switching")
    assert head == SWITCH and server.take_rest() == b"client's" and not server.keeps_alive
    seen: list[object] = []
    answer = head + b"server's"
    for start in range(0, len(answer), size):
        client.receive(answer[start : start + size])
        while (event := client.next_event()) is not None:
            seen.append(event)
    assert seen == [Response(101, [(b"Connection", b"Upgrade"), (b"Upgrade", b"chat")], b"Switching")]
    assert client.take_rest() == b"server's" and client.take_rest() == b"" and not client.reusable


@pytest.mark.parametrize(
    "asked", [[], [(b"Upgrade", b"chat")], [(b"Connection", b"upgrade"), (b"Upgrade", b"x")]]
)
def test_a_change_of_protocol_that_was_not_asked_for(asked: list[tuple[bytes, bytes]]) -> None:
    client = ClientEngine()
    client.request("GET", b"/", [(b"Host", b"h"), *asked])
    client.end()
    client.receive(SWITCH)
    with pytest.raises(BadResponse):
        client.next_event()


def test_interim_answers_have_the_limits_of_others_and_a_change_of_protocol_is_of_http_1_1() -> None:
    for answer in (SWITCH.replace(b"1.1", b"1.0"), b"HTTP/1.1 103 X\r\n" + b"A: b\r\n" * 101 + b"\r\n"):
        client = ClientEngine()
        client.request("GET", b"/", [(b"Host", b"h"), (b"Connection", b"Upgrade"), (b"Upgrade", b"chat")])
        client.end()
        client.receive(answer)
        with pytest.raises(BadResponse):
            client.next_event()


def test_a_wish_of_one_request_is_not_one_of_the_next() -> None:
    client = ClientEngine()
    client.request("GET", b"/", [(b"Host", b"h"), (b"Connection", b"Upgrade"), (b"Upgrade", b"chat")])
    client.end()
    client.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    while client.next_event() is not None:
        pass
    client.next_cycle()
    client.begin_as_it_is("GET")
    client.end()
    client.receive(SWITCH)
    with pytest.raises(BadResponse):
        client.next_event()


KEPT_OLD = b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"


@pytest.mark.parametrize(
    ("request_", "headers", "kept"),
    [
        (KEPT_OLD, [(b"Content-Length", b"2")], True),
        (KEPT_OLD.replace(b"GET", b"HEAD"), [], True),
        (KEPT_OLD, [], False),
        (KEPT_OLD, [(b"Content-Length", b"2"), (b"Connection", b"close")], False),
        (KEPT_OLD.replace(b"Keep-Alive", b"keep-alive, close"), [(b"Content-Length", b"2")], False),
        (b"GET / HTTP/1.0\r\n\r\n", [(b"Content-Length", b"2")], False),
    ],
)
def test_a_client_of_http_1_0_may_ask_to_stay(
    request_: bytes, headers: list[tuple[bytes, bytes]], kept: bool
) -> None:
    engine = ServerEngine()
    for _ in range(2):
        engine.receive(request_)
        events_of(engine)
        assert not engine.may_pass, "its head needs a word about the connection"
        head = engine.start(200, headers, b"")
        assert (b"\r\nConnection: keep-alive\r\n" in head, b"\r\nConnection: close\r\n" in head) == (
            kept,
            not kept,
        )
        engine.body(b"ok")
        engine.end()
        assert engine.keeps_alive is kept
        if not kept:
            return
        engine.next_cycle()
    engine.receive(GET)
    events_of(engine)
    assert engine.may_pass and b"Connection" not in engine.start(200, headers, b"")
