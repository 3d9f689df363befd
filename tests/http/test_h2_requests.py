from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.errors import ClientError
from lbkit.http.engine import Limits, ServerEngine
from lbkit.http.h2_requests import check_trailers, request_of, response_fields
from lbkit.http.messages import End, Headers, Request


def fields(**changed: bytes | None) -> Headers:
    pseudo = {"method": b"GET", "scheme": b"https", "authority": b"a.example", "path": b"/"} | changed
    return [(f":{name}".encode(), value) for name, value in pseudo.items() if value is not None]


def request(head: Headers, *, has_ended: bool = True, limits: Limits | None = None) -> Request:
    return request_of(head, has_ended=has_ended, limits=limits or Limits())


def test_a_request() -> None:
    head = fields(path=b"/a/%2e%2e/b?c=d")
    found = request([*head, (b"accept", b"*/*"), (b"cookie", b"x=y"), (b"te", b"trailers")])
    assert (found.method, found.path, found.target.query) == ("GET", b"/b", b"c=d")
    assert found.headers == [
        (b"Host", b"a.example"),
        (b"accept", b"*/*"),
        (b"cookie", b"x=y"),
        (b"te", b"trailers"),
    ]
    assert (found.version, found.has_body) == ("2", False)


def test_the_host() -> None:
    assert request([*fields(authority=None), (b"host", b"b.example:8080")]).host == "b.example:8080"
    assert request([*fields(), (b"host", b"A.example")]).host == "a.example"


def test_cookies_are_one_field_again() -> None:
    head = [
        *fields(),
        (b"cookie", b"a=1"),
        (b"accept", b"*/*"),
        (b"cookie", b"b=2; c=3"),
        (b"cookie", b""),
        (b"cookie", b"d=4"),
    ]
    assert request(head).headers[1:] == [(b"accept", b"*/*"), (b"cookie", b"a=1; b=2; c=3; d=4")]


def test_bodies() -> None:
    known = request([*fields(method=b"POST"), (b"content-length", b"5")], has_ended=False)
    assert known.has_body
    assert known.get(b"transfer-encoding") is None
    unknown = request(fields(method=b"POST"), has_ended=False)
    assert unknown.get(b"transfer-encoding") == b"chunked", "as it is for whoever sends it on"
    assert not request([*fields(method=b"POST"), (b"content-length", b"0")]).has_body


BAD_NAMES = [b"", b"Accept", b"a b", b"a:b", b"a\0", b"a\n", b"\xe4", b":other", b":status"]
BAD_VALUES = [b"a\r\nb: c", b"a\nb", b"a\0b", b" a", b"a ", b"\ta", b"a\t", b"\x7f", b"\x01"]
BAD_PATHS = [
    b"",
    b"a",
    b"https://a/b",
    b"/a b",
    b"/a#b",
    b"/a\tb",
    b"/a\0",
    b"/%",
    b"/%00",
    b"/../a",
    b"*",
    b"/\xff",
]
BAD_HOSTS = [b"", b"a b", b"a@b", b"a/b", b"a:b", b"[::1", b"a\\b"]


@pytest.mark.parametrize(
    "head",
    [
        *([*fields(), (name, b"x")] for name in BAD_NAMES),
        *([*fields(), (b"x", value)] for value in BAD_VALUES),
        *(fields(path=path) for path in BAD_PATHS),
        *(fields(authority=host) for host in BAD_HOSTS),
        *([*fields(authority=None), (b"host", host)] for host in BAD_HOSTS),
        *(fields(**{name: None}) for name in ("method", "scheme", "path", "authority")),
        *(fields(method=method) for method in (b"", b"GE T", b"G\xe4T", b"GET\r\n")),
        fields(scheme=b"ftp"),
        [*fields(), (b":path", b"/other")],
        [*fields(authority=None), (b"x", b"y"), (b":authority", b"a")],
        [*fields(), (b"host", b"b.example")],
        [*fields(), (b"host", b"a.example"), (b"host", b"a.example")],
        *(
            [*fields(), (name, b"x")]
            for name in (
                b"connection",
                b"keep-alive",
                b"proxy-connection",
                b"transfer-encoding",
                b"upgrade",
                b"te",
            )
        ),
        *(
            [*fields(), (b"content-length", length)]
            for length in (b"", b"+5", b"5,5", b"0x5", b"-1", b"9" * 19, b"5")
        ),
        [*fields(), (b"content-length", b"0"), (b"content-length", b"0")],
    ],
)
def test_what_is_malformed(head: Headers) -> None:
    with pytest.raises(ClientError) as caught:
        request(head)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (fields(method=b"CONNECT", scheme=None, path=None), 501),
        (fields(method=b"CONNECT"), 501),
        ([*fields(), (b"expect", b"other")], 417),
        ([*fields(), *((b"x", b"y") for _ in range(101))], 431),
        ([*fields(), (b"x", b"y" * 17_000)], 431),
    ],
)
def test_what_is_not_offered(head: Headers, status: int) -> None:
    with pytest.raises(ClientError) as caught:
        request(head)
    assert caught.value.status == status


BITS = st.sampled_from(
    [
        b"",
        b"a",
        b"/",
        b".",
        b"%2e",
        b"%00",
        b" ",
        b"\t",
        b"\r\n",
        b"\n",
        b"\0",
        b":",
        b"@",
        b"#",
        b"?",
        b"\xe4",
        b"A",
        b"1",
        b"*",
        b",",
    ]
)
TEXT = st.lists(BITS, max_size=5).map(b"".join)
NAMES = st.one_of(
    TEXT,
    st.sampled_from(
        [
            b":method",
            b":path",
            b":scheme",
            b":authority",
            b"host",
            b"content-length",
            b"transfer-encoding",
            b"te",
            b"connection",
            b"expect",
            b"cookie",
            b"x-a",
        ]
    ),
)
VALUES = st.one_of(
    TEXT, st.sampled_from([b"GET", b"POST", b"CONNECT", b"https", b"a.example", b"/a/../b", b"5", b"chunked"])
)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=4), st.booleans(), st.booleans())
def test_what_is_let_through_means_the_same_in_http_1(
    extra: Headers, is_whole: bool, has_ended: bool
) -> None:
    """A request that we would send on is one head of HTTP/1.1, and read back it is the same request."""
    try:
        found = request([*(fields() if is_whole else []), *extra], has_ended=has_ended)
    except ClientError:
        return
    lines = [b"%s %s HTTP/1.1" % (found.method.encode(), found.target.origin_form)]
    lines += [name + b": " + value for name, value in found.headers]
    engine = ServerEngine()
    engine.receive(b"\r\n".join(lines) + b"\r\n\r\n")
    read = engine.next_event()
    assert isinstance(read, Request)
    assert (read.method, read.path, read.target.query) == (found.method, found.path, found.target.query)
    assert read.has_body is found.has_body or found.get(b"content-length") == b"0"
    assert [(name.lower(), value) for name, value in read.headers] == [
        (name.lower(), value) for name, value in found.headers
    ]
    assert isinstance(engine.next_event(), End if not read.has_body else (End, type(None)))
    assert engine.buffered == 0, "nothing is left that could be another request"


def test_options_for_all() -> None:
    assert request(fields(method=b"OPTIONS", path=b"*")).path == b"*"


def test_responses() -> None:
    headers = [
        (b"Content-Type", b"text/plain "),
        (b"Connection", b"close, X-Private"),
        (b"X-Private", b"x"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Set-Cookie", b"a=b"),
        (b"Set-Cookie", b"c=d"),
    ]
    assert response_fields(200, headers) == [
        (b":status", b"200"),
        (b"content-type", b"text/plain"),
        (b"set-cookie", b"a=b"),
        (b"set-cookie", b"c=d"),
    ]
    assert response_fields(204, [(b"Content-Length", b"0")]) == [(b":status", b"204")]


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (100, []),
        (101, []),
        (99, []),
        (200, [(b"a b", b"")]),
        (200, [(b"a", b"b\r\nc: d")]),
        (200, [(b":a", b"")]),
    ],
)
def test_responses_that_cannot_be_sent(status: int, headers: Headers) -> None:
    with pytest.raises(ValueError):
        response_fields(status, headers)


def test_trailers() -> None:
    check_trailers([(b"x-checksum", b"1")])
    for name, value in ((b"X", b"y"), (b":path", b"/"), (b"x", b"y\n")):
        with pytest.raises(ClientError):
            check_trailers([(name, value)])
