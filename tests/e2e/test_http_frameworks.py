"""Small real applications of Starlette and Django on the app server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import django
import pytest
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketState

from lbkit.asgi import serve
from lbkit.asgi.files import opened
from tests.asgi.test_websocket import HANDSHAKE, Peer
from tests.exchange.wire import Client, connected
from tests.support.loops import on_both_loops

POST = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"


async def get(client: Client, target: str, *fields: str) -> tuple[int, dict[str, str], bytes]:
    lines = "".join(f"{field}\r\n" for field in fields)
    client.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode())
    return await client.response()


async def chunked(client: Client, target: str) -> bytes:
    client.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await client.until(b"\r\n\r\n")
    body = b""
    while size := int(await client.until(b"\r\n"), 16):
        body += (await client.exactly(size + 2))[:-2]
    await client.exactly(2)
    return body


# ---- Starlette ----


class Star:
    """A Starlette application and what its views noticed."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.worked = asyncio.Event()
        self.app = Starlette(
            lifespan=self.lifespan,
            routes=[
                Route("/", self.index),
                Route("/sync", self.sync),
                Route("/upload", self.upload, methods=["POST"]),
                Route("/stream", self.stream),
                Route("/wait", self.wait),
                Route("/background", self.background),
                Route("/cookies", self.cookies),
                Route("/boom", self.boom),
                Route("/item/{name}", self.item),
            ],
        )

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[dict[str, Any]]:
        yield {"word": "from the lifespan"}

    async def index(self, request: Request) -> Response:
        client = request.client
        return JSONResponse({"word": request.state.word, "client": client.host if client else None})

    def sync(self, request: Request) -> Response:
        return PlainTextResponse(f"sync {request.url}")

    async def upload(self, request: Request) -> Response:
        size = 0
        async for piece in request.stream():
            size += len(piece)
        return PlainTextResponse(str(size))

    async def stream(self, request: Request) -> Response:
        async def pieces() -> AsyncIterator[str]:
            for number in range(100):
                yield f"{number}\n"
                await asyncio.sleep(0)

        return StreamingResponse(pieces())

    async def wait(self, request: Request) -> Response:
        while not await request.is_disconnected():
            await asyncio.sleep(0)
        self.gone.set()
        return PlainTextResponse("nobody reads this")

    async def background(self, request: Request) -> Response:
        async def work() -> None:
            await asyncio.sleep(0.01)
            self.worked.set()

        return PlainTextResponse("soon", background=BackgroundTask(work))

    async def cookies(self, request: Request) -> Response:
        response = PlainTextResponse(request.cookies.get("c", ""))
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return response

    async def boom(self, request: Request) -> Response:
        raise ValueError("boom")

    async def item(self, request: Request) -> Response:
        return PlainTextResponse(request.path_params["name"])


@on_both_loops
async def test_starlette() -> None:
    star = Star()
    async with serve(star.app, "127.0.0.1:0") as server, connected(server.address.port) as client:
        status, _, body = await get(client, "/", "X-Forwarded-For: 192.0.2.7")
        assert (status, body) == (200, b'{"word":"from the lifespan","client":"192.0.2.7"}')
        assert (await get(client, "/sync?q=1"))[2] == b"sync http://localhost/sync?q=1"
        assert (await get(client, "/item/%C3%A9%20x"))[2] == "é x".encode()
        assert (await get(client, "/absent"))[0] == 404
        client.send(POST % b"/upload" + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1_000_000)
        assert (await client.response())[2] == b"1000000"
        assert await chunked(client, "/stream") == b"".join(b"%d\n" % number for number in range(100))
        client.send(b"GET /cookies HTTP/1.1\r\nHost: localhost\r\nCookie: c=3\r\n\r\n")
        head = await client.until(b"\r\n\r\n")
        assert head.lower().count(b"\r\nset-cookie: ") == 2 and await client.exactly(1) == b"3"
        assert (await get(client, "/background"))[2] == b"soon"
        assert (await get(client, "/boom"))[0] == 500
        async with asyncio.timeout(5):
            await star.worked.wait()


@on_both_loops
async def test_starlette_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(range(256)) * 4000
    (tmp_path / "a.bin").write_bytes(content)
    asked: list[str] = []
    monkeypatch.setattr("lbkit.asgi.call.opened", lambda name: asked.append(name) or opened(name))
    app = Starlette(
        routes=[
            Route("/file", lambda request: FileResponse(tmp_path / "a.bin")),
            Mount("/static", StaticFiles(directory=tmp_path)),
        ]
    )
    async with serve(app, "127.0.0.1:0") as server, connected(server.address.port) as client:
        for path in ("/file", "/static/a.bin"):
            status, fields, body = await get(client, path)
            assert (status, body == content) == (200, True)
            assert (await get(client, path, "Range: bytes=10-19"))[2] == content[10:20]
            assert (await get(client, path, f"If-None-Match: {fields['etag']}"))[0] in (200, 304)
        client.send(b"HEAD /file HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"content-length: 1024000" in (await client.until(b"\r\n\r\n")).lower()
        (tmp_path / "a.bin").unlink()
        assert (await get(client, "/static/a.bin"))[0] == 404
        assert (await get(client, "/file"))[0] == 500
    assert asked, "the whole file is sent by its path"


@on_both_loops
async def test_starlette_notices_a_client_that_leaves() -> None:
    star = Star()
    async with serve(star.app, "127.0.0.1:0") as server:
        async with connected(server.address.port) as client:
            client.send(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while not server.http.counters.requests:
                await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await star.gone.wait()


# ---- Django ----


def sync_view(request: HttpRequest) -> HttpResponse:
    response = JsonResponse({"path": request.path, "secure": request.is_secure(), "q": request.GET.get("q")})
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


async def async_view(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0)
    return HttpResponse("async")


def upload_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(request.body)))


async def stream_view(request: HttpRequest) -> StreamingHttpResponse:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(100):
            yield b"%d\n" % number

    return StreamingHttpResponse(pieces())


def boom_view(request: HttpRequest) -> HttpResponse:
    raise ValueError("boom")


urlpatterns = [
    path("", sync_view),
    path("async", async_view),
    path("upload", upload_view),
    path("stream", stream_view),
    path("boom", boom_view),
]


@pytest.fixture(scope="module")
def django_app() -> Iterator[Any]:
    settings.configure(
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["localhost"],
        SECRET_KEY="only for this test",
        DATA_UPLOAD_MAX_MEMORY_SIZE=None,
        LOGGING_CONFIG=None,
    )
    django.setup()
    yield get_asgi_application()


@on_both_loops
async def test_django(django_app: Any) -> None:
    async with serve(django_app, "127.0.0.1:0") as server, connected(server.address.port) as client:
        client.send(b"GET /?q=%C3%A9 HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Proto: https\r\n\r\n")
        head = await client.until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK") and head.lower().count(b"set-cookie: ") == 2
        assert b'"secure": true' in await client.until(b"}")
        assert (await get(client, "/async"))[2] == b"async"
        assert (await get(client, "/absent"))[0] == 404
        client.send(POST % b"/upload" + b"Content-Length: 3000000\r\n\r\n" + b"x" * 3_000_000)
        assert (await client.response())[2] == b"3000000"
        assert await chunked(client, "/stream") == b"".join(b"%d\n" % number for number in range(100))
        assert (await get(client, "/boom"))[0] == 500


@on_both_loops
async def test_starlette_websockets() -> None:
    async def chat(socket: WebSocket) -> None:
        if socket.query_params["a"] == "b" and "denied" in socket.headers:
            await socket.send_denial_response(PlainTextResponse("who are you?", 401))
            return
        await socket.accept(subprotocol="two")
        async for text in socket.iter_text():
            await socket.send_json({"text": text})
        assert socket.client_state is WebSocketState.DISCONNECTED

    app = Starlette(routes=[WebSocketRoute("/chat", chat)])
    wanted = HANDSHAKE + b"Sec-WebSocket-Protocol: one, two\r\n"
    async with serve(app, "127.0.0.1:0") as server:
        async with connected(server.address.port) as client:
            client.send(wanted + b"denied: yes\r\n\r\n")
            status, _, body = await client.response()
            assert (status, body) == (401, b"who are you?")
        async with connected(server.address.port) as client:
            client.send(wanted + b"\r\n")
            assert b"\r\nSec-WebSocket-Protocol: two\r\n" in await client.until(b"\r\n\r\n")
            peer = Peer(client, [])
            peer.say("hé")
            assert json.loads((await peer.hear()).payload) == {"text": "hé"}  # type: ignore[arg-type]
            client.send(peer.close(1001))
            assert (await peer.told())[0] == 1001
