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

Rejected: a lease in etcd, which would be one more service to run and to lose.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from lbkit.errors import LbkitError
from lbkit.mysql.driver import Connection, connect
from lbkit.mysql.dsn import Dsn

__all__ = ["MajorityLock"]

NAME = "lbkit.failover"


class MajorityLock:
    """``take``, act while `held`, ``release``. *dsns* are all servers by name; *timeout* bounds each step."""

    def __init__(self, dsns: Mapping[str, Dsn], timeout: float) -> None:
        self._dsns = dsns
        self._timeout = timeout
        self._holding: dict[str, Connection] = {}
        self._needed = 0
        self._voters: set[str] = set()

    async def take(self, answering: set[str], primary: str | None) -> str:
        """Lock the servers of *answering*; "" when it is held now, else the reason why not."""
        self._voters = {name for name in self._dsns if name != primary}
        self._needed = len(self._voters) // 2 + 1
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
        return f"more than half of {', '.join(sorted(self._voters))} must be reached"

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
