from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lbkit.bench.naive import serve
from lbkit.server import Address
from tests.support.backends import Backend, free_address


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything back, once it is all there."""
    writer.write(await reader.read())


@asynccontextmanager
async def through(server: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection through the proxy; afterwards its session has ended, too."""
    running = await serve(Address("127.0.0.1", 0), Address.parse(server))
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(*running.sockets[0].getsockname())
            yield reader, writer
            writer.close()
            await writer.wait_closed()
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0)
    finally:
        running.close()


async def test_bytes_and_ends_pass_both_ways() -> None:
    async with Backend(echo) as address, through(address) as (reader, writer):
        writer.write(b"x" * 500_000)
        writer.write_eof()
        assert await reader.read() == b"x" * 500_000


async def test_a_server_that_is_not_there() -> None:
    async with through(free_address()) as (reader, _):
        assert await reader.read() == b""


async def test_a_reset_ends_the_session() -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.transport.abort()

    async with Backend(leave) as address, through(address) as (reader, writer):
        writer.write(b"xx")
        assert await reader.read() == b""
