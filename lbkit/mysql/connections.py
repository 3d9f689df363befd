"""`Connections`: the connections to all servers of a topology, and the rules for using them.

Who is picked, what is tried again, and what happens to a connection afterwards are decided here;
`router`, `session` and `transaction` only say what they need.

- A read is tried on other servers while none can be reached, and once more when a connection dies under it.
- A read that must show a write (a token, see `tokens`) waits for its replica to have it, then goes to the
  primary. A replica that let a wait run out is asked without waiting until it has been in time again.
- The primary is asked, too, whether it has the write, unless this process wrote it there: one that stood
  still while another one was promoted goes on as if nothing had happened, and a router that has not looked
  since believes it. One that lacks the write is not read from; who else may be the primary is found out.
  Where nobody else can be, the write was lost, or is on a server that must be made anew: then it answers.
- What needs the primary waits for one, while there is none, up to `wait_for_primary`. A write is sent again
  only where it is known that nothing was carried out: its connection was dead before, or the server refused
  it as read-only. Once sent and not answered, never.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from lbkit import deadline
from lbkit.errors import (
    ConnectFailed,
    ConnectionLost,
    ConnectionsInUse,
    LbkitError,
    NoServerAvailable,
    OutcomeUnknown,
    QueryFailed,
    ReadOnlyServer,
)
from lbkit.mysql.catch_up import has, primary_has
from lbkit.mysql.connection_pool import ConnectionPool, PoolCounters
from lbkit.mysql.driver import Connection, Step, connect
from lbkit.mysql.dsn import Dsn
from lbkit.mysql.monitor import Monitor
from lbkit.mysql.options import RouterOptions
from lbkit.mysql.statements import Statement
from lbkit.mysql.tokens import PRIMARY_ONLY, Held
from lbkit.mysql.topology import Change, Member, Topology

__all__ = ["Begin", "Connections", "may_write"]

log = logging.getLogger("lbkit.mysql")

T = TypeVar("T")
Begin = Callable[[Connection], Awaitable[object]] | None
"""What is to be done with a connection before it counts as taken."""

KILL_TIMEOUT = 5.0  # seconds to tell a server to stop a statement that nobody waits for
LOOK_AGAIN = 0.05  # seconds after which a primary that failed is tried again, unless there is news before
FOR_GOOD = frozenset({1044, 1045, 1049, 1698})  # access denied, no such database: waiting changes nothing
NO_WAIT = 0.001  # seconds; for a replica that has been late


class Connections:
    """A pool for each member of *topology*, and the monitor that keeps the topology true."""

    def __init__(
        self,
        topology: Topology,
        options: RouterOptions,
        rng: random.Random,
        open_one: Callable[[Dsn, float], Awaitable[Connection]] = connect,
    ) -> None:
        """*open_one* opens a connection to a server within so many seconds."""
        self.topology = topology
        self._open_one = open_one
        self._rng = rng
        self._options = options
        self._late: set[str] = set()
        self._held: dict[str, Held] = {member.name: Held() for member in topology.members}
        self._leader: Connections | None = None
        self._followers: list[Connections] = []
        self._news = asyncio.Event()
        self._pools = {member.name: self._pool(member) for member in topology.members}
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
        self.keep()

    def keep(self) -> None:
        """Open what is to be kept warm, and from now on close what is too old or not needed."""
        for pool in self._pools.values():
            pool.prune()
        self._pruning = asyncio.create_task(self._prune())

    def heed(self, other: Connections) -> None:
        """Leave the looking to the monitor of *other*, of the same topology, and hear what it finds."""
        self._leader = other
        other._followers.append(self)

    async def close(self) -> None:
        """Close all connections; those in use close when they are given back."""
        if self._pruning:
            self._pruning.cancel()
            await asyncio.gather(self._pruning, return_exceptions=True)
        if self._monitor:
            await self._monitor.stop()
        if self._leader:
            self._leader._followers.remove(self)
            self._leader = None
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))

    def clear(self) -> None:
        """Close all connections that nobody uses now."""
        for pool in self._pools.values():
            pool.clear()

    def counts(self, member: Member) -> dict[str, int]:
        """Open, idle and waiting, for a status page."""
        return self._pools[member.name].counts

    @property
    def counters(self) -> dict[str, PoolCounters]:
        """What has happened in each server's pool."""
        return {name: pool.counters for name, pool in self._pools.items()}

    async def take_primary(self, begin: Begin = None, after: str = "") -> Connection:
        """A connection to the primary, to be given back with `give_back`; waits for one to be there.

        *begin* is done on it first; what a dead connection or a read-only server makes of that is no failure
        but a reason to look for another one. One that lacks *after* is not the primary, unless that is lost.
        """
        until = self._now() + self._options.wait_for_primary
        failure: LbkitError | None = None
        while True:
            primary = await self._primary(until, failure)
            try:
                if connection := await self._begun(primary, begin, after):
                    return connection
                if await self._is_lost(after, until):
                    after = ""
                    continue
                error: LbkitError = _outdated(primary)
            except ConnectionsInUse:
                raise
            except (ConnectFailed, ConnectionLost, ReadOnlyServer) as failed:
                error = failed
            failure = await self._another_chance(error, primary, until)

    async def take_reader(self, after: str = "", begin: Begin = None) -> Connection:
        """A connection to a replica that has *after*, or to the primary where none has or can be reached."""
        tried: list[Member] = []
        failure: LbkitError | None = None
        while not self._is_for_primary(after, tried):
            member = self._next_reader(tried, failure)
            try:
                connection = await self._take(member)
                try:
                    if await self._shows(connection, member, after):
                        await _do(begin, connection)
                        return connection
                except BaseException:
                    self.give_back(connection)
                    raise
                self.give_back(connection)
                tried += [other for other in self.topology.members if other is not self.topology.primary]
            except (ConnectFailed, ConnectionLost) as error:
                failure = error
                tried.append(member)
        return await self.take_primary(begin, after)

    def give_back(self, connection: Connection) -> None:
        """Return a connection from `take_primary` or `take_reader`."""
        if connection.closed:
            self._wake(connection.server)
        self._pools[connection.server].release(connection)

    async def read(self, step: Callable[[Connection], Awaitable[T]], after: str = "") -> T:
        """Run a read on a replica that has *after*; elsewhere where none is reached, once more if lost."""
        tried: list[Member] = []
        failure: LbkitError | None = None
        while not self._is_for_primary(after, tried):
            member = self._next_reader(tried, failure)
            connection: Connection | None = None
            try:
                connection = await self._take(member)
                if not after or await self._shows(connection, member, after):
                    return await step(connection)
                tried += [other for other in self.topology.members if other is not self.topology.primary]
                continue
            except ConnectFailed as error:
                failure = error
            except ConnectionLost as error:
                if isinstance(failure, ConnectionLost):
                    raise
                failure = error
                if self._is_last(member, tried):
                    continue  # nobody else is left, and a new connection to it may do
            finally:
                if connection:
                    self.give_back(connection)
            tried.append(member)
        return await self._read_primary(step, after)

    async def _read_primary(self, step: Callable[[Connection], Awaitable[T]], after: str) -> T:
        """Run a read that only the primary can answer, once more when a connection dies under it."""
        for last in (False, True):
            connection = await self.take_primary(after=after)
            try:
                return await step(connection)
            except ConnectionLost:
                if last:
                    raise
            finally:
                self.give_back(connection)
        raise AssertionError("the second attempt returns or raises")

    def _is_for_primary(self, after: str, tried: Sequence[Member]) -> bool:
        """Whether a read may be answered by the primary only: no replica has what it must show, and while no
        primary is there a wait for one is better than an old answer."""
        if not after:
            return False
        return after == PRIMARY_ONLY or not any(
            member is not self.topology.primary and member not in tried for member in self.topology.readers()
        )

    async def _shows(self, connection: Connection, member: Member, after: str) -> bool:
        """Whether a server has *after*; a late one is not waited for again until it has been in time."""
        if not after:
            return True
        if member is self.topology.primary:
            return await self._primary_shows(connection, member, after)
        late = member.name in self._late
        shows = await has(connection, after, NO_WAIT if late else self._options.wait_for_writes)
        if shows is late:
            (self._late.discard if shows else self._late.add)(member.name)
            log.debug("%s has %s a read had to show", member.name, "again all that" if shows else "not what")
        return shows

    async def _primary_shows(self, connection: Connection, primary: Member, after: str) -> bool:
        """Asked only where another server may have taken its place, and where it is not known already."""
        held = self._held[primary.name]
        if after == PRIMARY_ONLY or connection.reached == after or len(self._held) == 1 or after in held:
            return True
        shows = await primary_has(connection, after)
        if shows:
            connection.reached = after
            held.add(after)
        return shows

    async def _is_lost(self, after: str, until: float) -> bool:
        """Whether no other primary can have it, by a look at everybody: then the present one's answer is as
        good as any. What is not certain is taken to be so at *until*, when all that is known says it."""
        monitor = (self._leader or self)._monitor
        if monitor is None:
            return False
        began = self._now()
        async with deadline.bounded():
            everybody = await monitor.look()
        topology = self.topology
        lost = (
            topology.took_over(began)
            or (everybody and topology.nobody_has(after))
            or (self._now() >= until and topology.is_alone())
        )
        if lost and topology.primary:
            self._held[topology.primary.name].add(after)  # it is not to be found out each time
        return lost

    async def change(
        self,
        sql: Statement,
        step: Step[T],
        wrote: Callable[[str], None],
        keep: Callable[[Connection], None] | None = None,
    ) -> T:
        """Run a statement on the primary that may change something; *wrote* is told its token.

        *keep* gets the connection where that went well, which else is given back.
        """
        until = self._now() + self._options.wait_for_primary
        failure: LbkitError | None = None
        while True:
            primary = await self._primary(until, failure)
            connection: Connection | None = None
            try:
                connection = await self._take(primary)
                result = await self.write(sql, connection, step, wrote)
                if keep:
                    keep(connection)
                    connection = None
                return result
            except ConnectionsInUse:
                raise
            except (ConnectFailed, ConnectionLost) as error:
                if connection and sql.reads:
                    raise
                refusal: LbkitError = error  # not sent: the connection was dead before
            except ReadOnlyServer as error:
                if sql.may_commit:
                    raise  # a procedure may have carried out a part of it before
                refusal = error
            finally:
                if connection:
                    self.give_back(connection)
            failure = await self._another_chance(refusal, primary, until)

    async def write(
        self, sql: Statement, connection: Connection, step: Step[T], wrote: Callable[[str], None]
    ) -> T:
        """Run a statement that may change something on a connection to the primary."""
        if sql.changes_session:
            connection.needs_reset = True
        try:
            result = await step(connection, ConnectionLost if sql.reads else OutcomeUnknown)
        except ReadOnlyServer:
            self._wake()  # it is the primary no more: find out who is
            raise
        except QueryFailed:
            if sql.may_commit:  # a procedure may have carried out a part of it before
                wrote(await connection.take_token())
            raise
        except BaseException:
            if not sql.reads and connection.closed:
                # It may have been carried out. Who looks is to look where that would be seen.
                wrote(PRIMARY_ONLY)
            raise
        if not sql.reads and not connection.in_transaction:
            try:
                token = await connection.take_token(may_write(sql))
            except BaseException:
                wrote(PRIMARY_ONLY)  # cancelled while the server was asked what it has carried out
                raise
            wrote(token)
            if token:
                self._held[connection.server].add(token)
        return result

    async def use(self, member: Member, step: Callable[[Connection], Awaitable[T]]) -> T:
        """Run *step* on a connection to *member*, which is given back whatever happens."""
        connection = await self._take(member)
        try:
            return await step(connection)
        finally:
            self.give_back(connection)

    async def _begun(self, member: Member, begin: Begin, after: str) -> Connection | None:
        """None where it lacks *after*."""
        connection = await self._take(member)
        try:
            if shows := not after or await self._shows(connection, member, after):
                await _do(begin, connection)
        except BaseException:
            self.give_back(connection)
            raise
        if not shows:
            self.give_back(connection)
            return None
        return connection

    async def _primary(self, until: float, failure: LbkitError | None) -> Member:
        """The primary, once there is one; *failure*, else NoServerAvailable, where none is by *until*."""
        while (primary := self.topology.primary) is None:
            left = until - self._now()
            if left <= 0:
                if failure:
                    raise failure
                return self.topology.require_primary()
            await self._for_news(left)
        return primary

    async def _another_chance(self, error: LbkitError, primary: Member, until: float) -> LbkitError:
        """Wait for what comes after a primary that takes nothing; raises *error* where the time is over."""
        left = until - self._now()
        if left <= 0 or (isinstance(error, ConnectFailed) and error.code in FOR_GOOD):
            raise error
        self._wake()
        if self.topology.primary is primary and not isinstance(error, ConnectionLost):
            await self._for_news(min(left, LOOK_AGAIN))
        return error

    async def _for_news(self, seconds: float) -> None:
        news = self._news
        try:
            async with deadline.bounded(), asyncio.timeout(seconds):
                await news.wait()
        except TimeoutError:
            pass  # whoever waits looks at its own clock

    async def _take(self, member: Member) -> Connection:
        member.server.counters.requests += 1
        try:
            if deadline.at() is None:
                return await self._pools[member.name].acquire()
            async with deadline.bounded():
                return await self._pools[member.name].acquire()
        except ConnectionsInUse:
            raise
        except ConnectFailed:
            member.server.counters.connect_errors += 1
            self._wake(member.name)
            raise

    def _next_reader(self, tried: Sequence[Member], failure: LbkitError | None) -> Member:
        """Who is to answer a read; where nobody is left, the last failure tells more than that."""
        try:
            return self.topology.pick_reader(self._now(), tried, self._options.max_lag)
        except NoServerAvailable:
            if failure:
                raise failure from None
            raise

    def _is_last(self, member: Member, tried: Sequence[Member]) -> bool:
        others = [other for other in self.topology.readers() if other is not member]
        return all(other in tried for other in others)

    def _wake(self, name: str = "") -> None:
        if monitor := (self._leader or self)._monitor:
            monitor.wake(name)

    def _pool(self, member: Member) -> ConnectionPool[Connection]:
        dsn = member.dsn

        async def interrupted(connection: Connection) -> None:
            await self._kill(dsn, connection.id)

        async def opened() -> Connection:
            connection = await self._open_one(dsn, self._options.connect_timeout)
            connection.position = lambda: member.position
            return connection

        return ConnectionPool(dsn.name, opened, self._options.pool, interrupted, self._rng)

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
        for one in (self, *self._followers):
            one._heed_news()

    def _heed_news(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
        for member in self.topology.members:
            if member is not self.topology.primary:
                self._held[member.name] = Held()  # it may come back with less
            # Reads that hang on a dead replica are lost, and so read again elsewhere. On a primary the
            # same would make writes of unknown outcome, which a late answer is better than.
            if not member.up and member.writable is False:
                self._pools[member.name].abandon()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def may_write(sql: Statement) -> bool:
    """Not where it is the primary's only for its locks, or for what it tells of one server."""
    return sql.changes_session or sql.may_commit or sql.reason.endswith("is not a read")


def _outdated(primary: Member) -> NoServerAvailable:
    return NoServerAvailable(
        f"no primary: {primary.name} takes writes, but lacks what the read must show, as one does that was "
        "replaced while it stood still; and no other one is known"
    )


async def _do(begin: Begin, connection: Connection) -> None:
    if begin:
        await begin(connection)
