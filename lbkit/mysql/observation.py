"""`Observation`: what one look at one server said, as a value; diagnoses are made of these.

A server that does not answer is told in several ways, because they allow different conclusions: REFUSED is
proof that its process is gone (its machine answers, and nothing listens), so that it can come back only by
starting anew, which is read-only. SILENT proves nothing: it may be stopped, cut off or busy, and may go on
at any moment where it was. LOST proves nothing either, but something has just happened: the connection ended
without an answer. DENIED is alive and lets nobody in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from lbkit.mysql.gtid import GtidSet
from lbkit.server import Address

__all__ = ["GroupMember", "Link", "Observation", "Reach", "SemiSync"]


class Reach(Enum):
    """How a look at a server ended."""

    ANSWERS = "answers"
    REFUSED = "refused"
    SILENT = "silent"
    LOST = "lost"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Link:
    """A replica's replication: whom it follows, and how that goes; `error` is the server's text or ""."""

    source: Address
    connected: bool
    applying: bool
    error: str = ""
    lag: float | None = None
    """Seconds behind as the server estimates it; None where it does not know."""
    at_work: bool = True
    """Whether one of its threads runs, or is looking for its source. A promotion stops both."""

    @property
    def running(self) -> bool:
        return self.connected and self.applying


@dataclass(frozen=True, slots=True)
class SemiSync:
    """Semi-synchronous replication on one server.

    `waits` is the source side, which belongs on the primary only; `acknowledges` the replica side. As a
    primary it waits for `replicas` acknowledgements, of the `clients` that are there now; `endless` unless a
    wait gives up after a time, which would acknowledge what only the primary has.
    """

    waits: bool = False
    acknowledges: bool = False
    replicas: int = 1
    clients: int = 0
    endless: bool = True


@dataclass(frozen=True, slots=True)
class GroupMember:
    """One member of a group (MySQL Group Replication), as a server sees it."""

    uuid: str
    state: str
    role: str


@dataclass(frozen=True, slots=True)
class Observation:
    """What *name* said last; all but `reach` and `reason` is of the last answer."""

    name: str
    reach: Reach = Reach.ANSWERS
    reason: str = ""
    is_mariadb: bool = False
    uuid: str = ""
    writable: bool = False
    offline: bool = False
    executed: GtidSet = field(default_factory=GtidSet)
    received: GtidSet = field(default_factory=GtidSet)
    """What it has, carried out or still in its relay log."""
    link: Link | None = None
    semi_sync: SemiSync = field(default_factory=SemiSync)
    group: tuple[GroupMember, ...] = ()
    group_lag: float | None = None

    @property
    def answers(self) -> bool:
        return self.reach is Reach.ANSWERS

    @property
    def lag(self) -> float | None:
        """Seconds behind the primary, as a replica or as a member of a group; None is unknown."""
        if self.writable or self.link is None:
            return 0.0 if self.writable else self.group_lag
        return self.link.lag if self.link.applying else None

    @property
    def in_majority(self) -> bool:
        """Whether it is online in a group of which it sees more than half online; True outside of groups.

        A member that lost its majority still calls itself ONLINE and PRIMARY.
        """
        if not self.group:
            return True
        online = {member.uuid for member in self.group if member.state == "ONLINE"}
        return self.uuid in online and 2 * len(online) > len(self.group)
