"""`MajorityLock`: of several lbkit processes that watch the same servers, one acts.

A named lock (GET_LOCK) on the servers themselves: it needs nothing else running, it ends with its holder's
connection, and it works on read-only servers. The questions are on which servers, and on how many.

* Not on the primary: a failover happens because it is gone, and its lock with it.
* On one other server alone it would be worthless: two holders who reach different replicas would both act.
* So on every server that answers, and on more than half of those that are not the primary. Two holders of
  that have a replica in common, and there only one of them can hold it. With a pair that is the one replica,
  which is also the only server that could be promoted: who cannot reach it cannot act anyway.
* Two processes that take different servers for the primary need majorities of different sets. They meet all
  the same: roles are kept on the servers and looked at again under the lock, and each holder also asks for
  the lock on the primary while it answers, so that both want it on every server that both can reach.

A holder whose connection to a server has ended holds nothing there any more: `held` says whether it still is
a majority, and is asked before each step. The lock keeps two from getting in each other's way; that no two
primaries take writes is the plan's own property and does not rest on it (`lbkit.mysql.plan`).

`lbkit.mysql.etcd_lock` is the other way, for those who run etcd, and says what each of them costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from lbkit.errors import LbkitError
from lbkit.mysql.driver import Connection, connect
from lbkit.mysql.dsn import Dsn
from lbkit.mysql.failover_lock import LockState

__all__ = ["MajorityLock"]

NAME = "lbkit.failover"
HOLDER = (
    "SELECT IS_USED_LOCK(%s) AS id,"
    " (SELECT host FROM information_schema.processlist WHERE id = IS_USED_LOCK(%s)) AS host"
)


class MajorityLock:
    """A `FailoverLock`. *dsns* are all servers by name; *timeout* bounds each step."""

    apart = False

    def __init__(self, dsns: Mapping[str, Dsn], timeout: float) -> None:
        self._dsns = dsns
        self._timeout = timeout
        self._holding: dict[str, Connection] = {}
        self._needed = 1
        self._voters: set[str] = set()

    async def take(self, answering: set[str], primary: str | None) -> str:
        """Lock the servers of *answering*; "" when it is held now, else the reason why not."""
        self._voters, self._needed = self._majority(primary)
        try:
            outcomes = await asyncio.gather(*(self._lock(name) for name in sorted(answering)))
        except BaseException:
            # Whoever is cancelled here never comes to give it up, and nobody could act while this lives.
            for connection in self._holding.values():
                connection.drop()
            self._holding = {}
            raise
        refused = [outcome for outcome in outcomes if outcome]
        if not refused and self.held:
            return ""
        await self.release()
        if refused:
            return "; ".join(refused)
        return _too_few(self._voters)

    @property
    def held(self) -> bool:
        """Whether more than half of the servers other than the primary are still locked."""
        alive = [name for name, held in self._holding.items() if name in self._voters and not held.closed]
        return len(alive) >= self._needed

    async def release(self) -> None:
        """Give it up, everywhere."""
        holding, self._holding = self._holding, {}
        # The end of a connection is the end of its locks, also where the server does not answer just now.
        await asyncio.gather(*(connection.close() for connection in holding.values()))

    async def look(self, answering: set[str], primary: str | None) -> LockState:
        """Who holds it on *answering*, and whether these are enough to take it."""
        voters, needed = self._majority(primary)
        names = sorted(answering)
        found = await asyncio.gather(*(self._holder(name) for name in names))
        reached = {name for name, holder in zip(names, found, strict=True) if holder is not None}
        obstacle = "" if len(reached & voters) >= needed else _too_few(voters)
        return LockState("servers", "; ".join(holder for holder in found if holder), obstacle)

    def _majority(self, primary: str | None) -> tuple[set[str], int]:
        """The servers that count, and how many of them are more than half."""
        voters = {name for name in self._dsns if name != primary}
        return voters, len(voters) // 2 + 1

    async def _holder(self, name: str) -> str | None:
        """Who holds it on server *name*, "" where nobody does; None where it cannot be reached."""
        try:
            async with asyncio.timeout(self._timeout):
                connection = await connect(self._dsns[name], self._timeout)
                try:
                    rows = await connection.fetch(HOLDER, (NAME, NAME))
                finally:
                    connection.drop()
        except (LbkitError, TimeoutError):
            return None
        if rows[0]["id"] is None:
            return ""
        return f"session {rows[0]['id']} of {name} from {rows[0]['host'] or 'an unknown host'}"

    async def _lock(self, name: str) -> str:
        """ "" when it is locked, or is no obstacle because it cannot be reached."""
        try:
            async with asyncio.timeout(self._timeout):
                connection = await connect(self._dsns[name], self._timeout)
                try:
                    rows = await connection.fetch("SELECT GET_LOCK(%s, 0) AS got", (NAME,))
                except BaseException:
                    connection.drop()
                    raise
        except (LbkitError, TimeoutError):
            return ""
        if rows[0]["got"] == 1:
            self._holding[name] = connection
            return ""
        await connection.close()
        return f"another lbkit acts: it holds the lock on {name}"


def _too_few(voters: set[str]) -> str:
    return f"more than half of {', '.join(sorted(voters))} must be reached"
