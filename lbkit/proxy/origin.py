"""`Origin`: where a session comes from, as the gate of its listener found out."""

from __future__ import annotations

import socket
from collections.abc import Callable

from lbkit.proxy_protocol import End

__all__ = ["Origin", "ends_of"]


class Origin:
    """Goes with a session from the gate on. `accept(sock)` without one is a session that nobody asks about.

    `client` and `server` are the ends of the client's own connection where a PROXY protocol header told them;
    None is what the socket itself says. Whoever has the session calls `ended` once, when it is over.
    """

    __slots__ = ("_on_end", "client", "server")

    def __init__(
        self,
        client: End | None = None,
        server: End | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        self.client = client
        self.server = server
        self._on_end = on_end

    def ended(self) -> None:
        """The session is over."""
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end()


def ends_of(client: socket.socket, origin: Origin | None) -> tuple[End | None, End | None]:
    """Both ends of a client's connection: as its origin tells them, else as its socket does.

    None for both on a Unix socket, and where the client has left already.
    """
    if origin is not None and origin.client is not None:
        return origin.client, origin.server
    if client.family == socket.AF_UNIX:
        return None, None
    try:
        peer, own = client.getpeername(), client.getsockname()
    except OSError:
        return None, None
    return (peer[0], peer[1]), (own[0], own[1])
