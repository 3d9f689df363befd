"""The connection scopes of HTTP requests and WebSockets, after the ASGI HTTP and WebSocket specification."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any
from urllib.parse import unquote

from lbkit.asgi.types import Scope
from lbkit.exchange import Exchange
from lbkit.exchange.exchange import Peer
from lbkit.http.forwarded import Hop, client_of, scheme_of
from lbkit.http.messages import Headers
from lbkit.http.plain import Trait
from lbkit.http.websocket import asked_subprotocols

__all__ = ["SPEC_VERSION", "claimed", "http_scope", "scope_of", "websocket_scope"]

_EXTENSIONS: dict[str, dict[str, Any]] = {
    "http.response.early_hint": {},
    "http.response.pathsend": {},
    "http.response.zerocopysend": {},
    "http.response.trailers": {},
}
_CLAIM = int(Trait.CLAIM)
SPEC_VERSION = "2.3"
"""From 2.4 on, `send` would have to raise for a client that is gone; here it does nothing then."""


def http_scope(
    exchange: Exchange, *, root_path: str, state: Mapping[str, Any] | None, trusted: Container[str]
) -> Scope:
    """The scope for *exchange*.

    `client` and `scheme` are what X-Forwarded-For and -Proto say when the neighbour is *trusted*. The path is
    decoded once and keeps its dot segments, which are the application's to judge.
    """
    request = exchange.request
    client, scheme = exchange.client, exchange.scheme
    if request.plain is None or request.plain.traits & _CLAIM:
        client, scheme = claimed(request.headers, client, scheme, request.version, trusted)
    target = request.target
    headers = [(name.lower(), value) for name, value in request.headers]
    scope = scope_of(
        root_path, request.method, target.raw_path, target.query, headers, client, scheme, exchange.server
    )
    scope["http_version"] = request.version
    if state is not None:
        scope["state"] = dict(state)
    return scope


def claimed(
    headers: Headers, client: Peer, scheme: str, version: str, trusted: Container[str]
) -> tuple[Peer, str]:
    """*client* and *scheme*, or what X-Forwarded-For and -Proto say when the neighbour is *trusted*."""
    hop = Hop(client[0] if client else "", scheme, version)
    forwarded = client_of(headers, hop, trusted)
    return (forwarded, 0) if forwarded else client, scheme_of(headers, hop, trusted)


def scope_of(
    root_path: str,
    method: str,
    raw_path: bytes,
    query: bytes,
    headers: Headers,
    client: Peer,
    scheme: str,
    server: Peer,
) -> Scope:
    """The scope of a request of HTTP/1.1; *headers* have names in lower case."""
    path = raw_path.decode("ascii")
    if "%" in path:
        path = unquote(path)
    if root_path:
        path, raw_path = root_path + path, root_path.encode() + raw_path
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": SPEC_VERSION},
        "http_version": "1.1",
        "method": method,
        "scheme": scheme,
        "path": path,
        "raw_path": raw_path,
        "query_string": query,
        "root_path": root_path,
        "headers": headers,
        "client": client,
        "server": server,
        "extensions": _EXTENSIONS.copy(),
    }


def websocket_scope(
    exchange: Exchange, *, root_path: str, state: Mapping[str, Any] | None, trusted: Container[str]
) -> Scope:
    """The scope for a WebSocket that *exchange* asks for; else as `http_scope`."""
    scope = http_scope(exchange, root_path=root_path, state=state, trusted=trusted)
    del scope["method"]
    scope["type"] = "websocket"
    scope["scheme"] = "wss" if scope["scheme"] in ("https", "wss") else "ws"
    scope["subprotocols"] = asked_subprotocols(exchange.request)
    scope["extensions"] = {"websocket.http.response": {}}
    return scope
