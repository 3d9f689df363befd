"""The conformance suite that every registered relay passes."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import struct

import pytest

from lbkit.relay import RELAYS, Relay, RelayEnd, choose_relay
from tests.support.loops import on_both_loops

every_relay = pytest.mark.parametrize("name", list(RELAYS))
SIZES = (0, 1, 1000, 65_535, 65_536, 70_000, 1_000_000)


class Joined:
    """A client and a server, joined by a relay over real loopback connections."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.get_running_loop()
        self.client, downstream = tcp_pair()
        self.server, upstream = tcp_pair()
        self.ended: asyncio.Future[RelayEnd] = self.loop.create_future()
        self.relay: Relay = RELAYS[name].factory(self.loop, downstream, upstream, self.ended.set_result)
        self.relay.start()

    async def end(self) -> RelayEnd:
        async with asyncio.timeout(20):
            return await self.ended

    async def read_all(self, sock: socket.socket) -> bytes:
        received = bytearray()
        async with asyncio.timeout(20):
            while data := await self.loop.sock_recv(sock, 65536):
                received += data
        return bytes(received)

    async def read(self, sock: socket.socket, count: int) -> bytes:
        received = b""
        async with asyncio.timeout(20):
            while len(received) < count:
                received += await self.loop.sock_recv(sock, count - len(received))
        return received

    async def send_and_shut(self, sock: socket.socket, data: bytes) -> None:
        async with asyncio.timeout(20):
            await self.loop.sock_sendall(sock, data)
        sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.client.close()
        self.server.close()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        one = socket.create_connection(listening.getsockname())
        other, _ = listening.accept()
    one.setblocking(False)
    other.setblocking(False)
    return one, other


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@every_relay
@pytest.mark.parametrize("size", SIZES)
@on_both_loops
async def test_every_byte_arrives_both_ways_at_once(name: str, size: int) -> None:
    joined = Joined(name)
    request, response = random.Random(1).randbytes(size), random.Random(2).randbytes(size)
    at_server, at_client, *_ = await asyncio.gather(
        joined.read_all(joined.server),
        joined.read_all(joined.client),
        joined.send_and_shut(joined.client, request),
        joined.send_and_shut(joined.server, response),
    )
    assert at_server == request
    assert at_client == response
    assert await joined.end() is RelayEnd.DONE
    assert (joined.relay.bytes_in, joined.relay.bytes_out) == (size, size)
    joined.close()


@every_relay
@on_both_loops
async def test_a_half_close_is_passed_on_and_the_answer_still_comes(name: str) -> None:
    joined = Joined(name)
    await joined.send_and_shut(joined.client, b"request")
    assert await joined.read_all(joined.server) == b"request"
    await joined.send_and_shut(joined.server, b"answer")
    assert await joined.read_all(joined.client) == b"answer"
    assert await joined.end() is RelayEnd.DONE
    joined.close()


@every_relay
@on_both_loops
async def test_a_server_that_speaks_and_leaves_first(name: str) -> None:
    joined = Joined(name)
    await joined.send_and_shut(joined.server, b"greeting")
    assert await joined.read_all(joined.client) == b"greeting"
    await joined.send_and_shut(joined.client, b"thanks")
    assert await joined.read_all(joined.server) == b"thanks"
    assert await joined.end() is RelayEnd.DONE
    joined.close()


@every_relay
@on_both_loops
async def test_a_reset_of_the_client_reaches_the_server(name: str) -> None:
    joined = Joined(name)
    await joined.loop.sock_sendall(joined.client, b"x")
    assert await joined.read(joined.server, 1) == b"x"
    reset(joined.client)
    with pytest.raises(ConnectionResetError):
        await joined.read_all(joined.server)
    assert await joined.end() is RelayEnd.CLIENT_RESET
    joined.close()


@every_relay
@on_both_loops
async def test_a_reset_of_the_server_reaches_the_client(name: str) -> None:
    joined = Joined(name)
    await joined.loop.sock_sendall(joined.server, b"x")
    assert await joined.read(joined.client, 1) == b"x"
    reset(joined.server)
    with pytest.raises(ConnectionResetError):
        await joined.read_all(joined.client)
    assert await joined.end() is RelayEnd.SERVER_RESET
    joined.close()


@every_relay
@on_both_loops
async def test_memory_is_bounded_with_a_slow_reader(name: str) -> None:
    """The sender stands still long before what nobody reads is in our memory."""
    joined = Joined(name)
    sent = 0
    sender = joined.server
    with pytest.raises(TimeoutError):
        while sent < 200_000_000:
            async with asyncio.timeout(0.3):
                await joined.loop.sock_sendall(sender, bytes(65536))
            sent += 65536
    client_side, server_side = joined.relay.progress()
    assert server_side - client_side < 2_000_000, "bytes taken from the server and not given to the client"
    assert sent < 50_000_000
    reset(joined.client)
    await joined.end()
    joined.close()


@every_relay
@on_both_loops
async def test_a_slow_reader_gets_the_tail(name: str) -> None:
    joined = Joined(name)
    data = random.Random(3).randbytes(3_000_000)
    sending = asyncio.create_task(joined.send_and_shut(joined.server, data))
    joined.client.shutdown(socket.SHUT_WR)
    received = bytearray()
    while chunk := await joined.loop.sock_recv(joined.client, 4096):
        received += chunk
    await sending
    assert bytes(received) == data
    assert await joined.end() is RelayEnd.DONE
    joined.close()


@every_relay
@on_both_loops
async def test_abort_closes_both_sides(name: str) -> None:
    joined = Joined(name)
    await joined.loop.sock_sendall(joined.client, b"x")
    assert await joined.read(joined.server, 1) == b"x"
    joined.relay.abort()
    assert await joined.end() is RelayEnd.ABORTED
    assert await joined.read_all(joined.server) == b""
    assert await joined.read_all(joined.client) == b""
    joined.close()


@every_relay
@on_both_loops
async def test_abort_before_the_first_byte(name: str) -> None:
    joined = Joined(name)
    joined.relay.abort()
    assert await joined.end() is RelayEnd.ABORTED
    joined.close()


@every_relay
@on_both_loops
async def test_progress_counts_each_side(name: str) -> None:
    joined = Joined(name)
    await joined.loop.sock_sendall(joined.client, b"12345")
    assert await joined.read(joined.server, 5) == b"12345"
    await asyncio.sleep(0)
    assert joined.relay.progress() == (5, 5)
    reset(joined.client)
    await joined.end()
    joined.close()


@every_relay
@on_both_loops
async def test_many_sessions_at_once(name: str) -> None:
    sessions = [Joined(name) for _ in range(100)]

    async def talk(joined: Joined, data: bytes) -> None:
        await joined.send_and_shut(joined.client, data)
        assert await joined.read_all(joined.server) == data
        await joined.send_and_shut(joined.server, data[::-1])
        assert await joined.read_all(joined.client) == data[::-1]
        assert await joined.end() is RelayEnd.DONE
        joined.close()

    rng = random.Random(4)
    await asyncio.gather(*(talk(joined, rng.randbytes(rng.randrange(100_000))) for joined in sessions))


def test_auto_takes_the_preferred_one_that_works(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    best = max(
        (entry.factory for entry in RELAYS.values() if not entry.factory.unsupported()),
        key=lambda r: r.preference,
    )
    assert choose_relay("auto") is best


def test_a_relay_that_cannot_work_here_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RELAYS["stream"].factory, "unsupported", lambda: "no luck")
    with pytest.raises(ValueError, match='relay "stream" cannot be used here: no luck'):
        choose_relay("stream")
