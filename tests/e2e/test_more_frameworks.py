"""One small application each of FastAPI, Quart and Litestar on the app server: JSON, upload, stream, WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import fastapi
import litestar
import litestar.response
import pytest
import quart

from lbkit.asgi import serve
from lbkit.asgi.types import App
from tests.asgi.test_websocket import HANDSHAKE, Peer
from tests.exchange.wire import connected
from tests.support.loops import on_both_loops


async def pieces() -> AsyncIterator[bytes]:
    for number in range(3):
        yield b"%d" % number
        await asyncio.sleep(0)


def of_fastapi() -> App:
    app = fastapi.FastAPI()

    @app.get("/hello/{name}")
    async def hello(name: str, times: int = 1) -> dict[str, Any]:
        return {"hello": name * times}

    @app.post("/size")
    async def size(request: fastapi.Request) -> dict[str, int]:
        return {"size": len(await request.body())}

    @app.get("/stream")
    async def stream() -> fastapi.responses.StreamingResponse:
        return fastapi.responses.StreamingResponse(pieces())

    @app.websocket("/chat")
    async def chat(socket: fastapi.WebSocket) -> None:
        await socket.accept()
        async for text in socket.iter_text():
            await socket.send_text(text.upper())

    return app


def of_quart() -> App:
    app = quart.Quart("small")

    @app.get("/hello/<name>")
    async def hello(name: str) -> dict[str, Any]:
        return {"hello": name * int(quart.request.args.get("times", "1"))}

    @app.post("/size")
    async def size() -> dict[str, int]:
        return {"size": len(await quart.request.get_data())}

    @app.get("/stream")
    async def stream() -> quart.Response:
        return quart.Response(pieces())

    @app.websocket("/chat")
    async def chat() -> None:
        while True:
            await quart.websocket.send((await quart.websocket.receive()).upper())

    return app


def of_litestar() -> App:
    @litestar.get("/hello/{name:str}")
    async def hello(request: litestar.Request[Any, Any, Any]) -> dict[str, Any]:
        return {"hello": request.path_params["name"] * int(request.query_params["times"])}

    @litestar.post("/size")
    async def size(request: litestar.Request[Any, Any, Any]) -> dict[str, int]:
        return {"size": len(await request.body())}

    @litestar.get("/stream")
    async def stream() -> litestar.response.Stream:
        return litestar.response.Stream(pieces())

    @litestar.websocket("/chat")
    async def chat(socket: litestar.WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        while True:
            await socket.send_text((await socket.receive_text()).upper())

    return litestar.Litestar([hello, size, stream, chat], openapi_config=None)


@pytest.fixture(params=[of_fastapi, of_quart, of_litestar])
def app(request: pytest.FixtureRequest) -> Iterator[App]:
    make: Callable[[], App] = request.param
    yield make()


@on_both_loops
async def test_a_small_application(app: App) -> None:
    async with serve(app, "127.0.0.1:0") as server, connected(server.address.port) as client:
        client.send(b"GET /hello/w%C3%A9?times=2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        status, fields, body = await client.response()
        assert (status, json.loads(body)) == (200, {"hello": "wéwé"})
        assert fields["content-type"].startswith("application/json")
        head = b"POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000\r\n\r\n"
        client.send(head + bytes(300_000))
        assert json.loads((await client.response())[2]) == {"size": 300_000}
        client.send(b"GET /missing HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await client.response())[0] == 404
        client.send(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await client.until(b"\r\n0\r\n\r\n")).count(b"\r\n1\r\n") == 3
        client.send(HANDSHAKE + b"\r\n")
        assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        peer = Peer(client, [])
        for word in ("hello", "again"):
            peer.say(word)
            assert (await peer.hear()).payload == word.upper()
        client.send(peer.close(1000))
        assert (await peer.told())[0] == 1000
