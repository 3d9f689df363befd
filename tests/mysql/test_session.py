from __future__ import annotations

import asyncio

import pytest

from lbkit.errors import DuplicateKey
from lbkit.mysql.router import Router
from tests.support.databases import LivePair, stalled


async def test_reads_move_to_the_primary_with_the_first_write(router: Router, table: str) -> None:
    async with router.session() as session:
        assert (await session.fetch_all(f"SELECT * FROM {table}")).server == "mysql2"
        assert not session.wrote
        await session.execute(f"INSERT INTO {table} (text) VALUES ('mine')")
        assert session.wrote
        rows = await session.fetch_all(f"SELECT text FROM {table}")
        assert rows == [{"text": "mine"}]
        assert rows.server == "mysql1"
    async with router.session() as session:
        assert (await session.fetch_all("SELECT 1")).server == "mysql2"


async def test_own_writes_are_always_seen(router: Router, table: str) -> None:
    for number in range(50):
        async with router.session() as session:
            await session.execute(f"INSERT INTO {table} (text) VALUES (%s)", [str(number)])
            row = await session.fetch_one(f"SELECT COUNT(*) AS n FROM {table}")
            assert row == {"n": number + 1}


async def test_what_lives_in_a_connection_works_in_a_session(router: Router, table: str) -> None:
    async with router.session() as session:
        await session.execute("SET @x = 42")
        assert await session.fetch_one("SELECT @x AS x") == {"x": 42}
        result = await session.execute(f"INSERT INTO {table} (text) VALUES ('a')")
        assert await session.fetch_one("SELECT LAST_INSERT_ID() AS id") == {"id": result.last_id}
    assert await router.fetch_one("SELECT @x AS x") == {"x": None}


async def test_transactions_in_a_session(router: Router, table: str) -> None:
    async with router.session() as session:
        async with session.transaction(read_only=True) as tx:
            assert tx.server == "mysql2"
        async with session.transaction() as tx:
            await tx.execute(f"INSERT INTO {table} (text) VALUES ('a')")
            with pytest.raises(RuntimeError, match="open already"):
                async with session.transaction():
                    pass
        assert (await session.fetch_all(f"SELECT * FROM {table}")).server == "mysql1"
        async with session.transaction(read_only=True) as tx:
            assert await tx.fetch_one(f"SELECT text FROM {table}") == {"text": "a"}


async def test_a_cancelled_transaction_in_a_session_is_not_gone_on_with(router: Router, table: str) -> None:
    async with router.session() as session:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1), session.transaction() as tx:
                await tx.execute(f"INSERT INTO {table} (text) VALUES ('a')")
                await asyncio.Event().wait()
    assert await router.fetch_all(f"SELECT * FROM {table} FOR UPDATE") == []


async def test_an_error_leaves_the_session_usable(router: Router, table: str) -> None:
    async with router.session() as session:
        await session.execute(f"INSERT INTO {table} (text) VALUES ('a')")
        with pytest.raises(DuplicateKey):
            await session.execute(f"INSERT INTO {table} (text) VALUES ('a')")
        assert len(await session.fetch_all(f"SELECT * FROM {table}")) == 1


async def test_own_writes_are_seen_behind_a_lost_connection(
    router: Router, pair: LivePair, table: str
) -> None:
    """What was tried next went wrong, so that the session holds no connection any more."""
    async with stalled(pair), router.session() as session:
        await session.execute(f"INSERT INTO {table} (text) VALUES ('a')")
        assert session._held
        session._held.drop()
        with pytest.raises(DuplicateKey):
            await session.execute(f"INSERT INTO {table} (text) VALUES ('a')")
        assert not session.wrote
        assert await session.fetch_all(f"SELECT text FROM {table}") == [{"text": "a"}]
        async with session.transaction(read_only=True) as tx:
            assert await tx.fetch_all(f"SELECT text FROM {table}") == [{"text": "a"}]


async def test_it_must_be_entered(router: Router) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await router.session().execute("SET @x = 1")
