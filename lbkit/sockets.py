"""Bound and connected sockets: the one edge where their OSErrors become errors of ours.

Connecting never resolves a numeric address and needs no task: a non-blocking connect and one
`add_writer`, or a poller's registration that the socket then keeps. Names are the slow path and go
through the loop's resolver.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import struct
from collections.abc import Callable
from pathlib import Path

from lbkit.errors import ConnectFailed, Exhausted, StartFailed
from lbkit.kernel.poller import ERROR, HANG_UP, WRITABLE, Poller
from lbkit.server import Address

__all__ = ["EXHAUSTED", "Dial", "bind", "connect", "reset"]

EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
"""What accept(2) and socket(2) fail with where this process or machine has no room left."""

BACKLOG = 4096
"""Connections the kernel holds until they are accepted, so that thousands may come at once: its own limit
since Linux 5.4 (net.core.somaxconn)."""


def bind(address: Address, *, reuse_port: bool = False) -> socket.socket:
    """A listening, non-blocking socket.

    *reuse_port*: further sockets that are bound so may share the address, and the kernel spreads new
    connections over them (SO_REUSEPORT, socket(7)). Not for Unix sockets.

    Raises StartFailed with a line that says what to do: address in use, privileged port, a Unix path
    that is another program's.
    """
    if address.path:
        _remove_stale_unix_socket(address)
    sock = _new_socket(address)
    try:
        if not address.path:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Accepted sockets inherit it, at no cost for each: a balancer adds no delay of its own.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(_sockaddr(address))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise StartFailed(_why_not_bound(address, error)) from None
    return sock


_LINGER_NONE = struct.pack("ii", 1, 0)


def reset(sock: socket.socket) -> None:
    """Close *sock* so that the other end sees a reset and this one keeps nothing of it, no TIME_WAIT
    either."""
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
    sock.close()


# Where the system has it, one system call less for each connection.
_NON_BLOCKING: int = getattr(socket, "SOCK_NONBLOCK", 0)


def _new_socket(address: Address) -> socket.socket:
    sock = socket.socket(_family(address), socket.SOCK_STREAM | _NON_BLOCKING)
    if not _NON_BLOCKING:
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
    ConnectFailed or Exhausted; after `cancel` it is not called. It may be called from within `start`.

    With a *poller* the socket is watched by it and stays so: whoever gets it takes it over, and is told of
    what happened meanwhile as soon as `done` returns.
    """

    __slots__ = ("_address", "_done", "_loop", "_others", "_poller", "_resolving", "_sock")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: Address,
        done: Callable[[socket.socket | ConnectFailed | Exhausted], None],
        poller: Poller | None = None,
    ) -> None:
        self._loop = loop
        self._poller = poller
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
            self._close()
            if error.errno in EXHAUSTED:
                self._done(Exhausted(os.strerror(error.errno or 0).lower()))
            else:
                self._fail(os.strerror(error.errno or 0).lower())
            return
        code = sock.connect_ex(_sockaddr(address))
        if code in EXHAUSTED or code == errno.EADDRNOTAVAIL:  # the last: no local port is left (connect(2))
            self._close()
            self._done(Exhausted(os.strerror(code).lower()))
        elif code != errno.EINPROGRESS:
            self._finish(sock, code)
        elif self._poller is None:
            self._loop.add_writer(sock.fileno(), self._writable)
        else:
            try:
                self._poller.watch(sock.fileno(), self)
            except OSError as error:  # epoll_ctl(2): no memory, or the user's max_user_watches
                self._close()
                self._done(Exhausted(os.strerror(error.errno or 0).lower()))

    def ready(self, mask: int) -> None:
        """What the poller tells."""
        sock, poller = self._sock, self._poller
        assert sock is not None and poller is not None
        if mask & (ERROR | HANG_UP):
            self._finish(sock, sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ECONNRESET)
        elif mask & WRITABLE:
            self._finish(sock, 0)
            if mask != WRITABLE:
                poller.pass_on(sock.fileno(), mask)

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
        self._close()
        if self._others:
            self._connect(self._others.pop(0))
        else:
            self._done(ConnectFailed(f"{self._address}: {reason}"))

    def _close(self) -> None:
        sock, self._sock = self._sock, None
        if sock is None:
            return
        if self._poller is not None:
            self._poller.close(sock)
        else:
            self._loop.remove_writer(sock.fileno())
            sock.close()

    def cancel(self) -> None:
        """Give up; nothing stays open."""
        if self._resolving is not None:
            self._resolving.cancel()
        self._close()


async def connect(address: Address, timeout: float) -> socket.socket:
    """A connected non-blocking socket, within *timeout* seconds, name resolution included.

    Raises ConnectFailed, and Exhausted where it is this process that has no room for one more.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[socket.socket | ConnectFailed | Exhausted] = loop.create_future()
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
    if isinstance(result, ConnectFailed | Exhausted):
        raise result
    return result


def _close_result(future: asyncio.Future[socket.socket | ConnectFailed | Exhausted], dial: Dial) -> None:
    dial.cancel()
    if future.done() and isinstance(result := future.result(), socket.socket):
        result.close()
