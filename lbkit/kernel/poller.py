"""One epoll of our own inside the event loop: the cheapest way for Python to hear of many sockets.

Strategy: sockets are watched by an epoll instance whose own descriptor is the only one that the loop knows.
When it turns readable the loop calls once, and here all ready sockets are served in one plain Python loop.
A socket is registered once in its life, edge-triggered, and closing it is what unregisters it: one system
call a socket, where `add_reader`, `add_writer` and their removal are a handle, a Python object and a system
call each time. A wake-up costs one epoll_wait more; under load it is shared by all that are ready.

Edge-triggered means that whoever is told must go on until the socket would block, or ask with `again` to
be called once more after the others had their turn.

Sockets are closed by `close` after the events at hand were served. Otherwise a new socket could get the
number of one that was closed a moment ago, together with the events that were still in line for that one.

Rejected: level-triggered epoll, which needs a system call to stop hearing of a socket whose data cannot be
passed on, and one to hear of it again; io_uring, whose rings filled by Python cost more than the calls saved.
"""

from __future__ import annotations

import asyncio
import select
import socket
from typing import Protocol

from lbkit.errors import KernelUnsupported

__all__ = [
    "ANY",
    "EDGE",
    "ENDS",
    "ERROR",
    "HANG_UP",
    "READABLE",
    "READ_HANG_UP",
    "URGENT",
    "WRITABLE",
    "Poller",
    "Watcher",
]

# Not named by `select` on other systems, where a Poller cannot be made.
READABLE: int = getattr(select, "EPOLLIN", 0x1)
URGENT: int = getattr(select, "EPOLLPRI", 0x2)
WRITABLE: int = getattr(select, "EPOLLOUT", 0x4)
ERROR: int = getattr(select, "EPOLLERR", 0x8)
HANG_UP: int = getattr(select, "EPOLLHUP", 0x10)
READ_HANG_UP: int = getattr(select, "EPOLLRDHUP", 0x2000)
EDGE: int = getattr(select, "EPOLLET", 1 << 31)

ANY = READABLE | URGENT | WRITABLE | READ_HANG_UP | EDGE
"""What a socket is watched for that is read and written. Errors and hang-ups are always told."""
ENDS = READ_HANG_UP | EDGE
"""What one is watched for whose bytes the kernel moves."""

_BATCH = 256


class Watcher(Protocol):
    """Who watches a socket."""

    def ready(self, mask: int) -> None:
        """Something happened: *mask* holds bits of epoll_ctl(2)."""


class Poller:
    """Tells watchers what happens to their sockets.

    Raises KernelUnsupported where there is no epoll.
    """

    __slots__ = ("_again", "_closing", "_epoll", "_is_due", "_watchers", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        if not hasattr(select, "epoll"):
            raise KernelUnsupported("epoll is Linux's")
        self.loop = loop
        self._epoll = select.epoll()
        self._watchers: dict[int, Watcher] = {}
        self._closing: list[socket.socket] = []
        self._again: list[Watcher] = []
        self._is_due = False
        loop.add_reader(self._epoll.fileno(), self._run)

    def watch(self, fd: int, watcher: Watcher, mask: int = ANY) -> None:
        """Tell *watcher* of what happens to *fd*, at once where it is ready already."""
        self._epoll.register(fd, mask)
        self._watchers[fd] = watcher

    def take_over(self, fd: int, watcher: Watcher) -> None:
        """Tell *watcher* of *fd* from now on, which is watched already; nothing is told twice."""
        self._watchers[fd] = watcher

    def pass_on(self, fd: int, mask: int) -> None:
        """Tell whoever has taken *fd* over of what was told."""
        watcher = self._watchers.get(fd)
        if watcher is not None:
            watcher.ready(mask)

    def change(self, fd: int, mask: int) -> None:
        """Watch *fd* for something else; what is the case already is told again."""
        self._epoll.modify(fd, mask)

    def watches(self, fd: int) -> bool:
        """Whether *fd* is watched."""
        return fd in self._watchers

    def forget(self, fd: int) -> None:
        """Watch *fd* no more; it stays open."""
        if self._watchers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self, sock: socket.socket) -> None:
        """Watch *sock* no more, and close it when the events at hand have been served."""
        self._watchers.pop(sock.fileno(), None)
        self._closing.append(sock)
        self._wake()

    def again(self, watcher: Watcher) -> None:
        """Tell *watcher* that it is ready to read once more, after the others had their turn."""
        self._again.append(watcher)
        self._wake()

    def _wake(self) -> None:
        if not self._is_due:
            self._is_due = True
            self.loop.call_soon(self._late)

    def _late(self) -> None:
        self._is_due = False
        if self._again:
            waiting, self._again = self._again, []
            for watcher in waiting:
                self._tell(watcher, READABLE)
        self._close_all()

    def _run(self) -> None:
        # Set, so that what is closed meanwhile needs no call of its own.
        was_due, self._is_due = self._is_due, True
        watchers = self._watchers
        for fd, mask in self._epoll.poll(0, _BATCH):
            watcher = watchers.get(fd)
            if watcher is not None:
                try:
                    watcher.ready(mask)
                except Exception as error:  # noqa: BLE001 - a bug in one session must not end the others
                    self._report(error)
        self._is_due = was_due
        self._close_all()
        if self._again:
            self._wake()

    def _tell(self, watcher: Watcher, mask: int) -> None:
        try:
            watcher.ready(mask)
        except Exception as error:  # noqa: BLE001 - as in `_run`
            self._report(error)

    def _report(self, error: Exception) -> None:
        self.loop.call_exception_handler({"message": "serving a socket failed", "exception": error})

    def _close_all(self) -> None:
        while self._closing:
            self._closing.pop().close()

    def stop(self) -> None:
        """Watch nothing any more; sockets that were to be closed are closed."""
        self.loop.remove_reader(self._epoll.fileno())
        self._close_all()
        self._again.clear()
        self._watchers.clear()
        self._epoll.close()
