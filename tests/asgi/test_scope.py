from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lbkit.asgi.scope import http_scope
from lbkit.asgi.types import Scope
from lbkit.exchange.exchange import Exchange
from lbkit.http.forwarded import LOOPBACK
from lbkit.http.messages import Headers, Request
from lbkit.http.targets import parse_target


class Wire:
    """The two ends of a connection; nothing is sent on it."""

    def __init__(self, client: tuple[str, int] | None) -> None:
        self.client = client
        self.server = ("127.0.0.1", 8000) if client else None
        self.scheme = "http"
        self.identity: Headers = []


def scope_of(
    target: bytes,
    headers: Headers | None = None,
    *,
    client: tuple[str, int] | None = ("127.0.0.1", 5),
    root_path: str = "",
    state: Mapping[str, Any] | None = None,
) -> Scope:
    request = Request("GET", parse_target(target, "GET"), headers or [])
    exchange = Exchange(Wire(client), request, 1, body_buffer=1)  # type: ignore[arg-type]
    return http_scope(exchange, root_path=root_path, state=state, trusted=LOOPBACK)


def test_a_whole_scope() -> None:
    assert scope_of(b"/a%20b/%C3%A9?x=%20", [(b"Host", b"h"), (b"X-Odd", b"\xff")]) == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/a b/é",
        "raw_path": b"/a%20b/%C3%A9",
        "query_string": b"x=%20",
        "root_path": "",
        "headers": [(b"host", b"h"), (b"x-odd", b"\xff")],
        "client": ("127.0.0.1", 5),
        "server": ("127.0.0.1", 8000),
        "extensions": {
            f"http.response.{name}": {} for name in ("early_hint", "pathsend", "zerocopysend", "trailers")
        },
    }


def test_the_root_path_is_part_of_the_path() -> None:
    scope = scope_of(b"/x", root_path="/mounted")
    assert (scope["path"], scope["raw_path"], scope["root_path"]) == ("/mounted/x", b"/mounted/x", "/mounted")


def test_a_trusted_neighbour_tells_the_client_and_the_scheme() -> None:
    headers = [(b"X-Forwarded-For", b"6.6.6.6, 192.0.2.7"), (b"X-Forwarded-Proto", b"https")]
    for neighbour in (("127.0.0.1", 5), None):
        scope = scope_of(b"/", headers, client=neighbour)
        assert (scope["client"], scope["scheme"]) == (("192.0.2.7", 0), "https")
    scope = scope_of(b"/", headers, client=("198.51.100.1", 5))
    assert (scope["client"], scope["scheme"]) == (("198.51.100.1", 5), "http")


def test_each_request_has_its_own_copy_of_the_state() -> None:
    state = {"pool": object()}
    scope = scope_of(b"/", state=state)
    scope["state"]["mine"] = 1
    assert list(state) == ["pool"] and scope["state"]["pool"] is state["pool"]


def test_what_does_not_decode_is_replaced() -> None:
    assert scope_of(b"/%ff")["path"] == "/\ufffd"
