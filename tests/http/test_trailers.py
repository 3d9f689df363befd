from __future__ import annotations

import pytest

from lbkit.http.messages import Headers, Request
from lbkit.http.plain import parse_request
from lbkit.http.targets import parse_target
from lbkit.http.trailers import passable, takes_trailers


@pytest.mark.parametrize(
    ("headers", "version", "takes"),
    [
        ([(b"TE", b"trailers")], "1.1", True),
        ([(b"te", b"gzip;q=0.5, Trailers")], "1.1", True),
        ([(b"te", b"trailers")], "2", True),
        ([(b"TE", b"trailers")], "1.0", False),
        ([(b"TE", b"gzip")], "1.1", False),
        ([], "1.1", False),
    ],
)
def test_who_takes_them(headers: Headers, version: str, takes: bool) -> None:
    assert takes_trailers(Request("GET", parse_target(b"/", "GET"), headers, version)) is takes


@pytest.mark.parametrize(
    ("field", "takes"), [(b"TE: trailers\r\n", True), (b"te: gzip\r\n", False), (b"", False)]
)
def test_a_plain_head_says_the_same(field: bytes, takes: bool) -> None:
    request = parse_request(b"GET / HTTP/1.1\r\nHost: h\r\n" + field + b"\r\n", 100)
    assert request is not None and takes_trailers(request) is takes


def test_what_may_not_be_one() -> None:
    good = [(b"Server-Timing", b"a"), (b"grpc-status", b"0")]
    bad = [
        (b"Content-Length", b"3"),
        (b"Set-Cookie", b"a=b"),
        (b"transfer-encoding", b"chunked"),
        (b"Vary", b"a"),
    ]
    assert passable([bad[0], good[0], *bad[1:], good[1]]) == good
