"""`Router`: one object to talk to a primary and its replicas as if they were one database.

    async with Router(["mysql://app:secret@db1/app", "mysql://app:secret@db2/app"]) as router:
        await router.execute("INSERT INTO note (text) VALUES (%s)", ["hello"])
        rows = await router.fetch_all("SELECT * FROM note")      # rows.server: who answered

Life of a statement: classify → pick → acquire → run → release. A plain read outside a session and a
transaction goes to a replica, everything else to the primary. `connections` has the rules.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

from lbkit.errors import ConfigError, ConnectionLost, LbkitError
from lbkit.mysql.catch_up import position_of, wait_for
from lbkit.mysql.connections import Connections
from lbkit.mysql.driver import Arguments, Step
from lbkit.mysql.dsn import Dsn
from lbkit.mysql.options import RouterOptions
from lbkit.mysql.results import Result, Row, Rows
from lbkit.mysql.session import Session
from lbkit.mysql.statements import classify
from lbkit.mysql.topology import Member, Topology
from lbkit.mysql.transaction import Transaction

__all__ = ["Router"]

T = TypeVar("T")

Servers = Sequence[str | Dsn] | Mapping[str, str | Dsn]


class Router:
    """Reads to replicas, writes to the primary, roles found by asking the servers.

    *servers*: DSNs, or a mapping of names to DSNs; without names a server is called ``host:port``. All
    must be servers of one replication topology. Raises ConfigError for a wrong DSN.

    Errors of every statement: QueryFailed (the server's code and text; nothing else is affected),
    NoServerAvailable, ConnectFailed (nothing was sent), ConnectionLost (a read, twice) and
    OutcomeUnknown (a write was sent and never answered).

    What waits or runs for a request ends by its deadline (`lbkit.deadline`) with DeadlineExceeded, or
    OutcomeUnknown for a write that was sent. As after a cancellation the server is told, over another
    connection, to stop what it was at.
    """

    def __init__(
        self, servers: Servers, options: RouterOptions | None = None, rng: random.Random | None = None
    ) -> None:
        """*rng* is for balancing algorithms that draw; a seeded one gives the same picks again."""
        self.options = options or RouterOptions()
        dsns = _dsns(servers)
        try:
            rng = rng or random.Random()
            self._topology = Topology(dsns, self.options.algorithm, rng)
        except ValueError as error:
            raise ConfigError(f"servers: {error}") from None
        self._connections = Connections(self._topology, self.options)

    async def __aenter__(self) -> Router:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Look at every server once and keep looking; servers that are down do not hinder it."""
        await self._connections.start()

    async def close(self) -> None:
        """Close all connections; those in use close when they are given back."""
        await self._connections.close()

    async def execute(self, sql: str, args: Arguments = None) -> Result:
        """Run one statement; *args* replace its ``%s`` or ``%(name)s``, escaped."""
        return await self._route(sql, lambda connection, lost: connection.execute(sql, args, lost=lost))

    async def fetch_all(self, sql: str, args: Arguments = None) -> Rows:
        """All rows of one statement; `Rows.server` tells who answered."""
        return await self._route(sql, lambda connection, lost: connection.fetch(sql, args, lost=lost))

    async def fetch_one(self, sql: str, args: Arguments = None) -> Row | None:
        """The first row, with `Row.server`; None when there is none."""
        rows = await self.fetch_all(sql, args)
        return rows[0] if rows else None

    def transaction(self, read_only: bool = False) -> Transaction:
        """``async with router.transaction() as tx``; on the primary, with *read_only* on a replica."""
        connections = self._connections
        take = connections.take_reader if read_only else connections.take_primary
        return Transaction(take, connections.give_back, read_only)

    def session(self) -> Session:
        """``async with router.session() as session``: reads see the session's own writes."""
        return Session(self._connections)

    async def catch_up(self, timeout: float = 10.0) -> bool:
        """Wait until every available replica has carried out what the primary had when called.

        False when that takes more than *timeout* seconds or a replica fails meanwhile. Raises as a read
        of the primary does.
        """
        primary = self._topology.require_primary()
        replicas = [member for member in self._topology.readers() if member is not primary]
        position = await self._connections.use(primary, position_of)
        return all(await asyncio.gather(*(self._reaches(replica, position, timeout) for replica in replicas)))

    async def _reaches(self, replica: Member, position: str, timeout: float) -> bool:
        try:
            # The server counts too; ours is for one that has gone silent.
            async with asyncio.timeout(timeout + 1):
                return await self._connections.use(replica, lambda held: wait_for(held, position, timeout))
        except (LbkitError, TimeoutError):
            return False

    def status(self) -> dict[str, Any]:
        """Plain data for a status page: who is primary, and each server's role, state and connections."""
        topology = self._topology
        return {
            "primary": topology.primary.name if topology.primary else None,
            "servers": [
                {
                    "name": member.name,
                    "address": str(member.dsn.address),
                    "role": topology.role(member).value,
                    "state": member.health.state.value,
                    "reason": topology.why(member),
                    "connections": self._connections.counts(member),
                    "statements": member.server.counters.requests,
                }
                for member in topology.members
            ],
        }

    async def _route(self, sql: str, step: Step[T]) -> T:
        statement = classify(sql)
        if statement.reads:
            return await self._connections.read(lambda connection: step(connection, ConnectionLost))
        primary = self._topology.require_primary()
        return await self._connections.use(
            primary, lambda connection: self._connections.write(statement, connection, step)
        )


def _dsns(servers: Servers) -> list[Dsn]:
    if isinstance(servers, Mapping):
        named = [(f"servers.{name}", name, dsn) for name, dsn in servers.items()]
    else:
        named = [(f"servers[{index}]", "", dsn) for index, dsn in enumerate(servers)]
    if not named:
        raise ConfigError("servers: at least one database server is needed")
    problems: list[str] = []
    found: list[Dsn] = []
    for where, name, text in named:
        try:
            dsn = text if isinstance(text, Dsn) else Dsn.parse(text, where)
        except ConfigError as error:
            problems += error.problems
        else:
            found.append(dsn.named(name) if name else dsn)
    if problems:
        raise ConfigError(problems)
    return found
