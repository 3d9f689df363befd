"""Upgrades (RFC 9110 §7.8): which protocols a request asks to change to, and whether an answer may do so.

Only a request of HTTP/1.1 without a body can ask: then everything behind its head is of the new protocol or
of the next request, and which of both the answer alone says.
"""

from __future__ import annotations

from collections.abc import Collection

from lbkit.http.messages import Headers, Request, get, tokens

__all__ = ["asked_protocols", "changes_to"]


def asked_protocols(request: Request, allowed: Collection[bytes]) -> list[bytes]:
    """Those of *allowed* (lower case) that *request* asks to change to, in its order; empty for none.

    A WebSocket is opened by GET only (RFC 6455 §4.1).
    """
    if (
        request.version != "1.1"
        or request.has_body
        or b"upgrade" not in tokens(request.headers, b"connection")
    ):
        return []
    protocols = [name for name in tokens(request.headers, b"upgrade") if name in allowed]
    return [name for name in protocols if name != b"websocket" or request.method == "GET"]


def changes_to(headers: Headers, asked: Collection[bytes]) -> bool:
    """Whether the *headers* of a 101 change to protocols that were *asked* for, and to nothing else."""
    protocols = tokens(headers, b"upgrade")
    if not protocols or b"upgrade" not in tokens(headers, b"connection"):
        return False
    if get(headers, b"content-length") is not None or get(headers, b"transfer-encoding") is not None:
        return False  # RFC 9110 §8.6: it has no body
    return all(name in asked for name in protocols)
