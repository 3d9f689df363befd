"""A guestbook as a bare ASGI app: read entries, write one, and see which servers answered.

Environment: GUESTBOOK_NAME (this app server's name), GUESTBOOK_MYSQL (DSNs, blank-separated; empty
for no database), GUESTBOOK_MYSQL_NAMES (``host:port=name`` pairs, blank-separated).
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from page import render
from store import MemoryStore, MysqlStore, Store

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

MAX_BODY = 16 * 1024
HTML = (b"content-type", b"text/html; charset=utf-8")
TEXT = (b"content-type", b"text/plain; charset=utf-8")


class Guestbook:
    def __init__(self, name: str, store: Store) -> None:
        self.name = name
        self.store = store
        self.has_database = isinstance(store, MysqlStore)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await respond(send, *await self._answer(scope, receive))

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await self.store.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.store.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Message, receive: Receive) -> tuple[int, Headers, bytes]:
        match scope["method"], scope["path"]:
            case "GET" | "HEAD", "/":
                return await self._show(scope)
            case "POST", "/":
                return await self._write(receive)
            case _, "/":
                return 405, [TEXT, (b"allow", b"GET, HEAD, POST")], b"405 Method Not Allowed\n"
            case _, "/health":
                return 200, [TEXT], b"ok\n"
        return 404, [TEXT], b"404 Not Found\n"

    async def _show(self, scope: Message) -> tuple[int, Headers, bytes]:
        entries, database = await self.store.latest()
        path = [*proxies(scope), ("app server", self.name)]
        if database:
            path.append(("database", database))
        return 200, [HTML, (b"cache-control", b"no-store")], render(entries, path, database=self.has_database)

    async def _write(self, receive: Receive) -> tuple[int, Headers, bytes]:
        body = await read_body(receive)
        if body is None:
            return 413, [TEXT], b"413 Content Too Large\n"
        form = parse_qs(body.decode("utf-8", "replace"))
        # Browsers send each line break as two characters but count it as one against maxlength.
        author, text = (form.get(key, [""])[0].replace("\r\n", "\n").strip() for key in ("author", "text"))
        if not author or not text or len(author) > 80 or len(text) > 500:
            return 400, [TEXT], b"Name (1-80 characters) and message (1-500 characters) are needed.\n"
        await self.store.add(author, text)
        return 303, [TEXT, (b"location", b"/")], b"Written.\n"


def proxies(scope: Message) -> list[tuple[str, str]]:
    """The balancer and the web server by the names that they put into the Via header."""
    via = b", ".join(value for name, value in scope["headers"] if name == b"via").decode("latin-1")
    names = [hop.split()[1] for hop in via.split(",") if len(hop.split()) > 1]
    return list(zip(("balancer", "web server"), names, strict=False))


async def read_body(receive: Receive) -> bytes | None:
    """The whole request body, None where it is larger than a form may be."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            return None
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return body


async def respond(send: Send, status: int, headers: Headers, body: bytes) -> None:
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def make_app() -> Guestbook:
    servers = os.environ.get("GUESTBOOK_MYSQL", "").split()
    names = dict(pair.split("=", 1) for pair in os.environ.get("GUESTBOOK_MYSQL_NAMES", "").split())
    store: Store = MysqlStore(servers, names) if servers else MemoryStore()
    return Guestbook(os.environ.get("GUESTBOOK_NAME", "app"), store)


app = make_app()
