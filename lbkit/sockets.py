"""Bound and connected sockets: the one edge where their OSErrors become errors of ours.

Connecting never resolves a numeric address and needs no task: a non-blocking connect and one
`add_writer`. Names are the slow path and go through the loop's resolver.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from lbkit.errors import ConnectFailed, StartFailed
from lbkit.server import Address

__all__ = ["Dial", "bind", "connect"]

BACKLOG = 2048
"""Connections the kernel holds until they are accepted (uvicorn's and granian's default)."""


def bind(address: Address) -> socket.socket:
    """A listening, non-blocking socket.

    Raises StartFailed with a line that says what to do: address in use, privileged port, a Unix path
    that is another program's.
    """
    if address.path:
        _remove_stale_unix_socket(address)
    sock = _new_socket(address)
    try:
        if not address.path:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(_sockaddr(address))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise StartFailed(_why_not_bound(address, error)) from None
    return sock


def _new_socket(address: Address) -> socket.socket:
    sock = socket.socket(_family(address), socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


def _family(address: Address) -> socket.AddressFamily:
    if address.path:
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address.host else socket.AF_INET


def _sockaddr(address: Address) -> str | tuple[str, int]:
    return address.path or (address.host, address.port)


def _why_not_bound(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"cannot listen on {address}: it is in use by another program; stop it or choose another port"
    if error.errno == errno.EACCES and address.path:
        return f"cannot listen on {address}: no permission to write in its folder"
    if error.errno == errno.EACCES:
        return f"cannot listen on {address}: ports below 1024 need root; choose a higher one"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on {address}: this machine has no such address"
    return f"cannot listen on {address}: {(error.strerror or str(error)).lower()}"


def _remove_stale_unix_socket(address: Address) -> None:
    """A socket file that nobody listens on is what a killed process left; a live one is kept."""
    path = Path(address.path)
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise StartFailed(f"cannot listen on {address}: the path exists and is not a socket")
    except FileNotFoundError:
        return
    with _new_socket(address) as probe:
        if probe.connect_ex(address.path) == errno.ECONNREFUSED:
            path.unlink(missing_ok=True)


class Dial:
    """One attempt to connect to a server; the addresses of a name are tried one after the other.

    `done` is called exactly once, with a connected non-blocking socket that the callee owns, or with
    ConnectFailed; after `cancel` it is not called. It may be called from within `start`.
    """

    __slots__ = ("_address", "_done", "_loop", "_others", "_resolving", "_sock")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: Address,
        done: Callable[[socket.socket | ConnectFailed], None],
    ) -> None:
        self._loop = loop
        self._address = address
        self._done = done
        self._sock: socket.socket | None = None
        self._resolving: asyncio.Task[None] | None = None
        self._others: list[Address] = []

    def start(self) -> None:
        """Begin; call once."""
        if self._address.is_numeric:
            self._connect(self._address)
        else:
            self._resolving = self._loop.create_task(self._resolve())

    async def _resolve(self) -> None:
        host = self._address.host
        try:
            found = await self._loop.getaddrinfo(host, self._address.port, type=socket.SOCK_STREAM)
        except OSError as error:
            self._fail(f'cannot resolve "{host}": {error.strerror}')
        else:
            # localhost is often ::1 first, where a server that listens on 127.0.0.1 is not.
            first, *self._others = [Address(str(entry[4][0]), self._address.port) for entry in found]
            self._connect(first)

    def _connect(self, address: Address) -> None:
        try:
            sock = self._sock = _new_socket(address)
            if not address.path:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            return self._fail(os.strerror(error.errno or 0).lower())
        code = sock.connect_ex(_sockaddr(address))
        if code == errno.EINPROGRESS:
            self._loop.add_writer(sock.fileno(), self._writable)
        else:
            self._finish(sock, code)
        return None

    def _writable(self) -> None:
        sock = self._sock
        assert sock is not None
        self._loop.remove_writer(sock.fileno())
        self._finish(sock, sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _finish(self, sock: socket.socket, code: int) -> None:
        if code:
            self._fail(os.strerror(code).lower())
        else:
            self._sock = None
            self._done(sock)

    def _fail(self, reason: str) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        if self._others:
            self._connect(self._others.pop(0))
        else:
            self._done(ConnectFailed(f"{self._address}: {reason}"))

    def cancel(self) -> None:
        """Give up; nothing stays open."""
        if self._resolving is not None:
            self._resolving.cancel()
        if self._sock is not None:
            self._loop.remove_writer(self._sock.fileno())
            self._sock.close()
            self._sock = None


async def connect(address: Address, timeout: float) -> socket.socket:
    """A connected non-blocking socket, within *timeout* seconds, name resolution included.

    Raises ConnectFailed.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[socket.socket | ConnectFailed] = loop.create_future()
    dial = Dial(loop, address, future.set_result)
    dial.start()
    try:
        async with asyncio.timeout(timeout or None):
            result = await asyncio.shield(future)
    except TimeoutError:
        _close_result(future, dial)
        raise ConnectFailed(f"{address}: not connected within {timeout:g} s") from None
    except asyncio.CancelledError:
        _close_result(future, dial)
        raise
    if isinstance(result, ConnectFailed):
        raise result
    return result


def _close_result(future: asyncio.Future[socket.socket | ConnectFailed], dial: Dial) -> None:
    dial.cancel()
    if future.done() and isinstance(result := future.result(), socket.socket):
        result.close()
