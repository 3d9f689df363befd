"""The fast parser beside the strict way: whatever it takes, that takes with the same meaning."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbkit.errors import BadResponse, ClientError
from lbkit.http import engine as engine_module
from lbkit.http import plain as plain_module
from lbkit.http.engine import ClientEngine, ServerEngine
from lbkit.http.messages import Interim, Request, Response, get
from lbkit.http.plain import Trait, parse_request, parse_response, status_of, survey, survey_request
from tests.http.corpus import REQUESTS

BROWSER = (
    b"GET /a/b.js?v=1%20 HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\nUser-Agent: Mozilla/5.0 (X11)\r\n"
    b"Accept: text/html,*/*;q=0.8\r\nCookie: a=b; c=d\r\n\r\n"
)


def test_a_browsers_request() -> None:
    request = parse_request(BROWSER, 100)
    assert request is not None and request.plain is not None
    assert (request.method, request.version, request.has_body, request.path) == (
        "GET",
        "1.1",
        False,
        b"/a/b.js",
    )
    assert request.headers[1:3] == [(b"Connection", b"keep-alive"), (b"User-Agent", b"Mozilla/5.0 (X11)")]
    plain = request.plain
    assert plain.lines == BROWSER.split(b"\r\n")[:-2]
    assert plain.hops == [2] and plain.host == b"www.example.com" and plain.length == -1
    assert plain.traits == Trait.HOST | Trait.CONNECTION | Trait.COOKIE | Trait.RAW_TARGET


@pytest.mark.parametrize(
    "field",
    [b"A:b", b"A:  b", b"A: b ", b"A: \tb", b"A:", b"A : b", b" A: b", b"A", b"\xe9: b", b"A: \0", b"A: b\x7f",
     b"Host: x", b"Content-Length: +1", b"Content-Length: 1, 1", b"Transfer-Encoding: gzip", b"Connection: upgrade",
     b"Connection: close, x", b"Expect: 100-continue", b"A: b\nC: d", b"A: b\rC: d", b"Content-Length: \xb2"],
)  # fmt: skip
def test_what_is_unusual_is_left_to_the_strict_way(field: bytes) -> None:
    assert parse_request(b"GET / HTTP/1.1\r\nHost: h\r\n" + field + b"\r\n\r\n", 100) is None


@pytest.mark.parametrize(
    "line",
    [b"GET / HTTP/1.0", b"BREW / HTTP/1.1", b"GET  / HTTP/1.1", b"GET http://h/ HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET /#a HTTP/1.1",
     b"GET /\xe9 HTTP/1.1", b"get / HTTP/1.1", b"GET / HTTP/1.1 ", b"CONNECT h:1 HTTP/1.1", b"GET /a\tb HTTP/1.1"],
)  # fmt: skip
def test_start_lines_for_the_strict_way(line: bytes) -> None:
    assert parse_request(line + b"\r\nHost: h\r\n\r\n", 100) is None


def test_a_request_without_host_or_with_too_much() -> None:
    assert parse_request(b"GET / HTTP/1.1\r\n\r\n", 100) is None
    assert parse_request(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 100) is None
    assert parse_request(b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n", 1) is None
    assert parse_request(b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A: b\r\n" * 300 + b"\r\n", 301) is not None
    assert parse_request(b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A: b\r\n" * 300 + b"\r\n", 300) is None
    both = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert parse_request(both, 100) is None


@pytest.mark.parametrize(
    ("target", "raw"),
    [(b"/", True), (b"/a%20b", True), (b"/a//b", True), (b"/a/../b", False), (b"/.x", True)],
)
def test_whether_a_target_can_go_on_as_it_came(target: bytes, raw: bool) -> None:
    request = parse_request(b"GET " + target + b" HTTP/1.1\r\nHost: h\r\n\r\n", 100)
    assert request is not None and request.plain is not None
    assert bool(request.plain.traits & Trait.RAW_TARGET) is raw


@pytest.mark.parametrize(
    "name", [b"X-Forwarded-For", b"x_forwarded_for", b"X-FORWARDED_HOST", b"Forwarded", b"Via"]
)
def test_claims_are_seen_however_they_are_spelled(name: bytes) -> None:
    request = parse_request(b"GET / HTTP/1.1\r\nHost: h\r\n" + name + b": x\r\n\r\n", 100)
    assert request is not None and request.plain is not None
    assert request.plain.traits & Trait.CLAIM


def test_names_are_learnt_up_to_a_bound() -> None:
    for number in range(5000):
        head = b"GET / HTTP/1.1\r\nHost: h\r\nX-N%d: x\r\n\r\n" % number
        assert parse_request(head, 100) is not None
    assert parse_request(b"GET / HTTP/1.1\r\nHost: h\r\nX-Not(: x\r\n\r\n", 100) is None


def test_lines_are_kept_up_to_a_bound_and_secrets_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_module, "_lines", lines := {})
    monkeypatch.setattr(plain_module, "_MOST_LINES", 10)
    head = b"GET / HTTP/1.1\r\nHost: h\r\nCookie: a=b\r\nAuthorization: Basic YTpi\r\nX-Long: %b\r\nX-N: 0\r\n\r\n"
    assert parse_request(head % (b"x" * 200), 100) is not None
    assert lines == {b"Host: h": Trait.HOST, b"X-N: 0": 0}
    for number in range(1, 100):
        text = b"GET / HTTP/1.1\r\nHost: h\r\nX-N: %d\r\n\r\n" % number
        first, again = parse_request(text, 100), parse_request(text, 100)
        assert first is not None and again is not None and first.headers == again.headers
        assert b"X-N: %d" % number in lines and len(lines) <= 10


def test_a_line_that_is_known_counts_each_time() -> None:
    for field in (b"Host: h", b"Content-Length: 1", b"Connection: close"):
        head = b"GET / HTTP/1.1\r\nHost: h\r\n" + field + b"\r\n" + field + b"\r\n\r\n"
        assert parse_request(head, 100) is None and parse_request(head, 100) is None


def test_a_response() -> None:
    head = b"HTTP/1.1 404 Not Found\r\nDate: x\r\nContent-Length: 12\r\nKeep-Alive: 5\r\nConnection: close\r\n\r\n"
    response = parse_response(head, 100)
    assert response is not None and response.plain is not None
    assert (response.status, response.reason, response.plain.length, response.plain.hops) == (
        404,
        b"Not Found",
        12,
        [3, 4],
    )
    assert response.plain.traits & Trait.CLOSE and response.plain.traits & Trait.DATE
    lines = head.split(b"\r\n")[:-2]
    assert survey(head, 100) == (lines, response.plain.traits, [3, 4], b"", 12)
    assert status_of(lines[0]) == 404


def test_a_survey_says_of_the_fields_what_the_parser_says() -> None:
    request, seen = parse_request(BROWSER, 100), survey_request(BROWSER, 100)
    assert request is not None and request.plain is not None
    plain = request.plain
    assert seen == (plain.lines, plain.traits & ~Trait.RAW_TARGET, plain.hops, plain.host)
    assert survey_request(BROWSER.replace(b"Host", b"Hose"), 100) is None
    assert survey_request(BROWSER.replace(b"www.", b"www ."), 100) is None
    assert survey_request(BROWSER.replace(b"Accept:", b"Accept :"), 100) is None
    assert survey_request(BROWSER, 4) is None


@pytest.mark.parametrize(
    "line",
    [b"HTTP/1.0 200 OK", b"HTTP/1.1 100 Continue", b"HTTP/1.1 200", b"HTTP/1.1 20 OK", b"HTTP/1.1 600 X"],
)
def test_responses_for_the_strict_way(line: bytes) -> None:
    assert parse_response(line + b"\r\nContent-Length: 0\r\n\r\n", 100) is None


# ---- the two ways beside each other ----

NAMES = st.sampled_from(
    [
        b"Host",
        b"host",
        b"Content-Length",
        b"Transfer-Encoding",
        b"Connection",
        b"A",
        b"x-b",
        b"Via",
        b"A ",
        b"Upgrade",
        b"Expect",
        b"",
    ]
)
VALUES = st.sampled_from([b"h", b"h:80", b"", b"1", b"0", b"01", b"+1", b"1 ", b" 1", b"chunked", b"Chunked", b"gzip", b"close", b"keep-alive",
                          b"x, close", b"100-continue", b"a\tb", b"\xe9", b"a b", b"\0", b"a\r\n b", b"1, 1"])  # fmt: skip
SEPARATORS = st.sampled_from([b": ", b":", b":\t", b" : ", b":  "])
LINES = st.sampled_from([b"GET / HTTP/1.1", b"POST /a?b=%41 HTTP/1.1", b"GET //a/../b HTTP/1.1", b"HEAD * HTTP/1.1", b"GET /%zz HTTP/1.1",
                         b"GET / HTTP/1.0", b"OPTIONS * HTTP/1.1", b"GET http://x/ HTTP/1.1", b"GET /a b HTTP/1.1", b"TRACE /.. HTTP/1.1"])  # fmt: skip
FIELDS = st.lists(st.tuples(NAMES, SEPARATORS, VALUES).map(b"".join), max_size=5)


def strictly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "parse_request", lambda head, most: None)
    monkeypatch.setattr(engine_module, "parse_response", lambda head, most: None)


def outcome(data: bytes, size: int) -> object:
    engine = ServerEngine()
    seen: list[object] = []
    try:
        for start in range(0, len(data), size):
            engine.receive(data[start : start + size])
            while (event := engine.next_event()) is not None:
                seen.append(event)
    except ClientError as error:
        return error.status
    engine.start(200, [(b"Content-Length", b"0")], b"OK")
    engine.end()
    return seen, engine.keeps_alive, engine.buffered


@settings(max_examples=400)
@given(
    LINES,
    FIELDS,
    st.sampled_from([b"", b"a", b"0\r\n\r\n", b"1\r\na\r\n0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"]),
    st.integers(1, 200),
)
def test_requests_mean_the_same_on_both_ways(
    line: bytes, fields: list[bytes], rest: bytes, size: int
) -> None:
    data = b"\r\n".join([line, b"Host: h", *fields, b"", rest])
    fast = outcome(data, size)
    with pytest.MonkeyPatch.context() as monkeypatch:
        strictly(monkeypatch)
        assert outcome(data, size) == fast


def answer(data: bytes, size: int, method: str) -> object:
    engine = ClientEngine()
    engine.request(method, b"/", [(b"Host", b"h")])
    engine.end()
    seen: list[object] = []
    try:
        for piece in [data[start : start + size] for start in range(0, len(data), size)] + [b""]:
            engine.receive(piece)
            while (event := engine.next_event()) is not None:
                seen.append(event)
    except BadResponse:
        return "refused", [event for event in seen if isinstance(event, Interim | Response)]
    return seen, engine.reusable


STATUS_LINES = st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 N", b"HTTP/1.0 200 OK", b"HTTP/1.1 200 ", b"HTTP/1.1 200",
                                b"HTTP/1.1 599 \xe9", b"HTTP/1.1 103 E", b"HTTP/2 200 OK", b"HTTP/1.1 999 X"])  # fmt: skip


@settings(max_examples=400)
@given(
    STATUS_LINES,
    FIELDS,
    st.sampled_from([b"", b"a", b"abc", b"1\r\na\r\n0\r\n\r\n"]),
    st.integers(1, 200),
    st.sampled_from(["GET", "HEAD"]),
)
def test_responses_mean_the_same_on_both_ways(
    line: bytes, fields: list[bytes], rest: bytes, size: int, method: str
) -> None:
    data = b"\r\n".join([line, *fields, b"", rest])
    fast = answer(data, size, method)
    with pytest.MonkeyPatch.context() as monkeypatch:
        strictly(monkeypatch)
        assert answer(data, size, method) == fast


@given(LINES, FIELDS)
def test_a_whole_request_is_the_same_as_one_in_pieces(line: bytes, fields: list[bytes]) -> None:
    data = b"\r\n".join([line, b"Host: h", *fields, b"", b""])
    engine = ServerEngine()
    try:
        whole = engine.take_whole(data)
    except ClientError as error:
        assert outcome(data, 1000) == error.status
        return
    if whole is not None:
        assert outcome(data, 3) == ([whole, engine_module.End()], engine.may_continue, 0)


@given(STATUS_LINES, FIELDS, st.sampled_from([b"", b"a", b"abc"]))
def test_a_whole_response_is_the_same_as_one_in_pieces(line: bytes, fields: list[bytes], body: bytes) -> None:
    data = b"\r\n".join([line, *fields, b"", body])
    engine = ClientEngine()
    engine.request("GET", b"/", [(b"Host", b"h")])
    engine.end()
    whole = engine.take_whole(data)
    if whole is not None:
        events, _ = answer(data, 3, "GET")  # type: ignore[misc]
        assert events[0] == whole[0]
        assert b"".join(event.data for event in events[1:-1]) == whole[1]


@pytest.mark.parametrize("name", REQUESTS)
def test_what_the_corpus_refuses_is_never_taken(name: str) -> None:
    case = REQUESTS[name]
    head, end, _ = case.data.partition(b"\r\n\r\n")
    # Sizes are the engine's affair, and so is what comes after a head that is good.
    if case.status not in (200, 431) and end and b"chunked\r\n" not in case.data and not case.bodies:
        try:
            request = parse_request(head + end, 100)
        except ClientError as error:
            assert error.status == case.status
        else:
            assert request is None or (
                isinstance(request, Request) and get(request.headers, b"content-length") is not None
            )
