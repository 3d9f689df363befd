from __future__ import annotations

import asyncio

from lbkit.asgi import serve
from lbkit.asgi.limit import Limited
from lbkit.asgi.types import Message, Receive, Scope, Send
from tests.exchange.wire import GET, connected
from tests.support.loops import on_both_loops


@on_both_loops
async def test_one_request_too_many_is_told_to_come_again() -> None:
    go, begun = asyncio.Event(), 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal begun
        if scope["type"] == "lifespan":
            raise NotImplementedError
        begun += 1
        await go.wait()
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"done"})

    async with serve(app, "127.0.0.1:0", max_concurrent=2) as server:
        port = server.address.port
        async with connected(port) as idle, connected(port) as a, connected(port) as b, connected(port) as c:
            a.send(GET)
            b.send(GET)
            while begun < 2:
                await asyncio.sleep(0)
            c.send(GET)
            status, fields, _ = await c.response()
            assert (status, fields["retry-after"]) == (503, "1")
            go.set()
            for client in (a, b):
                assert (await client.response())[2] == b"done"
            for client in (c, idle):
                client.send(GET)
                assert (await client.response())[0] == 200, "connections that stay open count for nothing"


async def test_a_call_that_raises_counts_no_more_and_websockets_never() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert limited.running == (scope["type"] == "http")
        raise KeyError

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    limited = Limited(app, 1)
    for kind in ("http", "websocket", "http"):
        try:
            await limited({"type": kind}, receive, send)
        except KeyError:
            assert limited.running == 0
