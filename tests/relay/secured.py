"""TLS connections in tests: two transports over a real loopback connection, each with a recorder inside."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

from lbkit.relay.tls_transport import TlsTransport
from tests.support.certificates import Authority, client_context
from tests.support.loops import until

__all__ = ["Inside", "contexts", "transport"]


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
