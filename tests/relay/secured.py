"""TLS connections in tests: two transports over a real loopback connection, each with a recorder inside."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

from lbkit.relay.tls_transport import TlsTransport
from tests.support.certificates import Authority, client_context
from tests.support.loops import until

__all__ = ["Eager", "Inside", "contexts", "transport"]


def contexts(
    folder: Path, *, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's."""
    authority = Authority(folder)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(authority.issue("site.pem", ["a.example"]))
    server.maximum_version = newest
    return server, client_context(authority)


class Inside(asyncio.Protocol):
    """Records what a transport brings; `keeps_open` is its answer to an end."""

    def __init__(self, *, keeps_open: bool = True) -> None:
        self.received = bytearray()
        self.ended = False
        self.lost: list[Exception | None] = []
        self.is_paused = False
        self.keeps_open = keeps_open
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, TlsTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert not self.ended
        self.received += data

    def eof_received(self) -> bool:
        assert not self.ended, "an end comes once"
        self.ended = True
        return self.keeps_open

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.append(error)

    async def has(self, data: bytes) -> None:
        await until(lambda: len(self.received) >= len(data))
        assert bytes(self.received) == data


async def transport(
    sock: socket.socket, context: ssl.SSLContext, name: str | None = None, timeout: float = 5
) -> TlsTransport:
    """One that is secured; raises what went wrong."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[TlsTransport] = loop.create_future()

    def failed(error: Exception) -> None:
        if not done.done():
            done.set_exception(error)

    made = TlsTransport(
        loop, sock, context, timeout=timeout, secured=done.set_result, failed=failed, server_name=name
    )
    made.start()
    return await done


class Eager:
    """A client that sends what it has together with the last message of its handshake, so that both come in
    one piece."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="a.example")

    async def begin(self, early: bytes) -> None:
        """Do the handshake, with *early* behind it."""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._flush()
                await self._take()
        await self.send(early)

    async def send(self, data: bytes) -> None:
        self._tls.write(data)
        await self._flush()

    async def _flush(self) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sock, self._outgoing.read())

    async def _take(self) -> None:
        self._incoming.write(await asyncio.get_running_loop().sock_recv(self._sock, 65_536))
