"""The application of the app servers' benchmark, ``lbkit.bench.applications:app``: ASGI without a framework.

``/`` is a hello world, ``/json`` parses a document and dumps it, ``/upload`` counts what it is sent,
``/stream`` answers in 100 pieces, and a WebSocket echoes.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["app"]

_Message = dict[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]

_HELLO = b"Hello, world!"
_PIECES = 100
_PIECE = b"x" * 100


async def app(scope: _Message, receive: _Receive, send: _Send) -> None:
    """As ASGI has it."""
    if scope["type"] == "websocket":
        await _echo(receive, send)
    elif scope["type"] == "lifespan":
        await _live(receive, send)
    elif scope["path"] == "/json":
        document = json.loads(await _body(receive))
        await _answer(send, json.dumps(document).encode(), b"application/json")
    elif scope["path"] == "/upload":
        await _answer(send, b"%d" % len(await _body(receive)))
    elif scope["path"] == "/stream":
        await _stream(send)
    else:
        await _answer(send, _HELLO)


async def _body(receive: _Receive) -> bytes:
    pieces: list[bytes] = []
    while True:
        message = await receive()
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(pieces)


async def _answer(send: _Send, body: bytes, kind: bytes = b"text/plain") -> None:
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _stream(send: _Send) -> None:
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(_PIECES):
        await send({"type": "http.response.body", "body": _PIECE, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _echo(receive: _Receive, send: _Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def _live(receive: _Receive, send: _Send) -> None:
    for step in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{step}.complete"})
