from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiomysql
import pymysql
import pytest
from sqlalchemy import Column, Delete, Insert, Integer, MetaData, String, Table, Update, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session

from lbkit.mysql import PoolLimits, Router, RouterOptions
from lbkit.mysql.as_aiomysql import RoutedConnection, RoutedPool, connect, create_pool
from lbkit.mysql.tokens import PRIMARY_ONLY
from tests.support.databases import LivePair, stalled


@pytest.fixture
async def pool(router: Router) -> AsyncIterator[RoutedPool]:
    made: RoutedPool
    async with create_pool(router, autocommit=True, maxsize=3) as made:
        yield made


async def run(connection: RoutedConnection, sql: str, *cursors: Any) -> Any:
    async with connection.cursor(*cursors) as cursor:
        await cursor.execute(sql)
        return await cursor.fetchall()


async def port(connection: RoutedConnection, sql: str = "SELECT @@global.port") -> int:
    return int((await run(connection, sql))[0][0])


async def test_plain_reads_are_a_replicas_and_all_else_the_primarys(pool: RoutedPool, pair: LivePair) -> None:
    async with pool.acquire() as connection:
        assert isinstance(connection, aiomysql.Connection)
        assert await port(connection) == pair.replica.port
        assert await run(connection, "SELECT @@autocommit") == ((1,),)
        await run(connection, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        assert await port(connection) == pair.replica.port
        await connection.begin()
        assert await port(connection) == pair.primary.port
        await connection.rollback()
        assert await port(connection) == pair.replica.port
        await run(connection, "SET @mine = 1")
        assert await port(connection) == pair.primary.port
    async with pool.acquire() as connection:  # reset meanwhile
        assert await port(connection) == pair.replica.port
        assert await run(connection, "SELECT @mine") == ((None,),)


async def test_without_autocommit_a_read_belongs_to_a_transaction(router: Router, pair: LivePair) -> None:
    async with connect(router) as connection:
        assert await port(connection) == pair.primary.port


async def test_a_task_reads_what_it_wrote_by_either_way(
    router: Router, pool: RoutedPool, pair: LivePair, table: str
) -> None:
    async with stalled(pair):
        async with pool.acquire() as connection:
            await run(connection, f"INSERT INTO {table} (text) VALUES ('a')")
            assert await run(connection, f"SELECT text FROM {table}", aiomysql.DictCursor) == [{"text": "a"}]
        assert await router.fetch_all(f"SELECT text FROM {table}") == [{"text": "a"}]
        async with connect(router) as connection:
            await run(connection, f"INSERT INTO {table} (text) VALUES ('b')")
            await connection.commit()
        assert len(await router.fetch_all(f"SELECT text FROM {table}")) == 2


async def test_what_is_written_after_a_ping_connected_again_is_shown(
    router: Router, pool: RoutedPool, pair: LivePair, table: str
) -> None:
    """As a new connection, with its server asked to name transactions, whether a pool has it or not."""
    async with stalled(pair), pool.acquire() as pooled, connect(router, autocommit=True) as own:
        for number, connection in enumerate((pooled, own), 1):
            connection.close()
            await connection.ping()
            await run(connection, f"INSERT INTO {table} (text) VALUES ('{number}')")
            assert len(await router.fetch_all(f"SELECT text FROM {table}")) == number


async def test_rows_one_by_one(pool: RoutedPool) -> None:
    async with pool.acquire() as connection:
        assert await run(connection, "SELECT 1 UNION SELECT 2", aiomysql.SSCursor) == [(1,), (2,)]
        assert await run(connection, "SELECT 3") == ((3,),)


async def test_errors_are_aiomysqls(pool: RoutedPool, router: Router, pair: LivePair) -> None:
    async with pool.acquire() as connection:
        with pytest.raises(pymysql.err.ProgrammingError) as caught:
            await run(connection, "SELECT * FROM no_such_table")  # of the replica
        assert caught.value.args[0] == 1146
        with pytest.raises(pymysql.err.ProgrammingError):
            await run(connection, "INSERT INTO no_such_table VALUES (1)")
        assert await run(connection, "SELECT 1") == ((1,),)
    began = asyncio.get_running_loop().time()
    with pytest.raises(pymysql.err.OperationalError) as denied:
        await connect(router, password="wrong")
    assert denied.value.args[0] == 1045
    assert asyncio.get_running_loop().time() - began < 2
    options = RouterOptions(wait_for_primary=0.05)
    async with Router({"only": pair.replica.dsn}, options) as replicas:
        with pytest.raises(pymysql.err.OperationalError, match="no primary") as nobody:
            await connect(replicas)
        assert nobody.value.args[0] == 2003
        async with (
            create_pool(replicas, minsize=0, read_only=True) as reading,
            reading.acquire() as connection,
        ):
            assert await port(connection) == pair.replica.port


async def test_waiters_get_an_error_in_time(pair: LivePair) -> None:
    async with Router(pair.dsns, RouterOptions(pool=PoolLimits(wait=0.05))) as router:
        async with create_pool(router, maxsize=1) as pool, pool.acquire():
            assert (pool.size, pool.freesize) == (1, 0)
            with pytest.raises(pymysql.err.OperationalError, match="stayed in use"):
                await pool.acquire()


async def test_a_cancelled_statement_is_stopped_on_the_server(
    router: Router, pool: RoutedPool, table: str
) -> None:
    async with pool.acquire() as connection:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await run(connection, f"INSERT INTO {table} (text) VALUES (SLEEP(30))")
        assert connection.closed
    async with asyncio.timeout(5):
        while await router.fetch_all(
            "SELECT 1 FROM information_schema.processlist WHERE info LIKE %s AND id <> CONNECTION_ID()",
            [f"INSERT INTO {table}%SLEEP%"],
        ):
            await asyncio.sleep(0.01)


async def test_behind_a_cancelled_write_reads_look_where_it_would_be_seen(
    pool: RoutedPool, router: Router, table: str
) -> None:
    assert router.shown() != PRIMARY_ONLY
    with pytest.raises(TimeoutError):
        async with pool.acquire() as connection, asyncio.timeout(0.1):
            await run(connection, f"INSERT INTO {table} (text) SELECT SLEEP(2)")
    assert router.shown() == PRIMARY_ONLY


async def test_settings_hold_after_a_reset(router: Router) -> None:
    arguments = {"init_command": "SET @hello = 7", "sql_mode": "'ANSI_QUOTES'", "charset": "latin1"}
    async with create_pool(router, maxsize=1, **arguments) as pool:
        for _ in range(3):
            async with pool.acquire() as connection:
                shown = await run(
                    connection, "SELECT @hello, @@sql_mode, @@character_set_client, 'ü', @@autocommit"
                )
                assert shown == ((7, "ANSI_QUOTES", "latin1", "ü", 0),)
                await run(connection, "SET @hello = 8, sql_mode = ''")


async def test_what_aiomysqls_own_methods_change_does_not_reach_the_next_user(
    router: Router, pair: LivePair
) -> None:
    async with create_pool(router, autocommit=True, maxsize=1) as pool:
        async with pool.acquire() as connection:
            database = await run(connection, "SELECT DATABASE()")
            await connection.select_db("information_schema")
            assert await port(connection) == pair.primary.port  # a replica would look in the other database
            assert await run(connection, "SELECT DATABASE()") == (("information_schema",),)
        async with pool.acquire() as again:
            assert again is connection
            assert await run(again, "SELECT DATABASE() FOR UPDATE") == database
            await again.autocommit(False)
        async with pool.acquire() as again:
            assert again is connection
            assert await run(again, "SELECT @@autocommit FOR UPDATE") == ((1,),)
            await again.set_charset("latin1")
        async with pool.acquire() as again:
            assert again is connection
            assert again.charset == "utf8mb4"
            assert await run(again, "SELECT @@character_set_client FOR UPDATE") == (("utf8mb4",),)


async def test_sqlalchemys_engine_on_the_router(router: Router, pair: LivePair, table: str) -> None:
    engine = create_async_engine("mysql+aiomysql://", async_creator=lambda: connect(router), pool_size=3)
    async with engine.begin() as connection:
        await connection.execute(text(f"INSERT INTO {table} (text) VALUES ('orm')"))
    async with engine.connect() as connection:
        assert (await connection.execute(text(f"SELECT text FROM {table}"))).scalar() == "orm"
        assert (await connection.execute(text("SELECT @@global.port"))).scalar() == pair.primary.port
    async with engine.connect() as connection:
        reading = await connection.execution_options(isolation_level="AUTOCOMMIT")
        assert (await reading.execute(text("SELECT @@global.port"))).scalar() == pair.replica.port
        assert (await reading.execute(text(f"SELECT text FROM {table}"))).scalar() == "orm"
    assert await router.fetch_all(f"SELECT text FROM {table}") == [{"text": "orm"}]
    async with engine.connect() as connection:  # again, of the engine's pool
        reading = await connection.execution_options(isolation_level="AUTOCOMMIT")
        assert (await reading.execute(text("SELECT @@global.port"))).scalar() == pair.replica.port
    await engine.dispose()


async def test_sqlalchemys_session_with_two_engines(router: Router, pair: LivePair, table: str) -> None:
    """The README's recipe."""
    writing = create_async_engine("mysql+aiomysql://", async_creator=lambda: connect(router))
    reading = create_async_engine("mysql+aiomysql://", async_creator=lambda: connect(router, read_only=True))

    class RoutedSession(Session):
        def get_bind(self, mapper: Any = None, *, clause: Any = None, **others: Any) -> Any:
            if self._flushing or isinstance(clause, (Insert, Update, Delete)):
                self.info["wrote"] = True
            return (writing if self.info.get("wrote") else reading).sync_engine

    sessions = async_sessionmaker(sync_session_class=RoutedSession)
    async with sessions() as session:
        assert (await session.execute(text("SELECT @@global.port"))).scalar() == pair.replica.port
    metadata = MetaData()
    notes = Table(table, metadata, Column("id", Integer, primary_key=True), Column("text", String(99)))
    async with sessions() as session:
        await session.execute(notes.insert().values(text="mine"))
        assert (await session.execute(notes.select())).all() == [(1, "mine")]
        await session.commit()
    async with sessions() as session:
        assert (await session.execute(notes.select())).all() == [(1, "mine")]
    async with stalled(pair), sessions() as session:
        await router.execute(f"INSERT INTO {table} (text) VALUES ('late')")
        assert len((await session.execute(notes.select())).all()) == 2
    await writing.dispose()
    await reading.dispose()
