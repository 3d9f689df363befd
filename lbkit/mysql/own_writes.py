"""`OwnWrites`: the token of one user of a router, which grows with each write."""

from __future__ import annotations

from lbkit.mysql.tokens import PRIMARY_ONLY, checked, merged

__all__ = ["OwnWrites"]

MOST_UNMERGED = 32


class OwnWrites:
    """What one user has written, and so what that user's reads must show; `changed`: when that grew last.

    Merging sets takes some 20 µs, noting a write's id less than one: ids are put together when somebody asks.
    """

    __slots__ = ("_added", "_token", "changed", "owner")

    def __init__(self, token: str = "", now: float = 0.0, owner: object = None) -> None:
        """*token*: what this user wrote before; raises ValueError for what is no token. *owner*: the one
        task whose writes come in here, None for those of all that have it."""
        self._token = checked(token)
        self._added: list[str] = []
        self.changed = now
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
        if self._token != PRIMARY_ONLY:
            self._added.append(token)
            if len(self._added) > MOST_UNMERGED:
                self._token, self._added = merged(self._token, *self._added), []
