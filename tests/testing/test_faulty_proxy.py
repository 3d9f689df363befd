from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from lbkit.server import Address
from lbkit.testing.faulty_proxy import FaultyProxy
from tests.support.backends import Backend
from tests.support.loops import on_both_loops, until

PATIENCE = 0.05  # seconds in which nothing may come


@contextlib.asynccontextmanager
async def echo() -> AsyncIterator[Address]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.write(b"bye")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()


async def connect(proxy: FaultyProxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(proxy.address.host, proxy.address.port)


async def says_nothing(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(PATIENCE):
            await reader.read(1)
    except TimeoutError:
        return True
    return False


@on_both_loops
async def test_bytes_and_ends_go_both_ways() -> None:
    async with echo() as target, FaultyProxy(target) as proxy:
        reader, writer = await connect(proxy)
        writer.write(b"x" * 1_000_000)
        assert await reader.readexactly(1_000_000) == b"x" * 1_000_000
        writer.write_eof()
        assert await reader.read() == b"bye"
        writer.close()
        assert proxy.connections == 1 and proxy.bytes == 2_000_003


@on_both_loops
async def test_what_is_held_for_a_while_waits_while_it_hangs() -> None:
    came: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(10):
            came.append(data)
            writer.write(data)

    async with Backend(talk) as target, FaultyProxy(Address.parse(target)) as proxy:
        reader, writer = await connect(proxy)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        proxy.delay(PATIENCE / 2)
        writer.write(b"b")
        await until(lambda: proxy.bytes == 3)
        proxy.hang()
        assert await says_nothing(reader)
        assert came == [b"a"]
        proxy.heal()
        assert await reader.readexactly(1) == b"b"
        writer.close()


@on_both_loops
async def test_a_hang_says_nothing_and_goes_on_when_healed() -> None:
    async with echo() as target, FaultyProxy(target) as proxy:
        reader, writer = await connect(proxy)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        proxy.hang()
        writer.write(b"b")
        other_reader, other_writer = await connect(proxy)  # it is let in, and that is all
        other_writer.write(b"c")
        assert await says_nothing(reader) and await says_nothing(other_reader)
        proxy.heal()
        assert await reader.readexactly(1) == b"b" and await other_reader.readexactly(1) == b"c"
        for end in (writer, other_writer):
            end.close()


@on_both_loops
async def test_a_cut_resets_those_who_are_there_and_those_who_come() -> None:
    async with echo() as target, FaultyProxy(target) as proxy:
        reader, writer = await connect(proxy)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        proxy.cut()
        with pytest.raises(ConnectionError):
            await reader.readexactly(1)
        with pytest.raises(ConnectionError):
            late, _ = await connect(proxy)
            await late.readexactly(1)
        proxy.heal()
        reader, writer = await connect(proxy)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        proxy.reset()
        with pytest.raises(ConnectionError):
            await reader.readexactly(1)


@on_both_loops
async def test_a_delay_holds_each_piece_and_keeps_their_order() -> None:
    async with echo() as target, FaultyProxy(target) as proxy:
        reader, writer = await connect(proxy)
        proxy.delay(PATIENCE)
        began = asyncio.get_running_loop().time()
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        assert asyncio.get_running_loop().time() - began >= 1.9 * PATIENCE  # there and back
        writer.write(b"b")
        await until(lambda: proxy.bytes >= 3)
        proxy.delay(0)
        writer.write(b"c")
        writer.write_eof()
        assert await reader.read() == b"bcbye"
        writer.close()


@on_both_loops
async def test_no_server_is_a_reset() -> None:
    async with FaultyProxy(Address("127.0.0.1", 1)) as proxy:
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            reader, _ = await connect(proxy)
            await reader.readexactly(1)
