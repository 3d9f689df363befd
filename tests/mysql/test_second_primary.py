"""A second server takes writes: by an operator's mistake, or because the first one comes back. Real servers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from lbkit.errors import LbkitError, NoServerAvailable, PromotionRefused
from lbkit.mysql import Router, RouterOptions
from lbkit.mysql.diagnosis import Trouble, Verdict
from lbkit.mysql.dialect import dialect_of
from lbkit.mysql.driver import Connection, connect
from lbkit.mysql.failover import Failover, FailoverOptions
from tests.support.databases import LivePair
from tests.support.loops import until

HASTY = FailoverOptions(interval=0.1, timeout=0.5)


@asynccontextmanager
async def administration(pair: LivePair, name: str) -> AsyncIterator[Connection]:
    dsn = next(dsn for dsn in pair.admin_dsns if dsn.name == name)
    connection = await connect(dsn, 5)
    try:
        yield connection
    finally:
        connection.drop()


async def run(connection: Connection, *statements: str) -> None:
    for sql in statements:
        await connection.execute(sql)


async def is_open(connection: Connection) -> bool:
    return (await connection.fetch("SELECT @@global.read_only AS closed"))[0]["closed"] == 0


class Writers:
    """Write through a router, all the time; `acknowledged` is what they were told is kept."""

    def __init__(self, pair: LivePair) -> None:
        self.pair = pair
        self.acknowledged: list[int] = []
        self._number = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Writers:
        self.router = Router(self.pair.dsns, RouterOptions(monitor_interval=0.1))
        await self.router.start()
        await self.router.execute("CREATE TABLE IF NOT EXISTS kept (id INT PRIMARY KEY)")
        await self.router.execute("DELETE FROM kept")
        self.begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.pause()
        await self.router.close()

    def begin(self) -> None:
        """Four writers more: those before wait for a server that stands still for as long as that takes."""
        self._tasks += [asyncio.create_task(self._write()) for _ in range(4)]

    async def pause(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _write(self) -> None:
        while True:
            self._number += 1
            number = self._number
            try:
                await self.router.execute("INSERT INTO kept VALUES (%s)", [number])
            except LbkitError:
                await asyncio.sleep(0.02)
            else:
                self.acknowledged.append(number)

    async def more(self, count: int = 50) -> None:
        enough = len(self.acknowledged) + count
        await until(lambda: len(self.acknowledged) >= enough)

    async def lost(self, connection: Connection) -> set[int]:
        rows = await connection.fetch("SELECT id FROM app.kept")
        return set(self.acknowledged) - {int(row["id"]) for row in rows}


@asynccontextmanager
async def never_closed(pair: LivePair, name: str) -> AsyncIterator[None]:
    """Look at the primary all the time: it is open, and lets applications in."""
    seen: list[bool] = []

    async def look(primary: Connection) -> None:
        while True:
            seen.append(await is_open(primary))
            if not primary.is_mariadb:
                rows = await primary.fetch("SELECT @@global.offline_mode AS offline")
                seen.append(rows[0]["offline"] == 0)
            await asyncio.sleep(0.005)

    async with administration(pair, name) as connection:
        task = asyncio.create_task(look(connection))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert seen and all(seen)


async def test_a_replica_that_is_opened_by_mistake_is_closed_again(
    managed_pair: LivePair, caplog: pytest.LogCaptureFixture
) -> None:
    async with Failover(managed_pair.admin_dsns, HASTY) as failover:
        await until(lambda: failover.diagnosis.healthy)
        first = str(failover.diagnosis.primary)
        second = next(dsn.name for dsn in managed_pair.admin_dsns if dsn.name != first)
        async with (
            administration(managed_pair, first) as primary,
            administration(managed_pair, second) as replica,
            Writers(managed_pair) as writers,
        ):
            await writers.more()
            async with never_closed(managed_pair, first):
                for _ in range(3):
                    await run(replica, *dialect_of(replica.is_mariadb).open)
                    async with asyncio.timeout(10):
                        while await is_open(replica):
                            await asyncio.sleep(0.01)
                    await writers.more()
            await until(lambda: failover.diagnosis.healthy)
            assert failover.diagnosis.primary == first
            await writers.pause()
            assert await writers.lost(primary) == set()
    assert failover.promotions == 0
    assert f"{second} was opened although it replicates from {first}" in caplog.text


async def test_two_that_may_both_be_meant_are_left_to_people(managed_pair: LivePair) -> None:
    """The operator has stopped replication first, as in a promotion by hand."""
    managed_pair.is_spoilt = True
    async with Failover(managed_pair.admin_dsns, HASTY) as failover:
        await until(lambda: failover.diagnosis.healthy)
        first = str(failover.diagnosis.primary)
        second = next(dsn.name for dsn in managed_pair.admin_dsns if dsn.name != first)
        async with (
            administration(managed_pair, first) as primary,
            administration(managed_pair, second) as replica,
            Writers(managed_pair) as writers,
        ):
            await writers.more()
            words = dialect_of(replica.is_mariadb)
            async with never_closed(managed_pair, first):
                await run(replica, words.detach, *words.open)
                await until(lambda: failover.diagnosis.verdict is Verdict.SPLIT)
                assert failover.diagnosis.primary is None
                for name in (first, second):
                    assert f"{words.close} on {name}" in failover.diagnosis.to_do
                with pytest.raises(PromotionRefused, match="split roles"):
                    await failover.switch()
                await asyncio.sleep(1)
                assert await is_open(replica)
                await run(replica, words.close)  # what was said
                await until(lambda: failover.diagnosis.healthy)
            await writers.more()
            await writers.pause()
            assert await writers.lost(primary) == set()
    managed_pair.is_spoilt = False


async def test_a_primary_that_another_process_replaced_is_fenced_when_it_comes_back(
    managed_pair: LivePair,
) -> None:
    watching = Failover(managed_pair.admin_dsns, replace(HASTY, auto=False))
    async with watching:
        await until(lambda: watching.diagnosis.healthy)
        first = str(watching.diagnosis.primary)
        frozen = next(server for server in managed_pair.cluster.servers if server.name == first)
        async with Writers(managed_pair) as writers:
            await writers.more()
            async with Failover(managed_pair.admin_dsns, HASTY) as acting:
                await managed_pair.freeze(frozen)
                try:
                    await until(lambda: acting.promotions == 1)
                    second = str(acting.diagnosis.primary)
                    await until(lambda: watching.diagnosis.primary == second)
                    await acting.stop()
                    writers.begin()
                    await writers.more()
                    watching.options = HASTY
                finally:
                    os.kill(frozen.pid, signal.SIGCONT)
            async with (
                administration(managed_pair, first) as old,
                administration(managed_pair, second) as new,
            ):
                async with asyncio.timeout(5):
                    while await is_open(old):
                        await asyncio.sleep(0.01)
                await writers.more()
                await writers.pause()
                assert await writers.lost(new) == set()
                assert await is_open(new)
            await until(lambda: watching.diagnosis.healthy or _is_errant(watching))
            managed_pair.is_spoilt = _is_errant(watching)


def _is_errant(failover: Failover) -> bool:
    return any(finding.trouble is Trouble.ERRANT for finding in failover.diagnosis.findings)


async def test_what_was_written_on_a_mistaken_one_is_told_and_kept(managed_pair: LivePair) -> None:
    managed_pair.is_spoilt = True  # it has what the primary lacks, and MariaDB knows no clone
    async with Failover(managed_pair.admin_dsns, HASTY) as failover:
        await until(lambda: failover.diagnosis.healthy)
        first = str(failover.diagnosis.primary)
        second = next(dsn.name for dsn in managed_pair.admin_dsns if dsn.name != first)
        async with administration(managed_pair, second) as replica:
            words = dialect_of(replica.is_mariadb)
            async with never_closed(managed_pair, first):
                await run(replica, *words.open, "CREATE TABLE app.mine (id INT)")
                await until(lambda: failover.diagnosis.verdict is Verdict.SPLIT)
                await asyncio.sleep(0.5)
                assert failover.diagnosis.primary == first
                assert failover.diagnosis.to_do.startswith(f"{words.close} on {second}, then look at them")
                assert await is_open(replica)
                await run(replica, words.close)
                await until(lambda: _is_errant(failover))
            (finding,) = (one for one in failover.diagnosis.findings if one.trouble is Trouble.ERRANT)
            how = "mariadb-backup of" if replica.is_mariadb else "clone = true has lbkit do that"
            assert how in finding.cure
            assert await replica.fetch("SELECT * FROM app.mine") == []


async def test_no_read_with_a_token_is_answered_by_a_former_primary(managed_pair: LivePair) -> None:
    """It stood still, another one was promoted, and it goes on, before a router has looked."""
    managed_pair.is_spoilt = True
    async with Failover(managed_pair.admin_dsns, replace(HASTY, auto=False)) as failover:
        await until(lambda: failover.diagnosis.healthy)
        first = str(failover.diagnosis.primary)
    second = next(dsn.name for dsn in managed_pair.admin_dsns if dsn.name != first)
    servers = {server.name: server for server in managed_pair.cluster.servers}
    unaware = RouterOptions(monitor_interval=3600)
    async with (
        administration(managed_pair, first) as old,
        administration(managed_pair, second) as new,
        Router(managed_pair.dsns, replace(unaware, wait_for_primary=5)) as patient,
        Router(managed_pair.dsns, replace(unaware, wait_for_primary=0.2)) as hasty,
        Router({second: servers[second].dsn}, RouterOptions(monitor_interval=0.1)) as aware,
    ):
        words = dialect_of(new.is_mariadb)
        await old.execute("CREATE TABLE IF NOT EXISTS app.news (id INT PRIMARY KEY)")
        await managed_pair.freeze(servers[first])
        try:
            await run(new, words.detach, words.protect(False), *words.open)
            token = (await aware.execute("REPLACE INTO news VALUES (1)")).token
        finally:
            os.kill(servers[first].pid, signal.SIGCONT)
        for router in (patient, hasty):
            for member in router._topology.members:
                assert member.writable is (member.name == first)
                member.lag = (
                    0.0 if member.writable else None
                )  # it is read from by nobody while the primary can
            router._topology._worst_lag = float("inf")
        sql = "SELECT id FROM news"
        assert await hasty.fetch_all(sql) == []  # nobody has asked for more
        with pytest.raises(
            NoServerAvailable, match=f"{first} takes writes, but lacks what the read must show"
        ):
            await hasty.fetch_all(sql, after=token)
        with pytest.raises(NoServerAvailable, match="lacks what the read must show"):
            async with hasty.session(after=token) as session:
                await session.execute("DELETE FROM news")
        reading = asyncio.create_task(patient.fetch_all(sql, after=token))
        await asyncio.sleep(0.2)
        assert not reading.done()
        await run(old, words.close)
        rows = await reading
        assert (rows, rows.server) == ([{"id": 1}], second)
    async with Failover(managed_pair.admin_dsns, HASTY) as failover:
        await until(lambda: failover.diagnosis.healthy)
    managed_pair.is_spoilt = False


async def test_a_lost_write_does_not_make_its_users_reads_fail(managed_pair: LivePair) -> None:
    """A primary that did not wait for its replica has it and nobody else; another one was promoted."""
    managed_pair.is_spoilt = True
    async with Failover(managed_pair.admin_dsns, replace(HASTY, auto=False)) as failover:
        await until(lambda: failover.diagnosis.healthy)
        first = str(failover.diagnosis.primary)
    second = next(dsn.name for dsn in managed_pair.admin_dsns if dsn.name != first)
    frozen = next(server for server in managed_pair.cluster.servers if server.name == first)
    options = RouterOptions(monitor_interval=0.1, monitor_timeout=0.3, wait_for_primary=20)
    async with (
        administration(managed_pair, first) as old,
        administration(managed_pair, second) as new,
        Router(managed_pair.dsns, options) as router,
    ):
        words = dialect_of(new.is_mariadb)
        await router.execute("CREATE TABLE IF NOT EXISTS lost (id INT PRIMARY KEY)")
        assert await router.catch_up(10)
        await run(new, words.detach)
        await old.execute(words.protect(False))
        with router.own_writes():
            await router.execute("REPLACE INTO lost VALUES (1)")
            await managed_pair.freeze(frozen)
            try:
                await run(new, words.protect(False), *words.open)
                await until(lambda: router.status()["primary"] == second)
                async with asyncio.timeout(5):  # while nobody can ask the one that has it
                    assert await router.fetch_all("SELECT id FROM lost") == []
                    await router.execute("REPLACE INTO lost VALUES (2)")
                    assert await router.fetch_all("SELECT id FROM lost") == [{"id": 2}]
            finally:
                os.kill(frozen.pid, signal.SIGCONT)
            await run(old, words.close)
            await until(lambda: all(server["state"] == "up" for server in router.status()["servers"]))
            async with asyncio.timeout(5):  # and while that one is a replica with an errant transaction
                assert await router.fetch_all("SELECT id FROM lost") == [{"id": 2}]
