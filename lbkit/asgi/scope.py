"""The connection scopes of HTTP requests and WebSockets, after the ASGI HTTP and WebSocket specification."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import unquote

from lbkit.asgi.types import Scope
from lbkit.exchange import Exchange
from lbkit.http.forwarded import Hop, client_of, scheme_of
from lbkit.http.plain import Trait
from lbkit.http.websocket import asked_subprotocols

__all__ = ["SPEC_VERSION", "http_scope", "websocket_scope"]

_CLAIM = int(Trait.CLAIM)
SPEC_VERSION = "2.3"
"""From 2.4 on, `send` would have to raise for a client that is gone; here it does nothing then."""


def http_scope(
    exchange: Exchange, *, root_path: str, state: Mapping[str, Any] | None, trusted: Collection[str]
) -> Scope:
    """The scope for *exchange*.

    `client` and `scheme` are what X-Forwarded-For and -Proto say when the neighbour is *trusted*. The path is
    decoded once and keeps its dot segments, which are the application's to judge.
    """
    request = exchange.request
    client, scheme = exchange.client, exchange.scheme
    if request.plain is None or request.plain.traits & _CLAIM:
        hop = Hop(client[0] if client else "", scheme, request.version)
        forwarded = client_of(request.headers, hop, trusted)
        client = (forwarded, 0) if forwarded else client
        scheme = scheme_of(request.headers, hop, trusted)
    raw_path = request.target.raw_path
    path = raw_path.decode("ascii")
    if "%" in path:
        path = unquote(path)
    if root_path:
        path, raw_path = root_path + path, root_path.encode() + raw_path
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": SPEC_VERSION},
        "http_version": request.version,
        "method": request.method,
        "scheme": scheme,
        "path": path,
        "raw_path": raw_path,
        "query_string": request.target.query,
        "root_path": root_path,
        "headers": [(name.lower(), value) for name, value in request.headers],
        "client": client,
        "server": exchange.server,
        "extensions": {},
    }
    if state is not None:
        scope["state"] = dict(state)
    return scope


def websocket_scope(
    exchange: Exchange, *, root_path: str, state: Mapping[str, Any] | None, trusted: Collection[str]
) -> Scope:
    """The scope for a WebSocket that *exchange* asks for; else as `http_scope`."""
    scope = http_scope(exchange, root_path=root_path, state=state, trusted=trusted)
    del scope["method"]
    scope["type"] = "websocket"
    scope["scheme"] = "wss" if scope["scheme"] in ("https", "wss") else "ws"
    scope["subprotocols"] = asked_subprotocols(exchange.request)
    scope["extensions"] = {"websocket.http.response": {}}
    return scope
