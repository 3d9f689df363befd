from __future__ import annotations

from lbkit.http.messages import Request, get, get_all, tokens, without
from lbkit.http.targets import parse_target

HEADERS = [
    (b"Host", b"a.example"),
    (b"Set-Cookie", b"x=1"),
    (b"SET-COOKIE", b"y=2"),
    (b"Connection", b"A, b ,"),
]


def test_look_ups_ignore_case_and_keep_order() -> None:
    assert get(HEADERS, b"host") == b"a.example"
    assert get(HEADERS, b"absent") is None
    assert get_all(HEADERS, b"set-cookie") == [b"x=1", b"y=2"]


def test_tokens_are_lower_case_and_never_empty() -> None:
    assert tokens([*HEADERS, (b"connection", b"close")], b"connection") == [b"a", b"b", b"close"]


def test_without_keeps_the_spelling_of_the_rest() -> None:
    assert without(HEADERS, {b"set-cookie", b"connection"}) == [(b"Host", b"a.example")]


def test_a_request_knows_its_host_and_path() -> None:
    request = Request("GET", parse_target(b"/a%20b", "GET"), HEADERS)
    assert (request.host, request.path, request.get(b"connection")) == ("a.example", b"/a b", b"A, b ,")
    assert Request("GET", parse_target(b"/", "GET"), [], "1.0").host == ""
