from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from lbkit.asgi import serve
from lbkit.asgi.serve import APP_SETTINGS
from lbkit.asgi.types import Receive, Scope, Send
from lbkit.errors import StartFailed
from tests.exchange.wire import GET, connected
from tests.support.loops import on_both_loops


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what its lifespan left in the state."""
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["word"] = b"hello"
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": scope["state"]["word"]})


@on_both_loops
async def test_a_server_for_the_length_of_a_block() -> None:
    async with serve(app, "127.0.0.1:0") as server:
        assert server.address.port > 0
        async with connected(server.address.port) as client:
            client.send(GET)
            assert (await client.response())[2] == b"hello"
        assert server.http.counters.requests == 1
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", server.address.port)


@on_both_loops
async def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with serve(app, f"unix:{path}"):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(GET)
        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 OK")
        writer.close()
        await writer.wait_closed()
    assert not path.exists()


@on_both_loops
async def test_a_port_in_use_is_told_before_the_app_starts() -> None:
    async with serve(app, "127.0.0.1:0") as server:
        with pytest.raises(StartFailed, match="in use"):
            await serve(app, server.address).start()


@on_both_loops
async def test_an_app_that_does_not_start_leaves_nothing_bound(tmp_path: Path) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(StartFailed, match="no database"):
        await serve(broken, f"unix:{tmp_path}/s").start()
    assert os.listdir(tmp_path) == []


@on_both_loops
async def test_stopping_has_a_limit() -> None:
    begun = asyncio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            begun.set()
            await asyncio.sleep(1000)

    server = serve(endless, "127.0.0.1:0", stop_timeout=0.01)
    await server.start()
    async with connected(server.address.port) as client:
        client.send(GET)
        await begun.wait()
        assert await server.stop() == 1
    assert await server.stop() == 0


def test_connections_are_kept_longer_than_balancers_reuse_them() -> None:
    assert APP_SETTINGS.keep_alive == 5.0


def test_an_address_that_is_none() -> None:
    with pytest.raises(ValueError, match="is not an address"):
        serve(app, "nowhere")
