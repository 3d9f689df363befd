"""`ConnectionPool`: open connections to one server, shared fairly.

Strategy: a count of slots and a queue of waiters. A slot is an open connection or one being opened; no
lock is held while anything is awaited, so a connect that hangs costs its own slot and nothing else.
Whatever frees a slot (a release, a broken connection, a failed connect, a cancelled waiter) passes it to
the first waiter, as an open connection or as leave to open one. While anybody waits there is no idle
connection and no free slot, so nobody can overtake.

A connection is reset (COM_RESET_CONNECTION) on its release wherever the session's state may have changed:
with an open transaction, and after every statement but those known to leave nothing behind (`statements`).
Not after each use: a reset is three more round trips, and a plain read leaves nothing to forget.

aiomysql's own pool was rejected: it connects under its lock, does not wake a waiter when a broken
connection comes back, and never resets a session.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from lbkit.errors import ConnectFailed, ConnectionsInUse, LbkitError
from lbkit.mysql.options import PoolLimits

__all__ = ["ConnectionPool", "PoolCounters", "PooledConnection"]


class PooledConnection(Protocol):
    """What the pool needs of a connection; `lbkit.mysql.driver.Connection` has it."""

    opened: float
    expires: float
    last_used: float
    needs_reset: bool

    @property
    def closed(self) -> bool: ...
    @property
    def in_transaction(self) -> bool: ...
    @property
    def was_interrupted(self) -> bool: ...
    async def ping(self) -> None: ...
    async def reset(self) -> None: ...
    def drop(self) -> None: ...
    async def close(self) -> None: ...


C = TypeVar("C", bound=PooledConnection)


@dataclass(slots=True)
class PoolCounters:
    """What has happened in a pool since it was made; `waited` in seconds."""

    acquired: int = 0
    opened: int = 0
    refused: int = 0
    """Connections that did not come about."""
    queued: int = 0
    """Users that had to wait for somebody else's connection."""
    gave_up: int = 0
    """Of these, those that waited for too long."""
    waited: float = 0.0
    resets: int = 0
    dropped: int = 0
    """Connections closed because they, or what was at work on them, were broken off."""
    retired: int = 0
    """Connections closed for their age, or because nobody needed them."""


class ConnectionPool(Generic[C]):
    """Connections to the server *name*, opened by *connect* when needed.

    Every connection from `acquire` goes back through `release`, exactly once. *interrupted* is called
    with a connection that was closed while its server was at work on a statement.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Awaitable[C]],
        limits: PoolLimits,
        interrupted: Callable[[C], Coroutine[Any, Any, None]] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """*rng* spreads the ends of connections that were opened together."""
        self.name = name
        self.counters = PoolCounters()
        self._rng = rng or random.Random()
        self.limits = limits
        self._connect = connect
        self._interrupted = interrupted
        self._idle: list[C] = []
        self._used: set[C] = set()
        self._slots = 0
        # A waiter's future gets a connection, or None for "the slot is yours, connect".
        self._waiters: deque[asyncio.Future[C | None]] = deque()
        self._chores: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def counts(self) -> dict[str, int]:
        """``open`` (being opened included), ``idle``, ``waiting`` and ``limit``, for a status page."""
        return {
            "open": self._slots,
            "idle": len(self._idle),
            "waiting": len(self._waiters),
            "limit": self.limits.size,
        }

    async def acquire(self) -> C:
        """A live connection with a clean session.

        Raises ConnectFailed when the server can't be reached, and ConnectionsInUse when all connections stay
        in use for `limits.wait` seconds.
        """
        while True:
            now = self._now()
            connection = self._take_idle(now)
            if connection is None:
                connection = await self._new_or_awaited()
                now = self._now()
            if now - connection.last_used < self.limits.ping_after or await self._is_alive(connection):
                self._used.add(connection)
                self.counters.acquired += 1
                return connection
            self._discard(connection)

    def release(self, connection: C) -> None:
        """Take a connection back in whatever state it is; the next waiter is served at once.

        An open transaction is rolled back and a changed session reset before anybody else gets it.
        """
        self._used.discard(connection)
        connection.last_used = self._now()
        if self._closed or connection.closed:
            self._discard(connection)
        elif connection.in_transaction or connection.needs_reset:
            self._start(self._clean(connection))
        else:
            self._hand_on(connection)

    def prune(self) -> None:
        """Close idle connections that are dead, too old or no longer needed, and open those to be kept warm.

        To be called now and then.
        """
        now = self._now()
        for connection in list(self._idle):
            unused = self._slots > self.limits.warm and now - connection.last_used > self.limits.idle
            if unused or self._expired(connection, now):
                self._idle.remove(connection)
                self._discard(connection)
        while self._slots < self.limits.warm and not self._closed:
            self._slots += 1
            self._start(self._warm_up())

    def clear(self) -> None:
        """Close all idle connections."""
        while self._idle:
            self._discard(self._idle.pop())

    def abandon(self) -> None:
        """Drop every connection, those in use too: their users get an error instead of waiting for ever.

        For a server that fell silent; who is hung in a statement on it would notice only by TCP's
        own timeouts, after many minutes.
        """
        for connection in self._used:
            connection.drop()
        self.clear()

    async def close(self) -> None:
        """Close all idle connections, and each of the others when it is released; waiters get an error."""
        self._closed = True
        while self._waiters:
            self._fail(self._waiters.popleft())
        idle, self._idle = self._idle, []
        self._slots -= len(idle)
        await asyncio.gather(*(connection.close() for connection in idle))
        while self._chores:
            await asyncio.gather(*self._chores, return_exceptions=True)

    def _take_idle(self, now: float) -> C | None:
        """The most recently used connection, so that those not needed grow old together."""
        while self._idle:
            connection = self._idle.pop()
            if not self._expired(connection, now):
                return connection
            self._discard(connection)
        return None

    async def _new_or_awaited(self) -> C:
        if self._closed:
            raise ConnectFailed(f"{self.name}: the pool is closed")
        if self._slots < self.limits.size:
            self._slots += 1
            return await self._fill_slot()
        return await self._wait() or await self._fill_slot()

    async def _fill_slot(self) -> C:
        """Connect for a slot that is already counted; it is given on when that fails."""
        try:
            connection = await self._connect()
        except BaseException:
            self.counters.refused += 1
            self._free_slot()
            raise
        self.counters.opened += 1
        connection.expires = connection.opened + self.limits.max_age * (1 - self._rng.random() / 10)
        return connection

    async def _warm_up(self) -> None:
        try:
            connection = await self._fill_slot()
        except LbkitError:
            return  # the monitor knows of it, and the next look tries again
        self._used.add(connection)
        self.release(connection)

    async def _wait(self) -> C | None:
        waiter: asyncio.Future[C | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self.counters.queued += 1
        began = self._now()
        try:
            async with asyncio.timeout(self.limits.wait):
                return await waiter
        except TimeoutError:
            self._give_up(waiter)
            self.counters.gave_up += 1
            raise ConnectionsInUse(
                f"{self.name}: all {self.limits.size} connections stayed in use for {self.limits.wait:g} s"
            ) from None
        except BaseException:
            self._give_up(waiter)
            raise
        finally:
            self.counters.waited += self._now() - began

    def _give_up(self, waiter: asyncio.Future[C | None]) -> None:
        """A waiter leaves; what it was given in the same moment goes to the next one."""
        if not waiter.done() or waiter.cancelled():
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        elif waiter.exception() is None:
            connection = waiter.result()
            if connection is None:
                self._free_slot()
            else:
                self.release(connection)

    async def _is_alive(self, connection: C) -> bool:
        try:
            async with asyncio.timeout(self.limits.reset):
                await connection.ping()
        except (TimeoutError, LbkitError):
            return False
        except BaseException:
            self._discard(connection)
            raise
        connection.last_used = self._now()
        return True

    async def _clean(self, connection: C) -> None:
        try:
            async with asyncio.timeout(self.limits.reset):
                await connection.reset()
        except (TimeoutError, LbkitError):
            self._discard(connection)
        except BaseException:
            self._discard(connection)
            raise
        else:
            self.counters.resets += 1
            self.release(connection)

    def _hand_on(self, connection: C) -> None:
        waiter = self._next_waiter()
        if waiter:
            waiter.set_result(connection)
        else:
            self._idle.append(connection)

    def _discard(self, connection: C) -> None:
        """Close a connection for good and give its slot on."""
        if connection.was_interrupted and self._interrupted:
            self._start(self._interrupted(connection))
        if connection.closed or connection.in_transaction:
            self.counters.dropped += 1
            connection.drop()
        else:
            self.counters.retired += 1
            self._start(connection.close())
        self._free_slot()

    def _free_slot(self) -> None:
        waiter = None if self._closed else self._next_waiter()
        if waiter:
            waiter.set_result(None)  # the slot stays counted, for the waiter to fill
        else:
            self._slots -= 1

    def _next_waiter(self) -> asyncio.Future[C | None] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def _fail(self, waiter: asyncio.Future[C | None]) -> None:
        if not waiter.done():
            waiter.set_exception(ConnectFailed(f"{self.name}: the pool was closed"))

    def _expired(self, connection: C, now: float) -> bool:
        return connection.closed or now > connection.expires

    def _start(self, chore: Coroutine[Any, Any, None]) -> None:
        # In a context of its own: it is nobody's request, and must not end by the deadline of one.
        task = asyncio.get_running_loop().create_task(chore, context=contextvars.Context())
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
