"""Small real servers on loopback for tests."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable
from types import TracebackType

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

__all__ = ["Backend", "Talk", "echo", "free_address", "full_backlog", "hold"]


class Backend:
    """A server that runs *talk* on each connection; entering gives its ``host:port``."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._open: set[asyncio.StreamWriter] = set()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            await self._talk(reader, writer)
        except (OSError, EOFError):
            pass  # the other side left, as many tests want it to
        finally:
            self._open.discard(writer)
            writer.close()

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what it gets."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes everything and says nothing."""
    while await reader.read(65536):
        pass


def free_address() -> str:
    """An address where nobody listens.

    On Linux all of 127.0.0.0/8 is this machine: on an address of its own no test that runs beside this one
    gets the port.
    """
    host = "127.0.0.9" if sys.platform == "linux" else "127.0.0.1"
    with socket.create_server((host, 0)) as sock:
        return f"{host}:{sock.getsockname()[1]}"


def full_backlog() -> tuple[socket.socket, list[socket.socket]]:
    """A listening socket whose queue is full, so that further connects hang; and what fills it."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(0)
    clients = []
    for _ in range(4):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(listening.getsockname())
        clients.append(client)
    return listening, clients
