"""A client and a server, joined by a relay over real loopback connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from types import TracebackType

from lbkit.relay import RELAYS, Relay, RelayEnd, Resources
from lbkit.relay.sockmap import SockmapRelay

__all__ = ["AGES", "Joined", "reset", "resources", "tcp_pair"]

AGES = ("young", "lasting")
"""A session's first messages, or later ones: some relays change the data path in between."""
_LIMIT = 30


@contextlib.asynccontextmanager
async def resources() -> AsyncIterator[Resources]:
    """What the sessions of a test share."""
    found = Resources(asyncio.get_running_loop())
    try:
        yield found
    finally:
        await asyncio.sleep(0)  # sockets are closed after the events at hand
        found.close()


class Joined:
    """``async with``: a relay that has started; a lasting one has moved some messages."""

    def __init__(
        self,
        name: str,
        shared: Resources,
        *,
        age: str = "young",
        on_first_byte: Callable[[], None] | None = None,
        pair: Callable[[], tuple[socket.socket, socket.socket]] | None = None,
        factory: type[Relay] | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        make = pair or tcp_pair
        self.client, downstream = make()
        self.server, upstream = make()
        self.age = age
        self.ended: asyncio.Future[RelayEnd] = self.loop.create_future()
        self.ends = 0
        self.relay: Relay = (factory or RELAYS[name].factory)(
            shared, downstream, upstream, self._over, on_first_byte
        )
        self.warm_up = 0
        """Bytes that were moved each way before the test."""

    def _over(self, end: RelayEnd) -> None:
        self.ends += 1
        self.counts = self.relay.bytes_in, self.relay.bytes_out
        if not self.ended.done():
            self.ended.set_result(end)

    async def __aenter__(self) -> Joined:
        self.relay.start()
        if self.age == "lasting":
            for number in range(4):
                message = b"message %d" % number
                self.warm_up += len(message)
                await self.pass_on(self.client, self.server, message)
                await self.pass_on(self.server, self.client, message)
            if isinstance(self.relay, SockmapRelay):
                assert self.relay.client.is_joined and self.relay.server.is_joined, "the kernel has it"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        self.server.close()
        if not self.ended.done():
            self.relay.abort()
        async with asyncio.timeout(_LIMIT):
            await self.ended
        assert self.ends == 1, "the end is told once"

    async def pass_on(self, source: socket.socket, target: socket.socket, data: bytes) -> None:
        async with asyncio.timeout(_LIMIT):
            await self.loop.sock_sendall(source, data)
        assert await self.read(target, len(data)) == data

    async def end(self) -> RelayEnd:
        async with asyncio.timeout(_LIMIT):
            return await self.ended

    async def read_all(self, sock: socket.socket, size: int = 65536) -> bytes:
        received = bytearray()
        async with asyncio.timeout(_LIMIT):
            while data := await self.loop.sock_recv(sock, size):
                received += data
        return bytes(received)

    async def read(self, sock: socket.socket, count: int) -> bytes:
        received = bytearray()
        async with asyncio.timeout(_LIMIT):
            while len(received) < count:
                data = await self.loop.sock_recv(sock, count - len(received))
                assert data, f"ended after {len(received)} of {count} bytes"
                received += data
        return bytes(received)

    async def send_and_shut(self, sock: socket.socket, data: bytes) -> None:
        async with asyncio.timeout(_LIMIT):
            await self.loop.sock_sendall(sock, data)
        sock.shutdown(socket.SHUT_WR)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        one = socket.create_connection(listening.getsockname())
        other, _ = listening.accept()
    for sock in (one, other):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one, other


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
