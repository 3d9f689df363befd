"""`OwnWrites`: the token of one user of a router, which grows with each write."""

from __future__ import annotations

from lbkit.mysql.tokens import LONGEST, PRIMARY_ONLY, checked, merged
from lbkit.mysql.topology import Topology

__all__ = ["OwnWrites"]

MOST_UNMERGED = 32
FORGET_AFTER = 60.0
"""Seconds after a write before it is asked whether every server has it by now."""
ASK_AGAIN = 10.0  # seconds


class OwnWrites:
    """What one user has written, and so what that user's reads must show; `changed`: when that grew last.

    Merging sets takes some 20 µs, noting a write's id less than one: ids are put together when somebody asks.
    It is forgotten only when every server has it, and `is_everywhere` from then on: how much time has passed
    proves nothing about a replica that was cut off, or that may be any seconds behind.
    """

    __slots__ = ("_added", "_token", "changed", "due", "is_everywhere", "owner")

    def __init__(self, token: str = "", now: float = 0.0, owner: object = None) -> None:
        """*token*: what this user wrote before; raises ValueError for what is no token. *owner*: the one
        task whose writes come in here, None for those of all that have it."""
        self._token = checked(token)
        self._added: list[str] = []
        self.changed = now
        self.due = now + FORGET_AFTER
        self.is_everywhere = False
        self.owner = owner

    @property
    def token(self) -> str:
        """All of it as one token; "" for nothing."""
        if self._added:
            self._token = merged(self._token, *self._added)
            self._added = []
        return self._token

    def add(self, token: str, now: float) -> None:
        """Note a write at *now*; "" is none."""
        if not token:
            return
        self.changed = now
        self.due = now + FORGET_AFTER
        self.is_everywhere = False
        if self._token != PRIMARY_ONLY:
            self._added.append(token)
            if len(self._added) > MOST_UNMERGED:
                self._token, self._added = merged(self._token, *self._added), []

    def settle(self, topology: Topology, max_lag: float, now: float) -> None:
        """See whether it can be forgotten; when it is `due`."""
        self.due = now + ASK_AGAIN
        primary = topology.primary
        if self.token == PRIMARY_ONLY and primary is not None:
            asked_since = primary.asked_at >= self.changed + FORGET_AFTER
            if primary.position and asked_since and len(primary.position) <= LONGEST:
                # Whatever became of a write without an id, the primary had it when it was looked at since.
                self._token = checked(primary.position)
            elif not primary.position and now - self.changed > 3 * max_lag:
                # Without ids there is only the lag: a replica is too far behind to be read from, or has it.
                self.is_everywhere = True
        self.is_everywhere = self.is_everywhere or topology.everybody_has(self.token)
