"""`Origin`: where a session comes from, as the gate of its listener found out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

__all__ = ["End", "Origin"]

End: TypeAlias = "tuple[str, int]"
"""IP address and port of one end of a connection."""


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
