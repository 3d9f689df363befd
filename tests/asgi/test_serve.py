from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from lbkit.asgi import serve
from lbkit.asgi.serve import APP_SETTINGS
from lbkit.asgi.types import Receive, Scope, Send
from lbkit.config import TlsConfig
from lbkit.errors import StartFailed
from lbkit.tls import Termination
from tests.exchange.wire import GET, LAST_GET, connected
from tests.support.certificates import Authority, client_context
from tests.support.loops import on_both_loops
from tests.support.processes import wait_until


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


@on_both_loops
async def test_a_stream_without_end_is_cut_when_the_time_is_over() -> None:
    ended: list[str] = []

    async def streaming(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
                await asyncio.sleep(0.01)
        finally:
            ended.append("cancelled")

    async with serve(streaming, "127.0.0.1:0", stop_timeout=0.2) as server:
        async with connected(server.address.port) as client:
            client.send(GET)
            await client.until(b"x")
            assert await server.stop() == 1
            with contextlib.suppress(ConnectionResetError):
                assert not (await client.rest()).endswith(b"0\r\n\r\n")
    assert ended == ["cancelled"]


def secured(folder: Path) -> tuple[Termination, ssl.SSLContext]:
    authority = Authority(folder)
    config = TlsConfig(authority.issue("site.pem", ["127.0.0.1"]))
    return Termination(config, "tls", mode="http"), client_context(authority, alpn=["http/1.1"])


@on_both_loops
async def test_over_tls(tmp_path: Path) -> None:
    tls, context = secured(tmp_path)

    async def schemes(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": scope["scheme"].encode()})

    async with serve(schemes, "127.0.0.1:0", tls=tls) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.address.port, ssl=context)
        writer.write(LAST_GET)
        assert (await reader.read()).endswith(b"\r\n\r\nhttps")
        writer.close()
        async with connected(server.address.port) as client:
            client.send(GET)  # no TLS
            with contextlib.suppress(ConnectionResetError):
                await client.rest()


@on_both_loops
async def test_of_too_many_handshakes_the_oldest_ends_and_none_holds_up_the_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["lbkit.asgi.serve"], "_MAX_SECURING", 2)
    tls, context = secured(tmp_path)
    async with serve(app, "127.0.0.1:0", tls=tls) as server, contextlib.AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(connected(server.address.port)) for _ in range(3)]
        with contextlib.suppress(ConnectionResetError):
            assert await idle[0].rest() == b""
        reader, writer = await asyncio.open_connection("127.0.0.1", server.address.port, ssl=context)
        writer.write(LAST_GET)
        assert (await reader.read()).endswith(b"hello")
        writer.close()
        async with asyncio.timeout(2):
            await server.stop()


CRAMPED = """
import asyncio, resource, uvloop
from lbkit.asgi import serve

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"hello"})

async def main():
    async with serve(app, "127.0.0.1:0") as server:
        resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
        print(server.address.port, flush=True)
        await asyncio.Event().wait()

uvloop.run(main())
"""


def test_without_descriptors_who_is_there_is_served_and_later_everybody() -> None:
    process = subprocess.Popen([sys.executable, "-c", CRAMPED], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        where = ("127.0.0.1", int(process.stdout.readline()))

        def ask(sock: socket.socket) -> bytes:
            with contextlib.suppress(ConnectionError):
                sock.sendall(GET)
                return sock.recv(1000)
            return b""

        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(where, timeout=10)) for _ in range(100)]
            answers = [ask(client) for client in clients]
            assert sum(answer.endswith(b"hello") for answer in answers) >= 30
            assert answers.count(b"") >= 40, "who finds no room is closed, and does not wait for ever"
            assert ask(clients[0]).endswith(b"hello")

        def is_answered() -> bool:
            with socket.create_connection(where, timeout=10) as client:
                return ask(client).endswith(b"hello")

        wait_until(is_answered, 5)  # it has to notice first that they have gone
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


@on_both_loops
async def test_a_websocket_over_tls(tmp_path: Path) -> None:
    tls, context = secured(tmp_path)
    schemes: list[str] = []

    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        schemes.append(scope["scheme"])
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "bytes": message["bytes"]})

    async with serve(echo, "127.0.0.1:0", tls=tls) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.address.port, ssl=context)
        writer.write(
            b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        data = bytes(range(256)) * 400
        writer.write(b"\x82\xff" + len(data).to_bytes(8, "big") + bytes(4) + data)
        assert await reader.readexactly(10) == b"\x82\x7f" + len(data).to_bytes(8, "big")
        assert await reader.readexactly(len(data)) == data
        stopping = asyncio.create_task(server.stop())
        assert (await reader.readexactly(4))[2:] == (1012).to_bytes(2, "big")
        writer.write(b"\x88\x82\0\0\0\0\x03\xf4")
        assert await stopping == 0
        writer.close()
    assert schemes == ["wss"]
