"""The pool against fake connections: no server, no sleeping, every order of events on purpose."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from lbkit.errors import ConnectFailed, ConnectionLost, ConnectionsInUse
from lbkit.mysql.connection_pool import ConnectionPool
from lbkit.mysql.options import PoolLimits


class FakeConnection:
    """A connection whose every trait a test can set."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.opened = self.last_used = asyncio.get_running_loop().time()
        self.expires = float("inf")
        self.needs_reset = False
        self.closed = False
        self.in_transaction = False
        self.was_interrupted = False
        self.pings = 0
        self.resets = 0
        self.dead = False
        self.gate: asyncio.Event | None = None

    async def ping(self) -> None:
        self.pings += 1
        if self.dead:
            raise ConnectionLost("dead")

    async def reset(self) -> None:
        if self.gate:
            await self.gate.wait()
        if self.dead:
            raise ConnectionLost("dead")
        self.resets += 1
        self.needs_reset = self.in_transaction = False

    def drop(self) -> None:
        self.closed = True

    async def close(self) -> None:
        self.closed = True


class FakeServer:
    """Opens connections at once, or when told to."""

    def __init__(self) -> None:
        self.opened: list[FakeConnection] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.refuses = False

    async def connect(self) -> FakeConnection:
        await self.gate.wait()
        if self.refuses:
            raise ConnectFailed("db: refused")
        self.opened.append(FakeConnection(len(self.opened)))
        return self.opened[-1]


Pool = ConnectionPool[FakeConnection]
MakePool = Callable[..., Pool]


@pytest.fixture
async def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
async def make(server: FakeServer) -> AsyncIterator[MakePool]:
    pools: list[Pool] = []

    def make_pool(
        interrupted: Callable[[FakeConnection], Awaitable[None]] | None = None, **limits: float
    ) -> Pool:
        pools.append(ConnectionPool("db", server.connect, PoolLimits(**limits), interrupted))  # type: ignore[arg-type]  # sizes are ints, times are floats
        return pools[-1]

    yield make_pool
    for pool in pools:
        await pool.close()


async def settle() -> None:
    """Let everything that can run, run."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_connection_is_used_again(make: MakePool, server: FakeServer) -> None:
    pool = make()
    first = await pool.acquire()
    pool.release(first)
    assert await pool.acquire() is first
    assert pool.counts == {"open": 1, "idle": 0, "waiting": 0, "limit": 10}
    pool.release(first)
    assert pool.counts["idle"] == 1


async def test_never_more_than_the_limit(make: MakePool, server: FakeServer) -> None:
    pool = make(size=2)
    held = [await pool.acquire(), await pool.acquire()]
    waiting = asyncio.create_task(pool.acquire())
    await settle()
    assert len(server.opened) == 2
    assert pool.counts["waiting"] == 1
    pool.release(held[0])
    assert await waiting is held[0]
    for connection in held:
        pool.release(connection)


async def test_waiters_are_served_in_order_and_nobody_overtakes(make: MakePool) -> None:
    pool = make(size=1)
    connection = await pool.acquire()
    order: list[int] = []

    async def use(number: int) -> None:
        mine = await pool.acquire()
        order.append(number)
        pool.release(mine)

    tasks = []
    for number in range(5):
        tasks.append(asyncio.create_task(use(number)))
        await settle()
    pool.release(connection)
    late = asyncio.create_task(use(99))
    await asyncio.gather(*tasks, late)
    assert order == [0, 1, 2, 3, 4, 99]


async def test_a_waiter_gives_up_at_its_deadline(make: MakePool) -> None:
    pool = make(size=1, wait=0.01)
    connection = await pool.acquire()
    with pytest.raises(ConnectFailed, match=r"all 1 connections stayed in use for 0\.01 s"):
        await pool.acquire()
    assert pool.counts["waiting"] == 0
    pool.release(connection)
    assert await pool.acquire() is connection
    pool.release(connection)


async def test_a_broken_connection_that_comes_back_wakes_a_waiter(make: MakePool, server: FakeServer) -> None:
    pool = make(size=1)
    broken = await pool.acquire()
    waiting = asyncio.create_task(pool.acquire())
    await settle()
    broken.closed = True
    pool.release(broken)
    fresh = await waiting
    assert fresh is not broken
    pool.release(fresh)
    assert pool.counts == {"open": 1, "idle": 1, "waiting": 0, "limit": 1}


async def test_a_connection_in_a_transaction_is_reset_before_the_waiter_gets_it(make: MakePool) -> None:
    pool = make(size=1)
    connection = await pool.acquire()
    waiting = asyncio.create_task(pool.acquire())
    await settle()
    connection.in_transaction = True
    pool.release(connection)
    assert await waiting is connection
    assert connection.resets == 1
    pool.release(connection)


async def test_a_changed_session_is_reset_and_an_unchanged_one_is_not(make: MakePool) -> None:
    pool = make()
    connection = await pool.acquire()
    pool.release(connection)
    await settle()
    assert connection.resets == 0
    assert await pool.acquire() is connection
    connection.needs_reset = True
    pool.release(connection)
    await settle()
    assert connection.resets == 1


@pytest.mark.parametrize("how", ["dies", "hangs"])
async def test_a_reset_that_fails_frees_the_slot(make: MakePool, server: FakeServer, how: str) -> None:
    pool = make(size=1, reset=0.01)
    connection = await pool.acquire()
    connection.needs_reset = True
    if how == "dies":
        connection.dead = True
    else:
        connection.gate = asyncio.Event()
    pool.release(connection)
    fresh = await pool.acquire()
    assert fresh is not connection
    assert connection.closed
    pool.release(fresh)


async def test_a_hung_connect_blocks_nobody_else(make: MakePool, server: FakeServer) -> None:
    pool = make(size=2)
    open_one = await pool.acquire()
    server.gate.clear()
    hung = asyncio.create_task(pool.acquire())
    await settle()
    pool.release(open_one)
    assert await pool.acquire() is open_one
    waiting = asyncio.create_task(pool.acquire())
    await settle()
    pool.release(open_one)
    assert await waiting is open_one
    pool.release(open_one)
    server.gate.set()
    pool.release(await hung)


async def test_a_failed_connect_gives_its_slot_to_the_next_waiter(make: MakePool, server: FakeServer) -> None:
    pool = make(size=1)
    server.gate.clear()
    server.refuses = True
    first = asyncio.create_task(pool.acquire())
    await settle()
    second = asyncio.create_task(pool.acquire())
    await settle()
    server.gate.set()
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(result) for result in results] == [ConnectFailed, ConnectFailed]
    assert pool.counts["open"] == 0


async def test_a_cancelled_connect_frees_its_slot(make: MakePool, server: FakeServer) -> None:
    pool = make(size=1)
    server.gate.clear()
    task = asyncio.create_task(pool.acquire())
    await settle()
    waiting = asyncio.create_task(pool.acquire())
    await settle()
    task.cancel()
    server.gate.set()
    pool.release(await waiting)
    assert pool.counts["open"] == 1


async def test_a_waiter_cancelled_in_the_moment_it_is_served_passes_it_on(make: MakePool) -> None:
    pool = make(size=1)
    connection = await pool.acquire()
    unlucky = asyncio.create_task(pool.acquire())
    lucky = asyncio.create_task(pool.acquire())
    await settle()
    pool.release(connection)
    unlucky.cancel()  # its future has the connection already, but it has not run yet
    assert await lucky is connection
    pool.release(connection)
    assert pool.counts == {"open": 1, "idle": 1, "waiting": 0, "limit": 1}


async def test_a_waiter_cancelled_as_it_gets_a_free_slot_passes_it_on(make: MakePool) -> None:
    pool = make(size=1)
    connection = await pool.acquire()
    unlucky = asyncio.create_task(pool.acquire())
    lucky = asyncio.create_task(pool.acquire())
    await settle()
    connection.closed = True
    pool.release(connection)
    unlucky.cancel()
    pool.release(await lucky)
    assert pool.counts["open"] == 1


async def test_a_connection_that_the_server_closed_while_idle_is_not_handed_out(make: MakePool) -> None:
    pool = make()
    stale = await pool.acquire()
    pool.release(stale)
    stale.closed = True
    fresh = await pool.acquire()
    assert fresh is not stale
    assert pool.counts["open"] == 1
    pool.release(fresh)


async def test_after_a_while_idle_it_is_pinged_first(make: MakePool) -> None:
    pool = make(ping_after=5)
    connection = await pool.acquire()
    pool.release(connection)
    connection.last_used -= 6
    assert await pool.acquire() is connection
    assert connection.pings == 1
    pool.release(connection)
    connection.last_used -= 6
    connection.dead = True
    fresh = await pool.acquire()
    await settle()
    assert fresh is not connection
    assert connection.closed
    pool.release(fresh)


async def test_an_old_connection_is_replaced(make: MakePool) -> None:
    pool = make(max_age=100)
    connection = await pool.acquire()
    pool.release(connection)
    connection.expires -= 101
    fresh = await pool.acquire()
    await settle()
    assert fresh is not connection
    assert connection.closed
    pool.release(fresh)


async def test_prune_closes_what_is_dead_old_or_unused(make: MakePool) -> None:
    pool = make(idle=60, max_age=100)
    dead, old, unused, good = [await pool.acquire() for _ in range(4)]
    for connection in (dead, old, unused, good):
        pool.release(connection)
    dead.closed = True
    old.expires -= 101
    unused.last_used -= 61
    pool.prune()
    await settle()
    assert pool.counts["open"] == pool.counts["idle"] == 1
    assert old.closed
    assert unused.closed
    assert await pool.acquire() is good
    pool.release(good)


async def test_a_silent_servers_connections_are_dropped_in_use_or_not(make: MakePool) -> None:
    pool = make(size=2)
    used, idle = await pool.acquire(), await pool.acquire()
    pool.release(idle)
    pool.abandon()
    await settle()
    assert used.closed
    assert idle.closed
    assert pool.counts == {"open": 1, "idle": 0, "waiting": 0, "limit": 2}
    pool.release(used)
    assert pool.counts["open"] == 0


async def test_an_interrupted_statement_is_reported_once(make: MakePool) -> None:
    told: list[int] = []

    async def interrupted(connection: FakeConnection) -> None:
        told.append(connection.number)

    pool = make(interrupted)
    connection = await pool.acquire()
    connection.closed = connection.was_interrupted = True
    pool.release(connection)
    await settle()
    assert told == [0]


async def test_close_ends_idle_connections_and_waiters_and_later_those_in_use(make: MakePool) -> None:
    pool = make(size=2)
    used, idle = await pool.acquire(), await pool.acquire()
    waiting = asyncio.create_task(pool.acquire())
    await settle()
    await pool.close()
    with pytest.raises(ConnectFailed, match="closed"):
        await waiting
    with pytest.raises(ConnectFailed, match="closed"):
        await pool.acquire()
    pool.release(idle)
    pool.release(used)
    await settle()
    assert used.closed
    assert idle.closed
    assert pool.counts["open"] == 0


async def test_many_users_with_every_kind_of_end_leak_nothing(make: MakePool, server: FakeServer) -> None:
    pool = make(size=3, wait=5)

    async def use(number: int) -> None:
        connection = await pool.acquire()
        try:
            await asyncio.sleep(0)
            connection.needs_reset = number % 3 == 0
            connection.in_transaction = number % 5 == 0
            connection.closed = number % 7 == 0
        finally:
            pool.release(connection)

    tasks = [asyncio.create_task(use(number)) for number in range(300)]
    for number, task in enumerate(tasks):
        if number % 11 == 0:
            await asyncio.sleep(0)
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await settle()
    counts = pool.counts
    assert counts["waiting"] == 0
    assert counts["open"] == counts["idle"] <= 3
    assert len([connection for connection in server.opened if not connection.closed]) == counts["open"]


async def test_so_many_are_kept_warm(make: MakePool, server: FakeServer) -> None:
    pool = make(warm=2, idle=1)
    pool.prune()
    await settle()
    assert pool.counts == {"open": 2, "idle": 2, "waiting": 0, "limit": 10}
    held = [await pool.acquire() for _ in range(3)]
    for connection in held:
        pool.release(connection)
        connection.last_used -= 2
    pool.prune()
    await settle()
    assert pool.counts["idle"] == 2  # nobody needs the third
    server.refuses = True
    held[0].closed = held[1].closed = held[2].closed = True
    pool.prune()
    await settle()
    assert pool.counts["open"] == 0
    server.refuses = False
    pool.prune()
    await settle()
    assert pool.counts["idle"] == 2


async def test_connections_opened_together_do_not_end_together(make: MakePool) -> None:
    pool = make(max_age=1000)
    held = [await pool.acquire() for _ in range(10)]
    ages = [connection.expires - connection.opened for connection in held]
    assert len(set(ages)) == 10
    assert all(900 <= age <= 1000 for age in ages)
    for connection in held:
        pool.release(connection)


async def test_what_happened_is_counted(make: MakePool, server: FakeServer) -> None:
    pool = make(size=1, wait=0.01)
    connection = await pool.acquire()
    with pytest.raises(ConnectionsInUse):
        await pool.acquire()
    connection.needs_reset = True
    pool.release(connection)
    await settle()
    connection.closed = True
    server.refuses = True
    with pytest.raises(ConnectFailed):
        await pool.acquire()
    counted = pool.counters
    assert (counted.acquired, counted.opened, counted.refused) == (1, 1, 1)
    assert (counted.queued, counted.gave_up, counted.resets, counted.dropped) == (1, 1, 1, 1)
    assert counted.waited > 0


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_is_cancelled_nothing_leaks(make: MakePool, server: FakeServer, seed: int) -> None:
    """Users come, are cancelled at any step, break their connections or leave them dirty, while the server
    refuses and hangs now and then; in the end every slot is free or idle, and every waiter was served."""
    rng = random.Random(seed)
    pool = make(size=3, wait=60, ping_after=0, reset=60)

    async def pause() -> None:
        for _ in range(rng.randrange(4)):
            await asyncio.sleep(0)

    async def use() -> None:
        await pause()
        connection = await pool.acquire()
        try:
            assert not connection.closed
            await pause()
            what = rng.randrange(6)
            connection.closed = what == 0
            connection.needs_reset = what == 1
            connection.in_transaction = what == 2
            connection.dead = what == 3
        finally:
            pool.release(connection)

    tasks: list[asyncio.Task[None]] = []
    for _ in range(300):
        tasks.append(asyncio.create_task(use()))
        if rng.random() < 0.4:
            rng.choice(tasks).cancel()
        if rng.random() < 0.1:
            server.refuses = not server.refuses
        if rng.random() < 0.1:
            server.gate.clear() if rng.random() < 0.5 else server.gate.set()
        if rng.random() < 0.05:
            pool.prune()
        if rng.random() < 0.02:
            pool.abandon()
        await pause()
    server.gate.set()
    server.refuses = False
    results = await asyncio.gather(*tasks, return_exceptions=True)
    allowed = (ConnectFailed, asyncio.CancelledError)
    assert [result for result in results if result is not None and not isinstance(result, allowed)] == []
    await settle()
    counts = pool.counts
    assert counts["open"] == counts["idle"] <= 3
    assert counts["waiting"] == 0
    assert len([connection for connection in server.opened if not connection.closed]) == counts["open"]
    held = [await pool.acquire() for _ in range(3)]
    for connection in held:
        pool.release(connection)
