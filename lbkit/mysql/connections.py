"""`Connections`: the connections to all servers of a topology, and the rules for using them.

Who is picked, what is tried again, and what happens to a connection afterwards are decided here;
`router`, `session` and `transaction` only say what they need. A read is tried on other servers while none
can be reached, and once more when a connection dies under it. A write is never repeated.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from lbkit import deadline
from lbkit.errors import (
    ConnectFailed,
    ConnectionLost,
    LbkitError,
    NoServerAvailable,
    OutcomeUnknown,
    ReadOnlyServer,
)
from lbkit.mysql.connection_pool import ConnectionPool
from lbkit.mysql.driver import Connection, Step, connect
from lbkit.mysql.dsn import Dsn
from lbkit.mysql.monitor import Monitor
from lbkit.mysql.options import RouterOptions
from lbkit.mysql.statements import Statement
from lbkit.mysql.topology import Change, Member, Topology

__all__ = ["Connections"]

log = logging.getLogger("lbkit.mysql")

T = TypeVar("T")
KILL_TIMEOUT = 5.0  # seconds to tell a server to stop a statement that nobody waits for


class Connections:
    """A pool for each member of *topology*, and the monitor that keeps the topology true."""

    def __init__(self, topology: Topology, options: RouterOptions) -> None:
        self.topology = topology
        self._options = options
        self._pools = {member.name: self._pool(member.dsn) for member in topology.members}
        self._monitor: Monitor | None = None
        self._pruning: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Probe every server once and go on probing in the background."""
        if self._monitor:
            raise RuntimeError("started already")
        options = self._options
        self._monitor = Monitor(
            self.topology, options.monitor_interval, options.monitor_timeout, self._changed
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

    def counts(self, member: Member) -> dict[str, int]:
        """Open, idle and waiting, for a status page."""
        return self._pools[member.name].counts

    async def take_primary(self) -> Connection:
        """A connection to the primary, to be given back with `give_back`."""
        return await self._take(self.topology.require_primary())

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
                return await self.use(member, step)
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

    async def use(self, member: Member, step: Callable[[Connection], Awaitable[T]]) -> T:
        """Run *step* on a connection to *member*, which is given back whatever happens."""
        connection = await self._take(member)
        try:
            return await step(connection)
        finally:
            self.give_back(connection)

    async def _take(self, member: Member) -> Connection:
        member.server.counters.requests += 1
        try:
            async with deadline.bounded():
                return await self._pools[member.name].acquire()
        except ConnectFailed:
            member.server.counters.connect_errors += 1
            self._wake(member.name)
            raise

    def _next_reader(self, tried: Sequence[Member], failure: LbkitError | None) -> Member:
        """Who is to answer a read; where nobody is left, the last failure tells more than that."""
        try:
            return self.topology.pick_reader(asyncio.get_running_loop().time(), tried)
        except NoServerAvailable:
            if failure:
                raise failure from None
            raise

    def _is_last(self, member: Member, tried: Sequence[Member]) -> bool:
        others = [other for other in self.topology.readers() if other is not member]
        return all(other in tried for other in others)

    def _wake(self, name: str = "") -> None:
        if self._monitor:
            self._monitor.wake(name)

    def _pool(self, dsn: Dsn) -> ConnectionPool[Connection]:
        async def interrupted(connection: Connection) -> None:
            await self._kill(dsn, connection.id)

        return ConnectionPool(
            dsn.name, lambda: connect(dsn, self._options.connect_timeout), self._options.pool, interrupted
        )

    async def _kill(self, dsn: Dsn, connection_id: int) -> None:
        """Stop a statement whose caller was cancelled: the server would go on with it, locks and all.

        The whole connection is killed and not only its statement, which the server may not have begun.
        """
        try:
            async with asyncio.timeout(KILL_TIMEOUT):
                connection = await connect(dsn, self._options.connect_timeout)
                try:
                    await connection.execute(f"KILL CONNECTION {connection_id}")
                finally:
                    await connection.close()
        except (LbkitError, TimeoutError) as error:
            # Most often it has ended by itself; else the server notices the closed socket in time.
            log.debug("%s: connection %d was not killed: %s", dsn.name, connection_id, error)

    async def _prune(self) -> None:
        while True:
            await asyncio.sleep(self._options.monitor_interval)
            for pool in self._pools.values():
                pool.prune()

    def _changed(self, changes: list[Change]) -> None:
        for change in changes:
            log.info("%s %s", change.name, change.text)
        for member in self.topology.members:
            # Reads that hang on a dead replica are lost, and so read again elsewhere. On a primary the
            # same would make writes of unknown outcome, which a late answer is better than.
            if not member.up and member.writable is False:
                self._pools[member.name].abandon()
