from __future__ import annotations

import pytest

from lbkit.http.routes import Route, RouteTable
from lbkit.http.targets import parse_target

TABLE = RouteTable(
    [
        Route(None, "/static/", "files"),
        Route("api.example.com", "/", "api"),
        Route("*.example.com", "/", "any"),
        Route("[::1]", "/", "six"),
        Route(None, "/shop", "shop"),
    ]
)


@pytest.mark.parametrize(
    ("host", "target", "expected"),
    [
        ("x", b"/static/a.css", "files"),
        ("x", b"/static", "files"),
        ("x", b"/statics", None),
        ("x", b"/%73tatic/a", "files"),
        ("x", b"/static/../admin", None),
        ("x", b"//static//a", "files"),
        ("x", b"/a/../static/x", "files"),
        ("api.example.com", b"/static/x", "files"),
        ("API.Example.Com:8080", b"/x", "api"),
        ("api.example.com.", b"/x", "api"),
        ("b.example.com", b"/x", "any"),
        ("c.b.example.com", b"/x", "any"),
        ("example.com", b"/x", None),
        ("badexample.com", b"/x", None),
        (".example.com", b"/x", None),
        ("[::1]:80", b"/x", "six"),
        ("x", b"/shopping", "shop"),
        ("", b"/x", None),
    ],
)
def test_first_match_wins(host: str, target: bytes, expected: str | None) -> None:
    assert TABLE.match(host, parse_target(target, "GET").path) == expected


def test_an_empty_table_matches_nothing() -> None:
    assert RouteTable[str]().match("h", b"/") is None
