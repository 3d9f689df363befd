from __future__ import annotations

import asyncio
import json

import pytest

from lbkit.asgi import serve
from lbkit.bench.applications import app
from lbkit.bench.clients import Ask, Measured, websocket_client
from lbkit.bench.echoes import main


async def measured(address: object, capsys: pytest.CaptureFixture[str]) -> Measured:
    await main(str(address), "/", 4, 0.2)
    return Measured(**json.loads(capsys.readouterr().out))


async def test_echoes_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    async with serve(app, "127.0.0.1:0") as server:
        seen = await measured(server.address, capsys)
    assert seen.failures == 0
    assert seen.requests > 8
    assert seen.rate == pytest.approx(seen.requests / 0.2)
    assert 0 < seen.p50_ms <= seen.p99_ms < 200


async def test_in_a_process_of_its_own() -> None:
    async with serve(app, "127.0.0.1:0") as server:
        seen = await asyncio.to_thread(websocket_client, server.address, Ask("/", 2, 0.2))
    assert seen.requests > 0 and seen.failures == 0


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"HTTP/1.1 101 X\r\n\r\n"])
async def test_what_is_no_echo_is_a_failure(answer: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    async def wrong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await reader.read(1000)
        writer.write(b"\x81\x40" + b"y" * 64)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(wrong, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        seen = await measured(f"127.0.0.1:{port}", capsys)
    assert (seen.requests, seen.failures) == (0, 4)


async def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    assert (await measured(f"127.0.0.1:{port}", capsys)).failures == 4
