"""Reads the ClientHello of a connection and leaves it there, for whoever the connection is given to.

The bytes stay in the kernel (MSG_PEEK), so that every relay begins with them as if nobody had looked. As
what is only peeked keeps a socket readable, the kernel is told how much is to be there before it says so
again (SO_RCVLOWAT, socket(7)); then a client that drips costs no look for each byte.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from lbkit.errors import ClientError
from lbkit.tls import ClientHello, Incomplete, read_client_hello
from lbkit.tls.client_hello import MOST

__all__ = ["HelloPeek"]

_STALLS = 2
"""Times that it may be readable with nothing new: the first may be an event from before, the next is an
end."""


class HelloPeek:
    """Calls *done* once with the hello, or with ClientError; not after `cancel`. *sock* stays the
    caller's."""

    __slots__ = ("_done", "_loop", "_seen", "_sock", "_stalls")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        done: Callable[[ClientHello | ClientError], None],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._done = done
        self._seen = 0
        self._stalls = 0

    def start(self) -> None:
        """Begin; call once."""
        self._loop.add_reader(self._sock.fileno(), self._readable)

    def cancel(self) -> None:
        """Look no more."""
        self._loop.remove_reader(self._sock.fileno())

    def _readable(self) -> None:
        try:
            result = self._look()
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            result = ClientError("the client left before its ClientHello", 0)
        except ValueError as error:
            result = ClientError(str(error), 0)
        if result is not None:
            self.cancel()
            self._done(result)

    def _look(self) -> ClientHello | ClientError | None:
        data = self._sock.recv(MOST, socket.MSG_PEEK)
        found = read_client_hello(data)
        if isinstance(found, ClientHello):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            return found
        assert isinstance(found, Incomplete)
        if len(data) == self._seen:
            self._stalls += 1
            if not data or self._stalls == _STALLS:
                return ClientError("the client left before its ClientHello was complete", 0)
            return None
        self._seen, self._stalls = len(data), 0
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, found.needed)
        return None
