"""`FailoverLock`: what a failover asks of the lock that lets one of several lbkit processes act.

`MajorityLock` keeps it on the database servers, `EtcdLock` in etcd; a failover does not know which it has.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

__all__ = ["FailoverLock", "LockState"]


@dataclass(frozen=True, slots=True)
class LockState:
    """What a look at a lock, which changes nothing, found."""

    kept_on: str
    """Where it is: "servers" or "etcd"."""
    holder: str = ""
    """Who holds it, for people; "" where nobody does."""
    obstacle: str = ""
    """Why it could not be taken although nobody holds it; "" where nothing stands against it."""

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        if self.obstacle:
            return f"on {self.kept_on}, cannot be taken: {self.obstacle}"
        return f"on {self.kept_on}, {f'held by {self.holder}' if self.holder else 'free'}"


class FailoverLock(Protocol):
    """``take``, act while `held`, ``release``; then it can be taken again. Not for two tasks at a time."""

    @property
    def apart(self) -> bool:
        """Whether it is kept elsewhere than on the database servers, so that it has to be watched, too."""

    @property
    def held(self) -> bool:
        """Whether nobody else can have it now. Asked before each step of a plan."""

    async def take(self, answering: set[str], primary: str | None) -> str:
        """Take it; "" when it is held now, else the reason why not.

        *answering*: the servers that can be reached. *primary*: which of all is the primary, as far as known.
        When cancelled it is given up.
        """

    async def release(self) -> None:
        """Give it up, within the lock's time limit for a request. Without effect where it is not held."""

    async def look(self, answering: set[str], primary: str | None) -> LockState:
        """Whether it could be taken, and who holds it."""
