"""`Router`: one object to talk to a primary and its replicas as if they were one database.

    async with Router(["mysql://app:secret@db1/app", "mysql://app:secret@db2/app"]) as router:
        await router.execute("INSERT INTO note (text) VALUES (%s)", ["hello"])
        rows = await router.fetch_all("SELECT * FROM note")      # rows.server: who answered

Life of a statement: classify → pick → acquire → run → release. A plain read outside a session and a
transaction goes to a replica, everything else to the primary. A read is tried on other servers when one
can't be reached, and once more when a connection dies under it. A write is never repeated.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

from lbkit.errors import (
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    LbkitError,
    NoServerAvailable,
    OutcomeUnknown,
    ReadOnlyServer,
)
from lbkit.mysql.catch_up import position_of, wait_for
from lbkit.mysql.connection_pool import ConnectionPool
from lbkit.mysql.driver import Arguments, Connection, connect
from lbkit.mysql.dsn import Dsn
from lbkit.mysql.monitor import Monitor
from lbkit.mysql.options import RouterOptions
from lbkit.mysql.results import Result, Row, Rows
from lbkit.mysql.session import Session
from lbkit.mysql.statements import Statement, classify
from lbkit.mysql.steps import Step
from lbkit.mysql.topology import Change, Member, Topology
from lbkit.mysql.transaction import Transaction

__all__ = ["Router"]

log = logging.getLogger("lbkit.mysql")

T = TypeVar("T")
KILL_TIMEOUT = 5.0  # seconds to tell a server to stop a statement that nobody waits for

Servers = Sequence[str | Dsn] | Mapping[str, str | Dsn]


class Router:
    """Reads to replicas, writes to the primary, roles found by asking the servers.

    *servers*: DSNs, or a mapping of names to DSNs; without names a server is called ``host:port``. All
    must be servers of one replication topology. Raises ConfigError for a wrong DSN.

    Errors of every statement: QueryFailed (the server's code and text; nothing else is affected),
    NoServerAvailable, ConnectFailed (nothing was sent), ConnectionLost (a read, twice) and
    OutcomeUnknown (a write was sent and never answered).
    """

    def __init__(
        self, servers: Servers, options: RouterOptions | None = None, rng: random.Random | None = None
    ) -> None:
        """*rng* is for balancing algorithms that draw; a seeded one gives the same picks again."""
        self.options = options or RouterOptions()
        dsns = _dsns(servers)
        try:
            rng = rng or random.Random()  # noqa: S311 - it spreads load and guards nothing
            self._topology = Topology(dsns, self.options.algorithm, rng)
        except ValueError as error:
            raise ConfigError(f"servers: {error}") from None
        self._pools = {dsn.name: self._pool(dsn) for dsn in dsns}
        self._monitor: Monitor | None = None
        self._pruning: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Router:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Look at every server once and keep looking; servers that are down do not hinder it."""
        if self._monitor:
            raise RuntimeError("the router was started already")
        options = self.options
        self._monitor = Monitor(
            self._topology, options.monitor_interval, options.monitor_timeout, self._changed
        )
        try:
            await self._monitor.start()
        except BaseException:
            await self._monitor.stop()
            raise
        self._pruning = asyncio.create_task(self._prune())

    async def close(self) -> None:
        """Close all connections; those in use close when they are given back."""
        if self._pruning:
            self._pruning.cancel()
            await asyncio.gather(self._pruning, return_exceptions=True)
        if self._monitor:
            await self._monitor.stop()
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))

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
        return Transaction(_RouterLease(self, read_only), read_only)

    def session(self) -> Session:
        """``async with router.session() as session``: reads see the session's own writes."""
        return Session(self)

    async def catch_up(self, timeout: float = 10.0) -> bool:
        """Wait until every available replica has carried out what the primary had when called.

        False when that takes more than *timeout* seconds or a replica fails meanwhile. Raises as a read
        of the primary does.
        """
        primary = self._topology.require_primary()
        replicas = [self._member(server.name) for server in self._topology.replicas]
        position = await self._with(primary, position_of)
        done = await asyncio.gather(
            *(self._with(replica, lambda held: wait_for(held, position, timeout)) for replica in replicas),
            return_exceptions=True,
        )
        for result in done:
            if isinstance(result, BaseException) and not isinstance(result, LbkitError):
                raise result
        return all(result is True for result in done)

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
                    "connections": self._pools[member.name].counts,
                    "statements": member.server.counters.requests,
                }
                for member in topology.members
            ],
        }

    async def take_primary(self) -> Connection:
        """A connection to the primary, to be given back with `give_back`."""
        return await self._take(self._topology.require_primary())

    async def take_reader(self) -> Connection:
        """A connection to a replica, or to the primary where no replica can be reached."""
        tried: list[Member] = []
        failure: LbkitError | None = None
        while True:
            member = self._next_reader(tried, failure)
            try:
                return await self._take(member)
            except ConnectFailed as error:
                failure = error
                tried.append(member)

    def give_back(self, connection: Connection) -> None:
        """Return a connection from `take_primary` or `take_reader`."""
        if connection.closed:
            self._wake(connection.server)
        self._pools[connection.server].release(connection)

    async def read(self, step: Callable[[Connection], Awaitable[T]]) -> T:
        """Run a read on a replica; on other servers while none is reached, once more when one is lost."""
        tried: list[Member] = []
        failure: LbkitError | None = None
        while True:
            member = self._next_reader(tried, failure)
            try:
                return await self._with(member, step)
            except ConnectFailed as error:
                failure = error
            except ConnectionLost as error:
                if isinstance(failure, ConnectionLost):
                    raise
                failure = error
                if self._is_last(member, tried):
                    continue  # nobody else is left, and a new connection to it may do
            tried.append(member)

    async def write(self, sql: Statement, connection: Connection, step: Step[T]) -> T:
        """Run a statement that may change something on a connection to the primary."""
        if sql.changes_session:
            connection.needs_reset = True
        try:
            return await step(connection, ConnectionLost if sql.reads else OutcomeUnknown)
        except ReadOnlyServer:
            self._wake()  # it is the primary no more: find out who is
            raise

    async def _route(self, sql: str, step: Step[T]) -> T:
        statement = classify(sql)
        if statement.reads:
            return await self.read(lambda connection: step(connection, ConnectionLost))
        primary = self._topology.require_primary()
        return await self._with(primary, lambda connection: self.write(statement, connection, step))

    async def _with(self, member: Member, step: Callable[[Connection], Awaitable[T]]) -> T:
        connection = await self._take(member)
        try:
            return await step(connection)
        finally:
            self.give_back(connection)

    async def _take(self, member: Member) -> Connection:
        member.server.counters.requests += 1
        try:
            return await self._pools[member.name].acquire()
        except ConnectFailed:
            member.server.counters.connect_errors += 1
            self._wake(member.name)
            raise

    def _next_reader(self, tried: Sequence[Member], failure: LbkitError | None) -> Member:
        """Who is to answer a read; where nobody is left, the last failure tells more than that."""
        try:
            return self._topology.pick_reader(asyncio.get_running_loop().time(), tried)
        except NoServerAvailable:
            if failure:
                raise failure from None
            raise

    def _is_last(self, member: Member, tried: Sequence[Member]) -> bool:
        others = [other for other in self._topology.readers() if other is not member]
        return all(other in tried for other in others)

    def _member(self, name: str) -> Member:
        return next(member for member in self._topology.members if member.name == name)

    def _wake(self, name: str = "") -> None:
        if self._monitor:
            self._monitor.wake(name)

    def _pool(self, dsn: Dsn) -> ConnectionPool[Connection]:
        async def interrupted(connection: Connection) -> None:
            await self._kill(dsn, connection.id)

        return ConnectionPool(
            dsn.name, lambda: connect(dsn, self.options.connect_timeout), self.options.pool, interrupted
        )

    async def _kill(self, dsn: Dsn, connection_id: int) -> None:
        """Stop a statement whose caller was cancelled: the server would go on with it, locks and all.

        The whole connection is killed and not only its statement, which the server may not have begun.
        """
        try:
            async with asyncio.timeout(KILL_TIMEOUT):
                connection = await connect(dsn, self.options.connect_timeout)
                try:
                    await connection.execute(f"KILL CONNECTION {connection_id}")
                finally:
                    await connection.close()
        except (LbkitError, TimeoutError) as error:
            # Most often it has ended by itself; else the server notices the closed socket in time.
            log.debug("%s: connection %d was not killed: %s", dsn.name, connection_id, error)

    async def _prune(self) -> None:
        while True:
            await asyncio.sleep(self.options.monitor_interval)
            for pool in self._pools.values():
                pool.prune()

    def _changed(self, changes: list[Change]) -> None:
        for change in changes:
            log.info("%s %s", change.name, change.text)


class _RouterLease:
    def __init__(self, router: Router, read_only: bool) -> None:
        self.take = router.take_reader if read_only else router.take_primary
        self.give_back = router.give_back


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
