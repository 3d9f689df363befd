"""`OnePrimary`: of several servers that take writes at once, the one that is let pass.

Pure. Two at once are somebody's mistake, or a former primary that was only silent and goes on. Sessions
spread over both would make two histories. So the one that was there first stays until it takes none, refuses
connections, or was not heard of twice in a row; whoever comes then is the next. It is a pool's own choice, by
what its checks saw: it keeps sessions from a second server, and cannot tell which one is meant where both
take writes already when the first check is made.
"""

from __future__ import annotations

from collections.abc import Collection

from lbkit.server import Address

__all__ = ["OnePrimary"]

SILENCES = 2  # checks without an answer, as of a router and of failover


class OnePrimary:
    """Told of each check's end; `admits` says of one that takes writes whether another one does already."""

    def __init__(self) -> None:
        self._chosen: Address | None = None
        self._silences = 0

    def admits(self, address: Address) -> Address | None:
        """*address* takes writes: None where it is the one, else who is."""
        if self._chosen is None or self._chosen == address:
            self._chosen, self._silences = address, 0
            return None
        return self._chosen

    def takes_none(self, address: Address) -> None:
        """*address* has said that it is not the primary, or nothing listens there."""
        if address == self._chosen:
            self._chosen = None

    def silent(self, address: Address) -> None:
        """*address* was not heard of, for whatever reason."""
        if address == self._chosen:
            self._silences += 1
            if self._silences >= SILENCES:
                self._chosen = None

    def keep(self, addresses: Collection[Address]) -> None:
        """Nobody else is there any more."""
        if self._chosen not in addresses:
            self._chosen = None
