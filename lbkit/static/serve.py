"""`serve`: the files of a folder at an address, as a program's own server or inside a test."""

from __future__ import annotations

import asyncio
import os
import socket
from functools import partial
from pathlib import Path
from types import TracebackType

from lbkit.exchange import Exchange, HttpProtocol, HttpServer, HttpSettings, Work
from lbkit.server import Address
from lbkit.sockets import BACKLOG, bind
from lbkit.static.files import StaticFiles
from lbkit.static.known_files import KnownFiles
from lbkit.static.settings import StaticSettings

__all__ = ["StaticServer", "serve"]

_HTTP = HttpSettings()
_FILES = StaticSettings()


class StaticServer:
    """Serves *files*; made by `serve`.

    ``async with`` starts and stops it; or call `start` and `stop`. `address` is the real one once it has
    started, and `http` has the counters.
    """

    def __init__(
        self,
        files: StaticFiles,
        address: Address,
        *,
        settings: HttpSettings,
        stop_timeout: float,
        sock: socket.socket | None,
    ) -> None:
        self.address = address
        self.http = HttpServer(_Known(files), settings)
        self._stop_timeout = stop_timeout
        self._given = sock
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Bind and accept; raises StartFailed."""
        sock = self._given or bind(self.address)
        loop = asyncio.get_running_loop()
        if sock.family == socket.AF_UNIX:
            create = partial(loop.create_unix_server, self.http.protocol_factory)
        else:
            create = partial(loop.create_server, self.http.protocol_factory)
            host, port = sock.getsockname()[:2]
            self.address = Address(host, port)
        self._server = await create(sock=sock, backlog=BACKLOG)

    async def stop(self) -> int:
        """Accept no more and let requests end; the number of connections cut."""
        if self._server is None:
            return 0
        self._server.close()
        self._server = None
        if self.address.path and self._given is None:
            await asyncio.to_thread(Path(self.address.path).unlink, missing_ok=True)
        return await self.http.drain(self._stop_timeout)

    async def __aenter__(self) -> StaticServer:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


class _Known:
    """*files*, and the express way for what was asked for before."""

    def __init__(self, files: StaticFiles) -> None:
        self._files = files
        self._known = KnownFiles()

    def express(self, wire: HttpProtocol, data: bytes) -> bool:
        return self._known.answer(wire, data)

    def begin(self, exchange: Exchange) -> Work | None:
        work = self._files.begin(exchange)
        if work is None:
            self._known.learn(exchange, self._files, by_host=True)
        return work

    async def __call__(self, exchange: Exchange) -> None:
        await self._files(exchange)


def serve(
    directory: str | os.PathLike[str],
    address: Address | str,
    *,
    files: StaticSettings = _FILES,
    strip_prefix: str = "",
    settings: HttpSettings = _HTTP,
    stop_timeout: float = 10.0,
    sock: socket.socket | None = None,
) -> StaticServer:
    """A web server for the files of *directory* at *address*, ``host:port`` (port 0 for any free one) or
    ``unix:/path``.

    Use: ``async with serve("site", "127.0.0.1:0") as server: server.address``. *files* says what they are
    answered with, *strip_prefix* is the part of the path that stands for the directory, and *settings* have
    every limit of HTTP. *stop_timeout* is how many seconds requests may take to end when it stops. *sock* is
    a listening socket to accept on in place of one at *address*. Raises ConfigError for what is no directory
    and ValueError for an address that is none; starting raises StartFailed with a line that says what to do.
    """
    where = Address.parse(address) if isinstance(address, str) else address
    handler = StaticFiles(directory, strip_prefix=strip_prefix, settings=files)
    return StaticServer(handler, where, settings=settings, stop_timeout=stop_timeout, sock=sock)
