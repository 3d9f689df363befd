from __future__ import annotations

import re

import pytest

from lbkit.http.routes import FieldTest, Route, RouteTable, host_name
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
    path = parse_target(target, "GET").path
    assert TABLE.match(host, path, "GET", []) == expected
    place = TABLE.place(host, path)
    assert (None if place is None else place.target) == expected


def test_an_empty_table_matches_nothing() -> None:
    assert RouteTable[str]().match("h", b"/", "GET", []) is None
    assert RouteTable[str]().place("h", b"/") is None


PATHS = RouteTable(
    [
        Route(None, "/health", "exact", is_exact=True),
        Route(None, "/", "pattern", pattern=re.compile(rb"/item/[0-9]+")),
        Route(None, "/", "rest"),
    ]
)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/health", "exact"),
        (b"/%68ealth", "exact"),
        (b"/x/../health", "exact"),
        (b"/health/", "rest"),
        (b"/healthy", "rest"),
        (b"/item/12", "pattern"),
        (b"/item/12/x", "rest"),
        (b"/x/item/12", "rest"),
        (b"/item/12%0a", "rest"),
    ],
)
def test_whole_paths_and_patterns(target: bytes, expected: str) -> None:
    assert PATHS.match("h", parse_target(target, "GET").path, "GET", []) == expected


def chosen(method: str = "GET", *headers: tuple[bytes, bytes]) -> str | None:
    table = RouteTable(
        [
            Route(None, "/", "writes", methods=frozenset({"POST", "PUT"})),
            Route(None, "/", "beta", tests=(FieldTest(b"x-beta"), FieldTest(b"x-off", is_absent=True))),
            Route(None, "/", "v2", tests=(FieldTest(b"x-version", value=b"2"),)),
            Route(None, "/", "bots", tests=(FieldTest(b"user-agent", pattern=re.compile(rb".*bot.*")),)),
            Route(None, "/", "rest"),
        ]
    )
    place = table.place("h", b"/")
    assert place is not None and place.needs_more  # method and fields may still lead elsewhere
    return table.match("h", b"/", method, list(headers))


def test_methods_and_fields() -> None:
    assert chosen("POST") == chosen("PUT") == "writes"
    assert chosen("post") == chosen("GET") == "rest"
    assert chosen("GET", (b"X-Beta", b"")) == "beta"
    assert chosen("GET", (b"X-Beta", b"1"), (b"X-Off", b"")) == "rest"
    assert chosen("GET", (b"X-Version", b"1"), (b"x-version", b"2")) == "v2"
    assert chosen("GET", (b"X-Version", b"22")) == "rest"
    assert chosen("GET", (b"User-Agent", b"a bot 1")) == "bots"
    assert not PATHS.routes[0].needs_more


def test_the_name_of_a_host() -> None:
    assert host_name("Example.com.:8080") == "example.com"
    assert host_name("[::1]:80") == "[::1]" and host_name("") == ""
