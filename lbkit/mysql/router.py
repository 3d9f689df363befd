"""`Router`: one object to talk to a primary and its replicas as if they were one database.

    async with Router(["mysql://app:secret@db1/app", "mysql://app:secret@db2/app"]) as router:
        await router.execute("INSERT INTO note (text) VALUES (%s)", ["hello"])
        rows = await router.fetch_all("SELECT * FROM note")      # rows.server: who answered

Life of a statement: classify → pick → acquire → run → release. A plain read outside a session and a
transaction goes to a replica, everything else to the primary. `connections` has the rules.

Whose writes a read must show: with ``consistency="session"`` those made before in the same task, or in the
one that has begun it, or all within a ``with router.own_writes()``; where they came from elsewhere, what
``after=token`` names. With ``"strong"`` all that anybody has written, which only the primary can answer.

Where a former primary that only stood still goes on beside a new one, a read with a token is never answered
by the one that lacks the write: it waits for the other one, and is an error in the end, unless all that is
known speaks against there being another one: a write that was lost must not cost its user all reads. A
``"strong"`` read has no token to be judged by: it shows all that was written on the server that is the
primary as far as this process knows, and that can be the former one until it is fenced.
`lbkit.mysql.failover` does that in the very moment in which it goes on; where not even that may be, hand over
a token.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar

from lbkit.errors import ConfigError, ConnectionLost, LbkitError, LockConflict, ReadOnlyServer
from lbkit.metrics import render
from lbkit.mysql.catch_up import position_of, wait_for
from lbkit.mysql.connections import Connections
from lbkit.mysql.driver import Arguments, Connection, Step
from lbkit.mysql.dsn import Dsn
from lbkit.mysql.families import families
from lbkit.mysql.options import Consistency, PoolLimits, RouterOptions, check_consistency
from lbkit.mysql.own_writes import OwnWrites
from lbkit.mysql.results import Result, Row, Rows
from lbkit.mysql.session import Session
from lbkit.mysql.statements import classify
from lbkit.mysql.tokens import PRIMARY_ONLY, checked, merged
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
        self._rng = rng
        self._others: list[Connections] = []
        self._connections = Connections(self._topology, self.options, rng)
        self._own: ContextVar[OwnWrites | None] = ContextVar("lbkit.mysql.own_writes", default=None)

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
        await asyncio.gather(*(other.close() for other in self._others))
        await self._connections.close()

    async def execute(
        self, sql: str, args: Arguments = None, *, consistency: Consistency | None = None, after: str = ""
    ) -> Result:
        """Run one statement; *args* replace its ``%s`` or ``%(name)s``, escaped. `Result.token` names it."""
        return await self._route(
            sql, lambda connection, lost: connection.execute(sql, args, lost=lost), consistency, after
        )

    async def fetch_all(
        self, sql: str, args: Arguments = None, *, consistency: Consistency | None = None, after: str = ""
    ) -> Rows:
        """All rows of one statement; `Rows.server` tells who answered.

        A read shows what the token *after* names, and what *consistency* says, the router's unless given.
        Raises ValueError for what is no token.
        """
        return await self._route(
            sql, lambda connection, lost: connection.fetch(sql, args, lost=lost), consistency, after
        )

    async def fetch_one(
        self, sql: str, args: Arguments = None, *, consistency: Consistency | None = None, after: str = ""
    ) -> Row | None:
        """The first row, with `Row.server`; None when there is none."""
        rows = await self.fetch_all(sql, args, consistency=consistency, after=after)
        return rows[0] if rows else None

    def transaction(
        self, read_only: bool = False, *, consistency: Consistency | None = None, after: str = ""
    ) -> Transaction:
        """``async with router.transaction() as tx``; on the primary, with *read_only* on a replica."""
        connections = self._connections
        if read_only:
            shown = self.shown(consistency, after)
            return Transaction(
                lambda begin: connections.take_reader(shown, begin), connections.give_back, read_only
            )
        return Transaction(connections.take_primary, connections.give_back, read_only, self.wrote)

    async def run(self, work: Callable[[Transaction], Awaitable[T]], attempts: int = 5) -> T:
        """Run *work* in a transaction on the primary, and again from its start where nothing came of it.

        That is: its connection died before the commit, it lost a lock (`LockConflict`), or its server is the
        primary no more. The last attempt's error is raised. Once a commit was sent, never: OutcomeUnknown,
        or the error itself behind a statement that may have committed by itself, such as CREATE TABLE.
        """
        while True:
            attempts -= 1
            transaction = self.transaction()
            try:
                async with transaction as tx:
                    return await work(tx)
            except (ConnectionLost, LockConflict, ReadOnlyServer):
                if attempts <= 0 or transaction.may_have_committed:
                    raise

    def session(self, *, consistency: Consistency | None = None, after: str = "") -> Session:
        """``async with router.session() as session``: reads see the session's own writes."""
        shown = self.shown(consistency, after)
        pins = (consistency or self.options.consistency) != "eventual"
        return Session(self._connections, shown, self.wrote, pins)

    @contextmanager
    def own_writes(self, after: str = "") -> Iterator[OwnWrites]:
        """All in this block, tasks begun in it too, is one user's: reads show what any of it wrote before.

        *after* is what the user wrote elsewhere; `OwnWrites.token` is what to take along. Raises ValueError
        for what is no token.
        """
        mine = OwnWrites(after, asyncio.get_running_loop().time())
        before = self._own.set(mine)
        try:
            yield mine
        finally:
            self._own.reset(before)

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
                    "lag": member.lag,
                    "connections": self._connections.counts(member),
                    "statements": member.server.counters.requests,
                }
                for member in topology.members
            ],
        }

    def metrics(self) -> bytes:
        """`status` and what the pools have done, as a scrape in Prometheus's text format.

        Its content type is `lbkit.metrics.CONTENT_TYPE`.
        """
        counts = {member.name: self._connections.counts(member) for member in self._topology.members}
        return render(families(self._topology, counts, self._connections.counters))

    def connections(
        self, limits: PoolLimits, open_one: Callable[[Dsn, float], Awaitable[Connection]]
    ) -> Connections:
        """Pools of another kind of connections to the same servers, picked and watched as its own."""
        made = Connections(self._topology, replace(self.options, pool=limits), self._rng, open_one)
        made.heed(self._connections)
        self._others.append(made)
        return made

    async def _route(self, sql: str, step: Step[T], consistency: Consistency | None, after: str) -> T:
        statement = classify(sql)
        if not statement.reads:
            return await self._connections.change(statement, step, self.wrote)
        shown = self.shown(consistency, after)
        return await self._connections.read(lambda connection: step(connection, ConnectionLost), shown)

    def shown(self, consistency: Consistency | None = None, after: str = "") -> str:
        """The token of all that a read of the present user must show."""
        if consistency is None:
            consistency = self.options.consistency
        else:
            check_consistency(consistency)
        if after:
            after = checked(after)
        if consistency == "eventual":
            return after
        if consistency == "strong":
            return PRIMARY_ONLY
        own = self._own.get()
        if own is None:
            return after
        now = asyncio.get_running_loop().time()
        if now >= own.due:
            own.settle(self._topology, self.options.max_lag, now)
        if own.is_everywhere:
            return after
        return merged(own.token, after) if after else own.token

    def wrote(self, token: str) -> None:
        """Note a write of the present user: of the block of `own_writes`, else of this task."""
        if not token:
            return
        now = asyncio.get_running_loop().time()
        own = self._own.get()
        task = asyncio.current_task()
        if own is None or (own.owner is not None and own.owner is not task):
            # What was inherited from the task that has begun this one is the other's, too: it is copied.
            own = OwnWrites(own.token if own else "", now, task)
            self._own.set(own)
        own.add(token, now)


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
