"""Which sockets are joined in the kernel, and how much it may move before it is looked who takes it."""

from __future__ import annotations

import contextlib
import socket
from typing import Protocol

from lbkit.errors import KernelUnsupported
from lbkit.kernel.bpf import SocketMap
from lbkit.kernel.poller import READABLE, Poller

__all__ = ["CREDIT", "Joins", "Lender"]

CREDIT = 1024 * 1024
"""Bytes that the kernel moves from a socket before it stops: what a slow reader can make it hold, beside its
own buffers. At half of it there is still time to raise the limit: a third of a millisecond at the speed of
loopback, more on any network."""


class Lender(Protocol):
    """Who joined a socket."""

    def limit_is_near(self, moved: int, stopped: bool) -> None:
        """The kernel has *moved* so many bytes since it was joined, and maybe *stopped*."""


class Joins:
    """The socket map of one loop. Raises KernelUnsupported."""

    __slots__ = ("_lenders", "_map", "_poller")

    def __init__(self, poller: Poller) -> None:
        self._map = SocketMap(CREDIT // 2)
        self._poller = poller
        self._lenders: dict[bytes, Lender] = {}
        try:
            poller.watch(self._map.ring, self, READABLE)
        except OSError as error:
            self._map.close()
            raise KernelUnsupported(f"epoll_ctl(2): {error.strerror}") from None

    def __len__(self) -> int:
        return len(self._lenders)

    def ready(self, mask: int) -> None:
        """What the poller tells."""
        for cookie in self._map.told():
            lender = self._lenders.get(cookie)
            if lender is not None:
                with contextlib.suppress(OSError):  # of this one, which the others must not suffer from
                    lender.limit_is_near(*self._map.moved(cookie))

    def route(self, source: socket.socket, target: socket.socket) -> bytes:
        """As `SocketMap.route`."""
        return self._map.route(source, target)

    def join(self, source: socket.socket, cookie: bytes, lender: Lender) -> None:
        """The kernel moves the bytes of *source* from now on; *lender* is told when `CREDIT` nears its end.

        Raises OSError, and then nothing has changed. `part` must follow.
        """
        self._lenders[cookie] = lender
        try:
            self._map.read(source, cookie, CREDIT)
        except OSError:
            self.part(cookie)
            raise

    def moved(self, cookie: bytes) -> tuple[int, bool]:
        """As `SocketMap.moved`."""
        return self._map.moved(cookie)

    def allow(self, cookie: bytes, moved: int) -> None:
        """`CREDIT` from now on, when it has *moved* so many."""
        self._map.allow(cookie, moved + CREDIT)

    def part(self, cookie: bytes) -> None:
        """The socket is closed next."""
        if self._lenders.pop(cookie, None) is not None:
            with contextlib.suppress(OSError):
                self._map.forget(cookie)

    def close(self) -> None:
        """After all sockets were closed."""
        self._poller.forget(self._map.ring)
        self._map.close()
