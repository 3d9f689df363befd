"""The rules for picking, retrying and giving back, on real servers that are hurt on purpose."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from lbkit import deadline
from lbkit.errors import (
    ConnectFailed,
    ConnectionLost,
    DeadlineExceeded,
    LbkitError,
    LockConflict,
    NoServerAvailable,
    OutcomeUnknown,
    ReadOnlyServer,
)
from lbkit.mysql import PoolLimits, Router, RouterOptions
from lbkit.mysql.driver import Connection, connect
from lbkit.mysql.dsn import Dsn
from lbkit.mysql.statements import classify
from lbkit.mysql.tokens import PRIMARY_ONLY
from lbkit.mysql.transaction import Transaction
from tests.mysql.test_driver import tcp_server
from tests.support.databases import LivePair
from tests.support.loops import until


def small(size: int = 1, wait: float = 1.0) -> RouterOptions:
    return RouterOptions(pool=PoolLimits(size=size, wait=wait), monitor_interval=0.1)


async def test_a_broken_connection_does_not_starve_the_next_user(pair: LivePair) -> None:
    async with Router(pair.dsns, small(wait=3)) as router:

        async def die() -> None:
            row = await router.fetch_one("SELECT CONNECTION_ID() AS id, SLEEP(0.2)")
            assert row is not None

        tasks = [asyncio.create_task(die()) for _ in range(3)]
        await asyncio.sleep(0.05)
        tasks[0].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [result for result in results[1:] if isinstance(result, BaseException)] == []


async def test_a_cancelled_query_leaves_no_rows_for_the_next_user(pair: LivePair) -> None:
    async with Router(pair.dsns, small()) as router:
        for number in range(10):
            task = asyncio.create_task(router.fetch_all("SELECT 'old' AS x, SLEEP(0.02)"))
            await asyncio.sleep(0.002 * number)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await router.fetch_all("SELECT 'new' AS x") == [{"x": "new"}]


async def test_a_cancelled_write_does_not_go_on_in_the_server(router: Router, table: str) -> None:
    await router.execute(f"INSERT INTO {table} (text) VALUES ('first')")
    async with router.transaction() as tx:
        await tx.execute(f"UPDATE {table} SET text = 'kept' WHERE id = 1")
        task = asyncio.create_task(router.execute(f"UPDATE {table} SET text = 'late' WHERE id = 1"))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(10):
            while await tx.fetch_all(
                "SELECT 1 FROM information_schema.processlist WHERE info LIKE %s", [f"UPDATE {table} %late%"]
            ):
                await asyncio.sleep(0.01)
    assert await router.fetch_all(f"SELECT text FROM {table} FOR UPDATE") == [{"text": "kept"}]


async def test_nobody_gets_somebody_elses_session(pair: LivePair) -> None:
    async with Router(pair.dsns, small()) as router:
        await router.execute("SET @leak = 1, autocommit = 0")
        await router.execute("START TRANSACTION")
        row = await router.fetch_one("SELECT @leak AS leak, @@session.autocommit AS auto")
        assert row == {"leak": None, "auto": 1}


async def test_a_server_that_hangs_in_the_handshake_does_not_block_the_others(pair: LivePair) -> None:
    async with tcp_server(lambda reader, writer: None) as silent:
        servers = {**pair.dsns, "silent": f"mysql://a:b@127.0.0.1:{silent.port}/app"}
        options = RouterOptions(monitor_timeout=2, connect_timeout=2)
        started = asyncio.get_running_loop().time()
        async with Router(servers, options) as router:
            rows = await asyncio.gather(*(router.fetch_all("SELECT 1 AS x") for _ in range(20)))
        assert all(row == [{"x": 1}] for row in rows)
        assert asyncio.get_running_loop().time() - started < 15


async def test_a_server_of_another_protocol_is_down_and_hinders_nobody(pair: LivePair) -> None:
    def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x05\0\0\0\x0a9.7\0")

    async with tcp_server(garbage) as other:
        servers = {**pair.dsns, "other": f"mysql://a:b@127.0.0.1:{other.port}/app"}
        async with Router(servers, RouterOptions(monitor_timeout=2, connect_timeout=2)) as router:
            assert await router.fetch_all("SELECT 1 AS x") == [{"x": 1}]
            assert "does not speak MySQL's protocol" in router.status()["servers"][2]["reason"]


async def test_use_does_not_reach_the_next_user(pair: LivePair) -> None:
    async with Router({"only": pair.primary.dsn}, small(wait=5)) as router:
        await router.execute("USE information_schema")
        assert await router.fetch_one("SELECT DATABASE() AS x") == {"x": "app"}
        async with router.transaction() as tx:
            await tx.execute("USE information_schema")
        assert await router.fetch_one("SELECT DATABASE() AS x") == {"x": "app"}


async def test_a_full_pool_says_so(pair: LivePair) -> None:
    async with Router({"only": pair.primary.dsn}, small(wait=0.1)) as router, router.transaction():
        with pytest.raises(ConnectFailed, match="all 1 connections stayed in use"):
            await router.execute("DO 1")


async def test_a_write_whose_answer_never_came_is_of_unknown_outcome(
    router: Router, pair: LivePair, table: str
) -> None:
    sql = f"INSERT INTO {table} (text) SELECT IF(SLEEP(5), CONNECTION_ID(), CONNECTION_ID())"
    task = asyncio.create_task(router.execute(sql))
    await _kill_who_runs(pair.primary.dsn, "INSERT INTO " + table)
    with pytest.raises(OutcomeUnknown, match="may or may not"):
        await task


async def test_a_read_whose_connection_dies_is_read_again(router: Router, pair: LivePair) -> None:
    task = asyncio.create_task(router.fetch_all("SELECT SLEEP(0.7), 'survived' AS x"))
    await _kill_who_runs(pair.replica.dsn, "SELECT SLEEP(0.7)")
    rows = await task
    assert rows[0]["x"] == "survived"
    assert rows.server == "mysql1"


async def test_the_only_server_is_asked_again(pair: LivePair) -> None:
    async with Router({"only": pair.replica.dsn}) as router:
        task = asyncio.create_task(router.fetch_all("SELECT SLEEP(0.7), 'survived' AS x"))
        await _kill_who_runs(pair.replica.dsn, "SELECT SLEEP(0.7)")
        assert (await task)[0]["x"] == "survived"


async def test_a_read_that_dies_twice_is_given_up(pair: LivePair) -> None:
    async with Router({"only": pair.replica.dsn}) as router:
        task = asyncio.create_task(router.fetch_all("SELECT SLEEP(3), 'twice'"))
        await _kill_who_runs(pair.replica.dsn, "SELECT SLEEP(3)")
        await _kill_who_runs(pair.replica.dsn, "SELECT SLEEP(3)")
        with pytest.raises(ConnectionLost):
            await task


async def _kill_who_runs(dsn: str, start: str) -> None:
    """Kill the connection that runs a statement beginning with *start*, once there is one."""
    own = await connect(Dsn.parse(dsn), 5)
    try:
        async with asyncio.timeout(10):
            while True:
                running = await own.fetch("SELECT ID, INFO FROM information_schema.processlist")
                found = [row["ID"] for row in running if (row["INFO"] or "").startswith(start)]
                if found:
                    await own.execute(f"KILL CONNECTION {found[0]}")
                    return
                await asyncio.sleep(0.01)
    finally:
        await own.close()


async def test_only_replicas_means_reads_and_no_writes(pair: LivePair) -> None:
    async with Router({"replica": pair.replica.dsn}, RouterOptions(wait_for_primary=0.05)) as router:
        assert await router.fetch_all("SELECT 1 AS x") == [{"x": 1}]
        with pytest.raises(NoServerAvailable, match=r"no primary: replica replica up \(answers\)"):
            await router.execute("DO 1")


async def test_a_primary_that_became_read_only_is_found_out(
    pair: LivePair, router: Router, table: str
) -> None:
    async with Router(pair.dsns, RouterOptions(monitor_interval=0.1, wait_for_primary=0)) as hasty:
        async with taking_nothing(pair):
            with pytest.raises((ReadOnlyServer, NoServerAvailable)):
                await hasty.execute(f"INSERT INTO {table} (text) VALUES ('x')")
            await until(lambda: router.status()["primary"] is None)
    await until(lambda: router.status()["primary"] == pair.primary.name)
    await router.execute(f"INSERT INTO {table} (text) VALUES ('x')")


@asynccontextmanager
async def taking_nothing(pair: LivePair) -> AsyncIterator[None]:
    """The primary refuses writes while the block runs, as one does that hands over."""

    async def set_read_only(value: str) -> None:
        async with pair.cluster._nodes[pair.primary.name].administration() as admin:
            if pair.flavour == "mysql" and value == "OFF":
                await admin.run("SET GLOBAL super_read_only = OFF")
            await admin.run(f"SET GLOBAL read_only = {value}")

    await set_read_only("ON")
    try:
        yield
    finally:
        await set_read_only("OFF")


async def test_no_write_fails_while_the_primary_hands_over(
    pair: LivePair, router: Router, table: str
) -> None:
    """Statements, transactions and sessions wait and go on, each once."""
    over = asyncio.Event()
    written: list[str] = []

    async def statements(name: str) -> None:
        number = 0
        while not over.is_set():
            text = f"{name} {(number := number + 1)}"
            await router.execute(f"INSERT INTO {table} (text) VALUES (%s)", [text])
            written.append(text)

    async def transactions(name: str) -> None:
        number = 0
        while not over.is_set():
            text = f"{name} {(number := number + 1)}"

            async def work(tx: Transaction, text: str = text) -> None:
                await tx.fetch_all(f"SELECT COUNT(*) FROM {table}")
                await tx.execute(f"INSERT INTO {table} (text) VALUES (%s)", [text])

            await router.run(work)
            written.append(text)

    async def sessions(name: str) -> None:
        async with router.session() as session:
            number = 0
            while not over.is_set():
                text = f"{name} {(number := number + 1)}"
                await session.execute(f"INSERT INTO {table} (text) VALUES (%s)", [text])
                written.append(text)

    writers = [
        asyncio.create_task(write(f"{write.__name__} {number}"))
        for write in (statements, transactions, sessions)
        for number in range(3)
    ]
    for _ in range(3):
        await asyncio.sleep(0.1)
        async with taking_nothing(pair):
            await asyncio.sleep(0.3)
    await asyncio.sleep(0.1)
    over.set()
    await asyncio.gather(*writers)
    rows = await router.fetch_all(f"SELECT text FROM {table}", consistency="strong")
    assert sorted(row["text"] for row in rows) == sorted(written)


async def test_who_is_cancelled_behind_a_write_looks_where_it_would_be_seen() -> None:
    class Asked:
        """A connection whose user is cancelled while the server is asked what it has carried out."""

        in_transaction = False

        async def take_token(self, may_write: bool) -> str:
            raise asyncio.CancelledError

    async def step(connection: Connection, lost: type[LbkitError]) -> int:
        return 1

    connections = Router({"only": "mysql://app:secret@127.0.0.1/app"})._connections
    told: list[str] = []
    with pytest.raises(asyncio.CancelledError):
        await connections.write(
            classify("INSERT INTO t VALUES (1) RETURNING id"), cast(Connection, Asked()), step, told.append
        )
    assert told == [PRIMARY_ONLY]


async def test_what_may_be_half_done_is_not_sent_again(pair: LivePair, router: Router, table: str) -> None:
    async with taking_nothing(pair):
        with pytest.raises(ReadOnlyServer):
            await router.execute(f"ALTER TABLE {table} ADD COLUMN more INT")


async def test_a_session_with_a_state_of_its_own_does_not_move(
    pair: LivePair, router: Router, table: str
) -> None:
    async with router.session() as session:
        await session.execute("SET @mine = 1")
        async with taking_nothing(pair):
            with pytest.raises(ReadOnlyServer):
                await session.execute(f"INSERT INTO {table} (text) VALUES (@mine)")
        assert await session.fetch_one("SELECT @mine AS mine") == {"mine": 1}
    async with router.session() as session:
        await session.execute(f"INSERT INTO {table} (text) VALUES ('parent')")
        async with taking_nothing(pair):
            with pytest.raises(ReadOnlyServer):
                await session.execute(f"INSERT INTO {table} (text) VALUES (LAST_INSERT_ID())")


async def test_a_dead_connection_is_no_failed_write(pair: LivePair, table: str) -> None:
    async with Router({"only": pair.primary.dsn}, small()) as router:
        for _ in range(5):
            row = await router.fetch_one("SELECT CONNECTION_ID() AS id FOR UPDATE")
            assert row
            other = await connect(Dsn.parse(pair.primary.dsn), 5)
            await other.execute(f"KILL CONNECTION {row['id']}")
            await other.close()
            await router.execute(f"INSERT INTO {table} (text) VALUES (UUID())")
        assert await router.fetch_one(f"SELECT COUNT(*) AS n FROM {table}") == {"n": 5}


async def test_run_gives_up_after_its_attempts(router: Router, table: str) -> None:
    attempts = 0

    async def work(tx: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        await tx.execute(f"INSERT INTO {table} (text) VALUES ('again')")
        raise LockConflict(1213, "as of a deadlock")

    with pytest.raises(LockConflict):
        await router.run(work, attempts=3)
    assert attempts == 3
    assert await router.fetch_all(f"SELECT * FROM {table} FOR UPDATE") == []


async def test_reads_go_on_when_a_replica_is_killed(pair: LivePair, router: Router, table: str) -> None:
    victim = pair.replica
    failures: list[BaseException] = []
    answered: list[str] = []
    over = asyncio.Event()

    async def read() -> None:
        while not over.is_set():
            try:
                answered.append((await router.fetch_all("SELECT 1")).server)
            except Exception as error:  # noqa: BLE001 - the test is that there is none
                failures.append(error)

    readers = [asyncio.create_task(read()) for _ in range(4)]
    await until(lambda: victim.name in answered)
    await pair.kill(victim)
    await until(lambda: "mysql1" in answered)
    await pair.until_whole()
    answered.clear()
    await until(lambda: victim.name in answered)
    over.set()
    await asyncio.gather(*readers)
    assert failures == []


async def test_reads_that_hang_on_a_stopped_replica_are_read_elsewhere(pair: LivePair) -> None:
    options = RouterOptions(monitor_interval=0.1, monitor_timeout=1)
    async with Router(pair.dsns, options) as router:
        await asyncio.gather(*(router.fetch_all("SELECT 1") for _ in range(4)))
        await pair.freeze(pair.replica)
        try:
            async with asyncio.timeout(30):
                rows = await asyncio.gather(*(router.fetch_all("SELECT 1 AS x") for _ in range(8)))
            assert {row.server for row in rows} == {"mysql1"}
            assert all(row == [{"x": 1}] for row in rows)
            assert await router.catch_up(0.1)  # nobody else is available
        finally:
            os.kill(pair.replica.pid, signal.SIGCONT)
        await until(lambda: router.status()["servers"][1]["state"] == "up")
        assert (await router.fetch_all("SELECT 1")).server == pair.replica.name


async def test_a_killed_primary_comes_back_and_takes_writes(
    pair: LivePair, router: Router, table: str
) -> None:
    await router.execute(f"INSERT INTO {table} (text) VALUES ('before')")
    assert await router.catch_up(10)
    await pair.kill(pair.primary)
    await until(lambda: router.status()["primary"] is None)
    assert await router.fetch_all(f"SELECT text FROM {table}") == [{"text": "before"}]
    async with Router(pair.dsns, RouterOptions(wait_for_primary=0)) as hasty:
        with pytest.raises(NoServerAvailable):
            await hasty.execute(f"INSERT INTO {table} (text) VALUES ('hasty')")
    # A server that is started again takes a moment: the write waits for it.
    await router.execute(f"INSERT INTO {table} (text) VALUES ('during')")
    await pair.until_whole()
    await router.execute(f"INSERT INTO {table} (text) VALUES ('after')")
    assert await router.catch_up(20)
    await until(lambda: router.status()["servers"][1]["lag"] == 0)
    rows = await router.fetch_all(f"SELECT text FROM {table} ORDER BY id")
    assert [row["text"] for row in rows] == ["before", "during", "after"]
    assert rows.server == "mysql2"


# ---- deadlines ----


async def run_no_more(pair: LivePair, text: str) -> None:
    """Wait until no server of *pair* is at a statement with *text* in it."""
    for server in pair.cluster.servers:
        connection = await connect(Dsn.parse(server.dsn), 5)
        async with asyncio.timeout(10):
            while await connection.fetch(
                "SELECT 1 FROM information_schema.processlist WHERE info LIKE %s AND id <> CONNECTION_ID()",
                [f"%{text}%"],
            ):
                await asyncio.sleep(0.01)
        await connection.close()


async def test_a_read_ends_with_the_request_and_on_the_server(pair: LivePair, router: Router) -> None:
    started = asyncio.get_running_loop().time()
    with deadline.within(0.3), pytest.raises(DeadlineExceeded):
        await router.fetch_all("SELECT SLEEP(30), 'too long'")
    assert asyncio.get_running_loop().time() - started < 5
    await run_no_more(pair, "too long")
    with deadline.within(30):
        assert await router.fetch_all("SELECT 1 AS one") == [{"one": 1}]


async def test_of_a_write_that_is_cut_nobody_knows_the_outcome(
    pair: LivePair, router: Router, table: str
) -> None:
    await router.execute(f"INSERT INTO {table} (text) VALUES ('first')")
    async with router.transaction() as tx:
        await tx.execute(f"UPDATE {table} SET text = 'kept' WHERE id = 1")
        with deadline.within(0.2), pytest.raises(OutcomeUnknown, match="may or may not"):
            await router.execute(f"UPDATE {table} SET text = 'late' WHERE id = 1")
        await run_no_more(pair, f"UPDATE {table} SET text = 'late'")
    assert await router.fetch_all(f"SELECT text FROM {table} FOR UPDATE") == [{"text": "kept"}]


async def test_nothing_is_begun_too_late(router: Router, table: str) -> None:
    with deadline.within(0):
        with pytest.raises(DeadlineExceeded):
            await router.execute(f"INSERT INTO {table} (text) VALUES ('late')")
        with pytest.raises(DeadlineExceeded):
            async with router.transaction():
                raise AssertionError("it has begun")
    assert await router.fetch_all(f"SELECT * FROM {table} FOR UPDATE") == []


async def test_a_transaction_that_takes_too_long_changes_nothing(router: Router, table: str) -> None:
    with pytest.raises(DeadlineExceeded):
        with deadline.within(0.3):
            async with router.transaction() as tx:
                await tx.execute(f"INSERT INTO {table} (text) VALUES ('late')")
                await tx.fetch_all("SELECT SLEEP(30)")
    assert await router.fetch_all(f"SELECT * FROM {table} FOR UPDATE") == []


async def test_waiting_for_a_connection_ends_with_the_request(pair: LivePair) -> None:
    async with Router(pair.dsns, small(wait=30)) as router, router.transaction():
        with deadline.within(0.1), pytest.raises(DeadlineExceeded):
            await router.execute("DO 1")
