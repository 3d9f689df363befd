"""What every relay does (`test_base`), for sessions with TLS on one side or on both."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lbkit.relay import RelayEnd
from lbkit.relay.secure import SecureRelay
from lbkit.relay.tls_transport import TlsTransport
from tests.relay.joined import reset, resources, tcp_pair
from tests.relay.secured import Inside, contexts, transport
from tests.support.loops import on_both_loops, until

sides = pytest.mark.parametrize("secured", ["client", "server", "both"])


class Session:
    """A relay between `client` and `server`, which are transports with a recorder inside each."""

    def __init__(self) -> None:
        self.client, self.server = Inside(), Inside()
        self.relay: SecureRelay
        self.ends: list[RelayEnd] = []


async def plain(sock: socket.socket, inside: Inside) -> None:
    inside.connection_made = lambda transport: setattr(inside, "transport", transport)  # type: ignore[method-assign]
    await asyncio.get_running_loop().connect_accepted_socket(lambda: inside, sock)


@asynccontextmanager
async def session(folder: Path, secured: str) -> AsyncIterator[Session]:
    server_context, client_context = contexts(folder)
    made = Session()
    client, downstream = tcp_pair()
    server, upstream = tcp_pair()
    ends: list[socket.socket | TlsTransport] = [downstream, upstream]
    if secured in ("client", "both"):
        outer, ends[0] = await asyncio.gather(
            transport(client, client_context, "a.example"), transport(downstream, server_context)
        )
        outer.attach(made.client)
    else:
        await plain(client, made.client)
    if secured in ("server", "both"):
        outer, ends[1] = await asyncio.gather(
            transport(server, server_context), transport(upstream, client_context, "a.example")
        )
        outer.attach(made.server)
    else:
        await plain(server, made.server)
    async with resources() as shared:
        made.relay = SecureRelay(shared, ends[0], ends[1], made.ends.append)
        made.relay.start()
        yield made
        for inside in (made.client, made.server):
            inside.transport.abort()
        made.relay.abort()
        await until(lambda: made.ends)
        assert len(made.ends) == 1, "the end is told once"
        await until(lambda: made.client.lost and made.server.lost)


@sides
@on_both_loops
async def test_every_byte_and_both_ends_go_through(tmp_path: Path, secured: str) -> None:
    for size in (0, 1, 70_000, 1_000_000):
        async with session(tmp_path, secured) as made:
            request, response = random.Random(1).randbytes(size), random.Random(2).randbytes(size)
            made.client.transport.write(request)
            made.client.transport.write_eof()
            await until(lambda made=made: made.server.ended)
            assert bytes(made.server.received) == request
            assert not made.ends
            made.server.transport.write(response)
            made.server.transport.write_eof()
            await until(lambda made=made: made.ends)
            assert made.ends == [RelayEnd.DONE]
            await until(lambda made=made: made.client.ended)
            assert bytes(made.client.received) == response
            assert (made.relay.bytes_in, made.relay.bytes_out) == (size, size)


@sides
@on_both_loops
async def test_a_reset_is_passed_on(tmp_path: Path, secured: str) -> None:
    async with session(tmp_path, secured) as made:
        made.client.transport.write(b"x")
        await made.server.has(b"x")
        sock = made.client.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        made.client.transport.abort()
        await until(lambda: made.server.lost)
        assert isinstance(made.server.lost[0], ConnectionResetError)
        await until(lambda: made.ends)
        assert made.ends == [RelayEnd.CLIENT_RESET]


@sides
@on_both_loops
async def test_a_slow_reader_bounds_what_is_held(tmp_path: Path, secured: str) -> None:
    async with session(tmp_path, secured) as made:
        made.client.transport.pause_reading()
        chunk, written = bytes(65_536), 0
        while not made.server.is_paused or written < 16 << 20:
            if made.server.is_paused:
                break
            made.server.transport.write(chunk)
            written += len(chunk)
            await asyncio.sleep(0.001)
        assert made.relay._downstream.unsent() < 1 << 20
        made.client.transport.resume_reading()
        await until(lambda: len(made.client.received) == written)


@on_both_loops
async def test_one_that_is_aborted_drops_both(tmp_path: Path) -> None:
    async with session(tmp_path, "both") as made:
        made.relay.abort()
        await until(lambda: made.ends)
        assert made.ends == [RelayEnd.ABORTED]


@on_both_loops
async def test_ends_that_left_before_the_start(tmp_path: Path) -> None:
    server_context, client_context = contexts(tmp_path)
    client, downstream = tcp_pair()
    server, upstream = tcp_pair()
    outer, end = await asyncio.gather(
        transport(client, client_context, "a.example"), transport(downstream, server_context)
    )
    ends: list[RelayEnd] = []
    async with resources() as shared:
        relay = SecureRelay(shared, end, upstream, ends.append)
        reset(server)
        outer.abort()
        relay.start()
        await until(lambda: ends)
        assert len(ends) == 1
