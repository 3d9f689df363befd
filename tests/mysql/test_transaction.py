from __future__ import annotations

import asyncio

import pytest

from lbkit.errors import ConnectionLost, DuplicateKey, LockConflict, OutcomeUnknown, QueryFailed
from lbkit.mysql.router import Router
from lbkit.mysql.transaction import Transaction
from tests.support.databases import LivePair


async def count(router: Router, table: str) -> int:
    row = await router.fetch_one(f"SELECT COUNT(*) AS n FROM {table} FOR UPDATE")
    assert row is not None
    return int(row["n"])


async def test_commit(router: Router, table: str) -> None:
    async with router.transaction() as tx:
        result = await tx.execute(f"INSERT INTO {table} (text) VALUES ('a')")
        assert (result.affected, result.last_id, result.server) == (1, 1, "mysql1")
        row = await tx.fetch_one(f"SELECT text FROM {table}")
        assert row == {"text": "a"}
        assert tx.server == "mysql1"
    assert await count(router, table) == 1


async def test_an_exception_rolls_back_and_goes_on(router: Router, table: str) -> None:
    with pytest.raises(ZeroDivisionError):
        async with router.transaction() as tx:
            await tx.execute(f"INSERT INTO {table} (text) VALUES ('a')")
            raise ZeroDivisionError
    assert await count(router, table) == 0


async def test_a_refused_statement_leaves_the_transaction_open(router: Router, table: str) -> None:
    async with router.transaction() as tx:
        await tx.execute(f"INSERT INTO {table} (text) VALUES ('a')")
        with pytest.raises(DuplicateKey):
            await tx.execute(f"INSERT INTO {table} (text) VALUES ('a')")
        await tx.execute(f"INSERT INTO {table} (text) VALUES ('b')")
    assert await count(router, table) == 2


async def test_a_read_only_transaction_runs_on_a_replica_and_refuses_writes(
    router: Router, table: str
) -> None:
    async with router.transaction(read_only=True) as tx:
        assert tx.server == "mysql2"
        assert (await tx.fetch_all(f"SELECT * FROM {table}")).server == "mysql2"
        with pytest.raises(QueryFailed):
            await tx.execute(f"INSERT INTO {table} (text) VALUES ('a')")


async def test_a_cancelled_transaction_lets_go_of_its_locks(router: Router, table: str) -> None:
    await router.execute(f"INSERT INTO {table} (text) VALUES ('a')")
    locked = asyncio.Event()

    async def hold() -> None:
        async with router.transaction() as tx:
            await tx.execute(f"UPDATE {table} SET text = 'b' WHERE id = 1")
            locked.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    await locked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        await router.execute(f"UPDATE {table} SET text = 'c' WHERE id = 1")
    assert await router.catch_up(10)
    assert await router.fetch_all(f"SELECT text FROM {table}") == [{"text": "c"}]


async def test_cancelled_in_mid_statement_it_is_killed_on_the_server(router: Router, table: str) -> None:
    await router.execute(f"INSERT INTO {table} (text) VALUES ('a')")
    locked = asyncio.Event()

    async def hold() -> None:
        async with router.transaction() as tx:
            await tx.execute(f"UPDATE {table} SET text = 'b' WHERE id = 1")
            locked.set()
            await tx.fetch_all("SELECT SLEEP(30)")

    task = asyncio.create_task(hold())
    await locked.wait()
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        await router.execute(f"UPDATE {table} SET text = 'c' WHERE id = 1")


async def test_a_lock_conflict_is_typed(router: Router, table: str) -> None:
    await router.execute(f"INSERT INTO {table} (text) VALUES ('a')")
    async with router.transaction() as tx:
        await tx.execute(f"UPDATE {table} SET text = 'b' WHERE id = 1")
        with pytest.raises(LockConflict):
            await router.fetch_all(f"SELECT * FROM {table} WHERE id = 1 FOR UPDATE NOWAIT")


async def test_a_connection_that_dies_inside_changed_nothing(
    router: Router, pair: LivePair, table: str
) -> None:
    with pytest.raises(ConnectionLost):
        async with router.transaction() as tx:
            await tx.execute(f"INSERT INTO {table} (text) VALUES ('a')")
            await kill_own(router, tx)
            await tx.execute(f"INSERT INTO {table} (text) VALUES ('b')")
    assert await count(router, table) == 0


async def test_one_that_dies_before_its_commit_changed_nothing(router: Router, table: str) -> None:
    with pytest.raises((ConnectionLost, OutcomeUnknown)):
        async with router.transaction() as tx:
            await tx.execute(f"INSERT INTO {table} (text) VALUES ('a')")
            await kill_own(router, tx)
    assert await count(router, table) == 0


async def test_behind_what_commits_by_itself_it_is_not_run_again(router: Router, table: str) -> None:
    attempts = 0

    async def work(tx: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        await tx.execute(f"INSERT INTO {table} (text) VALUES (UUID())")
        await tx.execute(f"ALTER TABLE {table} COMMENT 'the insert is committed'")
        await kill_own(router, tx)
        await tx.execute(f"INSERT INTO {table} (text) VALUES (UUID())")

    with pytest.raises((ConnectionLost, OutcomeUnknown)):
        await router.run(work)
    assert attempts == 1
    assert await count(router, table) == 1


async def kill_own(router: Router, tx: Transaction) -> None:
    row = await tx.fetch_one("SELECT CONNECTION_ID() AS id")
    assert row
    await router.execute(f"KILL CONNECTION {row['id']}")


async def test_it_must_be_entered(router: Router) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await router.transaction().execute("SELECT 1")
