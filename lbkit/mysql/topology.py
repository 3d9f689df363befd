"""`Topology`: what is known of a database's servers, and who may be asked what.

Pure: probes and their times go in, decisions come out. A server that says it is read-only is a replica,
one that does not is the primary. Two writable servers at once are a mistake of somebody's; then the
present primary stays primary and the other one gets nothing, neither reads nor writes, because its data
may have gone its own way. Where there is no present one, the one counts that was seen to become writable
last: a former primary that was only silent is still open when another one has long been promoted. One that
still replicates from another one that took writes when it was heard of last was opened by mistake, because
nothing that was promoted does: it is not used either while that other one is away for a moment.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum

from lbkit.errors import NoServerAvailable
from lbkit.health import Health, HealthState
from lbkit.mysql.dsn import Dsn
from lbkit.mysql.gtid import GtidSet
from lbkit.mysql.observation import Observation, Reach
from lbkit.pool import Pool, make_balancer
from lbkit.server import Address, Server

__all__ = ["Change", "Member", "Role", "Topology"]

FALL = 2  # probes that must time out before a server is down; one that refuses is down at once


class Role(Enum):
    """What a server said of itself last; UNKNOWN before its first answer."""

    UNKNOWN = "unknown"
    PRIMARY = "primary"
    REPLICA = "replica"


@dataclass(frozen=True, slots=True)
class Change:
    """Something worth a log line happened to the server *name*."""

    name: str
    text: str


class Member:
    """One server with its role and health; `server` carries the counters."""

    def __init__(self, dsn: Dsn) -> None:
        self.dsn = dsn
        self.name = dsn.name
        self.server = Server(dsn.name, dsn.address)
        self.health = Health(rise=1, fall=FALL)
        self.writable: bool | None = None
        self.offline = False
        """Whether it said last that it lets no application in."""
        self.opened_at = -math.inf
        """When it was seen to take writes after it had been read-only."""
        self.open_at = -math.inf
        """When it was seen to take writes last."""
        self.stays_open = False
        """Whether it has taken writes ever since `opened_at`, and was never down."""
        self.follows: Address | None = None
        """Whom it replicates from, or is looking for; None where it does not, or may not say."""
        self.lag: float | None = None
        """Seconds behind the primary as the server estimates it, 0 on the primary; None is unknown."""
        self.position = ""
        """Transactions that it has carried out, as its flavour writes them (see `lbkit.mysql.gtid`)."""
        self.asked_at = -math.inf
        """When it answered last."""
        self.is_mariadb: bool | None = None

    @property
    def up(self) -> bool:
        return self.health.state is HealthState.UP


class Topology:
    """The members in the given order, their roles, and a balanced pool of the replicas that are up.

    Raises ValueError when two members share a name.
    """

    def __init__(self, dsns: Sequence[Dsn], algorithm: str, rng: random.Random) -> None:
        self._members = {dsn.name: Member(dsn) for dsn in dsns}
        if len(self._members) != len(dsns):
            raise ValueError("two servers have the same name")
        self._primary: Member | None = None
        self._worst_lag = math.inf
        self.replicas = Pool("replicas", [], make_balancer(algorithm, rng))

    @property
    def members(self) -> list[Member]:
        return list(self._members.values())

    @property
    def primary(self) -> Member | None:
        """The server that takes writes, None while there is none."""
        return self._primary

    def role(self, member: Member) -> Role:
        """The role it is used in."""
        if member is self._primary:
            return Role.PRIMARY
        if member.writable is None:
            return Role.UNKNOWN
        return Role.PRIMARY if member.writable else Role.REPLICA

    def why(self, member: Member) -> str:
        """Its state in words, for people."""
        if not member.up:
            return member.health.reason
        if member.writable and (source := self._mistaken(member)):
            return f"takes writes, but replicates from {source.name}; not used until that is stopped"
        if member.writable and member is not self._primary:
            return "a second writable server; not used"
        if member.lag is None and member is not self._primary:
            return "answers; how far it is behind is not known"
        return "answers"

    def observed(self, seen: Observation, now: float) -> list[Change]:
        """A look at a server ended, whichever way."""
        if seen.answers or seen.offline:
            self._members[seen.name].offline = seen.offline
        if not seen.answers:
            return self.failed(seen.name, seen.reason, seen.reach is Reach.SILENT, now)
        if seen.offline:
            return self.failed(seen.name, "is in offline mode", False, now)
        if not seen.in_majority:
            return self.failed(seen.name, "is outside of its group's majority", False, now)
        return self.answered(
            seen.name,
            seen.writable,
            now,
            lag=seen.lag,
            position=str(seen.executed),
            is_mariadb=seen.is_mariadb,
            follows=seen.link.source if seen.link and seen.link.at_work else None,
        )

    def answered(
        self,
        name: str,
        writable: bool,
        now: float,
        *,
        lag: float | None = None,
        position: str = "",
        is_mariadb: bool | None = None,
        follows: Address | None = None,
    ) -> list[Change]:
        """A probe of *name* was answered; what it does not know stays None."""
        member = self._members[name]
        member.lag, member.follows = 0.0 if writable else lag, follows
        member.position, member.is_mariadb, member.asked_at = position, is_mariadb, now
        if writable:
            member.open_at = now
        changes = []
        if member.health.observe(True, "answers", now):
            changes.append(Change(name, "is up"))
        if member.writable is not writable:
            if writable and member.writable is False:
                member.opened_at, member.stays_open = now, True
            member.stays_open = member.stays_open and writable
            member.writable = writable
            changes.append(Change(name, "takes writes" if writable else "is read-only"))
        return changes + self._settle(now)

    def failed(self, name: str, reason: str, silent: bool, now: float) -> list[Change]:
        """A probe of *name* failed; *silent*: it timed out, which a busy server may do once."""
        member = self._members[name]
        down = False
        for _ in range(1 if silent else FALL):
            down = member.health.observe(False, reason, now) or down
        member.stays_open = member.stays_open and not down
        return ([Change(name, f"is down: {reason}")] if down else []) + self._settle(now)

    def require_primary(self) -> Member:
        """The primary; NoServerAvailable with the state of every server when there is none."""
        if self._primary is None:
            raise NoServerAvailable(f"no primary: {self._everybody()}")
        return self._primary

    def pick_reader(self, now: float, tried: Collection[Member], max_lag: float = math.inf) -> Member:
        """A replica in its turn that is at most *max_lag* seconds behind, else the primary; none of *tried*.

        While no primary can answer, replicas that are further behind, or do not know how far, do: a replica
        cut off from its primary can't know. Raises NoServerAvailable.
        """
        exclude = [member.server for member in tried]
        late: list[Server] = []
        if self._worst_lag > max_lag:
            late = [server for server in self.replicas if self._late(server, max_lag)]
        if len(self.replicas) > len(late) and (found := self._replica(now, exclude + late)):
            return found
        if self._primary is not None and self._primary not in tried:
            return self._primary
        if late and (found := self._replica(now, exclude)):
            return found
        raise NoServerAvailable(f"no server for a read: {self._everybody()}")

    def _replica(self, now: float, exclude: list[Server]) -> Member | None:
        try:
            return self._members[self.replicas.pick(now, None, exclude).name]
        except NoServerAvailable:
            return None

    def _late(self, server: Server, max_lag: float) -> bool:
        lag = self._members[server.name].lag
        return lag is None or lag > max_lag

    def readers(self) -> list[Member]:
        """Everybody who may answer a read now."""
        replicas = [self._members[server.name] for server in self.replicas]
        return replicas + ([self._primary] if self._primary else [])

    def nobody_has(self, token: str) -> bool:
        """Whether no other server has anything of what the primary lacks of *token*, by the last looks: then
        it is lost, or was never there."""
        try:
            wanted = GtidSet.parse(token)
            held = {member: GtidSet.parse(member.position) for member in self.members}
        except ValueError:
            return False
        lacking = wanted - held[self._primary] if self._primary else wanted
        return bool(lacking) and all(lacking - others == lacking for others in held.values())

    def took_over(self, since: float) -> bool:
        """Whether nobody can have replaced the primary: it was seen to replace all others, of which none took
        writes any more, and each was heard of last before that, or has answered after *since*."""
        primary = self._primary
        return (
            primary is not None
            and primary.stays_open
            and all(
                other.open_at < primary.opened_at and not primary.opened_at <= other.asked_at < since
                for other in self.members
                if other is not primary
            )
        )

    def is_alone(self) -> bool:
        """Whether all that is known speaks against another primary: each other server took no writes, or let
        nobody in, when it was heard of last, or that was before the primary took over."""
        primary = self._primary
        return primary is not None and all(
            other.writable is False or other.offline or other.asked_at < primary.opened_at
            for other in self.members
            if other is not primary
        )

    def everybody_has(self, token: str) -> bool:
        """Whether each server has told that it has all of *token*, those that are down before they were."""
        try:
            wanted = GtidSet.parse(token)
            return all(wanted <= GtidSet.parse(member.position) for member in self.members)
        except ValueError:  # it stands for what has no ids
            return False

    def _settle(self, now: float) -> list[Change]:
        """Choose the primary and the replicas from what is known by now."""
        before = self._primary
        writable = [
            member for member in self.members if member.up and member.writable and not self._mistaken(member)
        ]
        if before not in writable:
            self._primary = max(writable, key=lambda member: member.opened_at) if writable else None
        readers = [member.server for member in self.members if member.up and member.writable is False]
        if readers != list(self.replicas):
            self.replicas.change(readers, now)
        lags = [self._members[server.name].lag for server in readers]
        self._worst_lag = max((math.inf if lag is None else lag for lag in lags), default=0.0)
        if self._primary is before:
            return []
        if self._primary:
            return [Change(self._primary.name, "is the primary")]
        return [Change(before.name, "is no longer the primary; there is none")] if before else []

    def _mistaken(self, member: Member) -> Member | None:
        """Whom *member* replicates from, where that one took writes when it was heard of last. Two that
        follow one another are meant to."""
        for other in self._members.values() if member.follows else ():
            if other.dsn.address == member.follows and other.writable and other is not member:
                return None if other.follows == member.dsn.address else other
        return None

    def _everybody(self) -> str:
        return ", ".join(
            f"{member.name} {self.role(member).value} {member.health.state.value} ({self.why(member)})"
            for member in self.members
        )
