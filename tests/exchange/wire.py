"""An HTTP server on a real loopback socket, and a raw client for it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

from lbkit.exchange import Handler, HttpServer, HttpSettings

__all__ = ["GET", "LAST_GET", "Client", "Site", "ask", "connected", "site"]

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
LAST_GET = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


class Client:
    """A raw client; every wait has a limit, so that a fault ends the test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def until(self, end: bytes) -> bytes:
        async with asyncio.timeout(5):
            return await self.reader.readuntil(end)

    async def exactly(self, size: int) -> bytes:
        async with asyncio.timeout(5):
            return await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        async with asyncio.timeout(5):
            return await self.reader.read()

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """One response with a Content-Length: status, fields in lower case, body."""
        head = (await self.until(b"\r\n\r\n")).decode("latin-1")
        start, *lines = head.split("\r\n")[:-2]
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(start.split()[1]), fields, await self.exactly(int(fields.get("content-length", "0")))

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def connected(port: int, *, receive_buffer: int = 0) -> AsyncIterator[Client]:
    """A client of what listens on *port*; *receive_buffer* makes it one that takes little at a time."""
    sock = socket.socket()
    sock.setblocking(False)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=4096 if receive_buffer else 2**16)
    client = Client(reader, writer)
    try:
        yield client
    finally:
        await client.close()


class Site:
    """A listening `HttpServer`."""

    def __init__(self, http: HttpServer, port: int) -> None:
        self.http = http
        self.port = port

    @contextlib.asynccontextmanager
    async def client(self, *, receive_buffer: int = 0) -> AsyncIterator[Client]:
        async with connected(self.port, receive_buffer=receive_buffer) as client:
            yield client

    async def ask(self, data: bytes) -> bytes:
        """Everything that comes back for *data* until the server closes."""
        async with self.client() as client:
            client.send(data)
            return await client.rest()


@contextlib.asynccontextmanager
async def site(
    handler: Handler, settings: HttpSettings | None = None, clock: Callable[[], float] | None = None
) -> AsyncIterator[Site]:
    """Serve *handler* on a free port."""
    http = HttpServer(handler, settings, clock=clock)
    server = await asyncio.get_running_loop().create_server(http.protocol_factory, "127.0.0.1", 0)
    try:
        yield Site(http, server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await http.close()


async def ask(handler: Handler, data: bytes, settings: HttpSettings | None = None) -> bytes:
    """Everything that a server of *handler* sends back for *data* until it closes."""
    async with site(handler, settings) as where:
        return await where.ask(data)
