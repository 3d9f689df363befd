"""Reads show what they must while replication stands still or lags, on real servers."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator

import pytest

from lbkit.errors import NoServerAvailable, OutcomeUnknown, QueryFailed
from lbkit.mysql import PoolLimits, Router, RouterOptions, connections
from lbkit.mysql.catch_up import primary_has
from lbkit.mysql.driver import Connection
from lbkit.mysql.tokens import PRIMARY_ONLY
from tests.support.databases import LivePair, stalled
from tests.support.loops import until

OPTIONS = RouterOptions(monitor_interval=0.1, wait_for_writes=0.3, max_lag=float("inf"))


@pytest.fixture
async def hasty(pair: LivePair) -> AsyncIterator[Router]:
    """A router that waits little, and reads from replicas of whatever lag."""
    async with Router(pair.dsns, OPTIONS) as router:
        yield router


async def test_a_task_reads_its_own_writes_from_the_primary_while_the_replica_stalls(
    hasty: Router, pair: LivePair, table: str
) -> None:
    async with stalled(pair):
        result = await hasty.execute(f"INSERT INTO {table} (text) VALUES ('mine')")
        assert result.token
        rows = await hasty.fetch_all(f"SELECT text FROM {table}")
        assert (rows, rows.server) == ([{"text": "mine"}], "mysql1")
        old = await hasty.fetch_all(f"SELECT text FROM {table}", consistency="eventual")
        assert (old, old.server) == ([], "mysql2")
        strong = await hasty.fetch_all(f"SELECT text FROM {table}", consistency="strong")
        assert strong.server == "mysql1"

        async def somebody_else() -> None:
            assert (await hasty.fetch_all(f"SELECT text FROM {table}", consistency="eventual")) == []
            assert (await hasty.fetch_all(f"SELECT text FROM {table}", after=result.token)) == rows

        await asyncio.create_task(somebody_else())
    rows = await hasty.fetch_all(f"SELECT text FROM {table}")
    assert (rows, rows.server) == ([{"text": "mine"}], "mysql2")


async def test_a_late_replica_is_not_waited_for_each_time(hasty: Router, pair: LivePair, table: str) -> None:
    async with stalled(pair):
        await hasty.execute(f"INSERT INTO {table} (text) VALUES ('mine')")
        began = asyncio.get_running_loop().time()
        for _ in range(20):
            assert (await hasty.fetch_all(f"SELECT * FROM {table}")).server == "mysql1"
        assert asyncio.get_running_loop().time() - began < 20 * 0.3


async def test_a_token_names_writes_in_another_process(hasty: Router, pair: LivePair, table: str) -> None:
    """Another router knows nothing of this one's writes but what the token tells."""
    async with Router(pair.dsns, OPTIONS) as other:
        async with stalled(pair):
            token = (await hasty.execute(f"INSERT INTO {table} (text) VALUES ('a')")).token

            async def elsewhere() -> None:
                assert await other.fetch_all(f"SELECT * FROM {table}") == []
                assert len(await other.fetch_all(f"SELECT * FROM {table}", after=token)) == 1
                async with other.session(after=token) as session:
                    assert len(await session.fetch_all(f"SELECT * FROM {table}")) == 1
                async with other.transaction(read_only=True, after=token) as tx:
                    assert tx.server == "mysql1"
                async with other.transaction(read_only=True) as tx:
                    assert tx.server == "mysql2"

            await asyncio.create_task(elsewhere())
        async with other.transaction(read_only=True, after=token) as tx:
            assert (tx.server, len(await tx.fetch_all(f"SELECT * FROM {table}"))) == ("mysql2", 1)


async def test_who_shares_own_writes(hasty: Router, pair: LivePair, table: str) -> None:
    async def write(text: str) -> None:
        await hasty.execute(f"INSERT INTO {table} (text) VALUES (%s)", [text])

    async def seen() -> int:
        return len(await hasty.fetch_all(f"SELECT * FROM {table}"))

    async with stalled(pair):
        await asyncio.create_task(write("by a task that was begun here"))
        assert await seen() == 0
        with hasty.own_writes() as mine:
            await asyncio.create_task(write("by a task of this user"))
            assert await seen() == 2
            assert mine.token
        assert await seen() == 0
        await write("by this task")
        assert await asyncio.create_task(seen()) == 3  # a task sees what was written before it began


async def test_every_way_to_write_gives_a_token(hasty: Router, pair: LivePair, table: str) -> None:
    with hasty.own_writes() as mine:
        tokens = [mine.token]
        await hasty.execute(f"INSERT INTO {table} (text) VALUES ('a')")
        tokens.append(mine.token)
        async with hasty.transaction() as tx:
            assert (await tx.execute(f"INSERT INTO {table} (text) VALUES ('b')")).token == ""
        tokens.append(mine.token)
        assert tx.token
        async with hasty.session() as session:
            await session.execute(f"UPDATE {table} SET text = 'c' WHERE text = 'b'")
            tokens.append(mine.token)
            async with session.transaction() as tx:
                await tx.execute(f"UPDATE {table} SET text = 'd' WHERE text = 'c'")
            tokens.append(mine.token)
            assert session.token
        await hasty.execute(f"ALTER TABLE {table} ADD COLUMN more INT")
        tokens.append(mine.token)
        if pair.flavour == "mariadb":
            await hasty.fetch_all(f"INSERT INTO {table} (text) VALUES ('e') RETURNING id")
            tokens.append(mine.token)
        await hasty.execute(f"DROP PROCEDURE IF EXISTS {table}_p")
        await hasty.execute(
            f"CREATE PROCEDURE {table}_p() BEGIN INSERT INTO {table} (text) VALUES ('f'); SELECT 1 AS one; "
            f"INSERT INTO {table} (text) VALUES ('g'); INSERT INTO {table} (text) VALUES ('g'); END"
        )
        tokens.append(mine.token)
        with pytest.raises(QueryFailed):  # two of three were carried out
            await hasty.fetch_all(f"CALL {table}_p()")
        tokens.append(mine.token)
        await hasty.execute(f"DROP PROCEDURE {table}_p")
        tokens.append(mine.token)
    assert len(set(tokens)) == len(tokens)
    assert PRIMARY_ONLY not in tokens


async def test_what_writes_nothing_names_nothing(hasty: Router, table: str) -> None:
    assert (await hasty.execute(f"UPDATE {table} SET text = 'x' WHERE id = 1")).token == ""
    with hasty.own_writes() as mine:
        await hasty.fetch_all(f"SELECT * FROM {table} FOR UPDATE")
        async with hasty.transaction() as tx:
            await tx.fetch_all(f"SELECT * FROM {table}")
        assert mine.token == ""


async def test_after_a_write_of_unknown_outcome_the_primary_is_looked_at(
    hasty: Router, pair: LivePair, table: str
) -> None:
    with hasty.own_writes() as mine:
        sql = f"INSERT INTO {table} (text) SELECT IF(SLEEP(5), CONNECTION_ID(), CONNECTION_ID())"
        task = asyncio.create_task(hasty.execute(sql))
        while not (
            found := await hasty.fetch_all(
                "SELECT id FROM information_schema.processlist WHERE info LIKE %s AND id <> CONNECTION_ID()",
                [f"INSERT INTO {table}%"],
            )
        ):
            await asyncio.sleep(0.01)
        await hasty.execute(f"KILL CONNECTION {found[0]['id']}")
        with pytest.raises(OutcomeUnknown) as caught:
            await task
        assert (caught.value.server, caught.value.statement) == ("mysql1", "INSERT")
        assert caught.value.connection_id == found[0]["id"]
        assert mine.token == PRIMARY_ONLY
        assert (await hasty.fetch_all(f"SELECT * FROM {table}")).server == "mysql1"


async def test_a_wrong_token_is_the_callers_mistake(hasty: Router) -> None:
    with pytest.raises(ValueError, match="no global transaction id"):
        await hasty.fetch_all("SELECT 1", after="nonsense")
    with pytest.raises(ValueError, match="consistency is one of"):
        await hasty.fetch_all("SELECT 1", consistency="string")  # type: ignore[arg-type]  # the mistake


async def test_a_token_of_the_other_flavour_is_for_the_primary(hasty: Router, pair: LivePair) -> None:
    token = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1" if pair.flavour == "mariadb" else "0-1-1"
    assert (await hasty.fetch_all("SELECT 1", after=token)).server == "mysql1"


async def test_a_read_that_must_show_a_write_waits_for_a_primary(pair: LivePair, table: str) -> None:
    options = RouterOptions(monitor_interval=0.1, monitor_timeout=0.3, wait_for_primary=0.2)
    async with Router(pair.dsns, options) as router:
        token = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1" if pair.flavour == "mysql" else "0-1-999999999"
        await pair.freeze(pair.primary)
        try:
            await until(lambda: router.status()["primary"] is None)
            assert (await router.fetch_all("SELECT 1")).server == "mysql2"
            with pytest.raises(NoServerAvailable, match="no primary"):
                await router.fetch_all("SELECT 1", after=token)
        finally:
            os.kill(pair.primary.pid, signal.SIGCONT)
        await until(lambda: router.status()["primary"] == "mysql1")


async def test_a_replica_of_unknown_lag_serves_no_reads(pair: LivePair) -> None:
    async with Router(pair.dsns, RouterOptions(monitor_interval=0.1)) as router:
        # The statements of the test before may still be on their way, and MySQL counts that in whole seconds.
        await until(lambda: router.status()["servers"][1]["lag"] == 0)
        assert (await router.fetch_all("SELECT 1")).server == "mysql2"
        async with stalled(pair):
            await until(lambda: router.status()["servers"][1]["lag"] is None)
            assert (await router.fetch_all("SELECT 1")).server == "mysql1"
            assert "how far it is behind" in router.status()["servers"][1]["reason"]
        await until(lambda: router.status()["servers"][1]["lag"] == 0)
        assert (await router.fetch_all("SELECT 1")).server == "mysql2"


async def test_no_read_is_stale_while_replication_stalls_at_random(pair: LivePair, table: str) -> None:
    """Users write and look, in one task, by token in another one, and by token over another router; the whole
    10 000 checks are the benchmark's."""
    rng = random.Random(7)
    options = RouterOptions(
        monitor_interval=0.1, wait_for_writes=0.05, max_lag=float("inf"), pool=PoolLimits(size=20)
    )
    over = asyncio.Event()
    served: set[str] = set()
    stale = 0

    async def disturb() -> None:
        while not over.is_set():
            async with stalled(pair):
                await asyncio.sleep(rng.uniform(0, 0.1))
            await asyncio.sleep(rng.uniform(0, 0.1))

    async def user(number: int, first: Router, second: Router) -> None:
        nonlocal stale
        await first.execute(f"INSERT INTO {table} (id, text) VALUES (%s, %s)", [number, str(number)])
        for value in range(1, 26):
            result = await first.execute(
                f"UPDATE {table} SET text = %s WHERE id = %s", [f"{number}/{value}", number]
            )
            sql = f"SELECT text FROM {table} WHERE id = {number}"
            reads = [first.fetch_all(sql), first.fetch_all(sql, after=result.token)]
            reads.append(second.fetch_all(sql, after=result.token))
            for rows in await asyncio.gather(*reads):
                served.add(rows.server)
                stale += rows != [{"text": f"{number}/{value}"}]

    async with Router(pair.dsns, options) as first, Router(pair.dsns, options) as second:
        disturbing = asyncio.create_task(disturb())
        await asyncio.gather(*(user(number, first, second) for number in range(1, 9)))
        over.set()
        await disturbing
    assert stale == 0
    assert served == {"mysql1", "mysql2"}


async def test_what_nobody_has_any_more_is_read_from_the_primary(pair: LivePair, table: str) -> None:
    """A write that was lost must not make its user's reads fail for ever."""
    async with Router(pair.dsns, OPTIONS) as router:
        token = (await router.execute(f"INSERT INTO {table} (text) VALUES ('a')")).token
        source, _, number = token.rpartition("-" if pair.flavour == "mariadb" else ":")
        lost = f"{token[: len(source) + 1]}{int(number) + 1_000_000}"
        rows = await router.fetch_all(f"SELECT text FROM {table}", after=lost)
        assert (rows, rows.server) == ([{"text": "a"}], "mysql1")


async def test_the_primary_is_asked_once_and_not_for_what_was_written_there(
    pair: LivePair, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def noted(primary: Connection, token: str) -> bool:
        asked.append(token)
        return await primary_has(primary, token)

    monkeypatch.setattr(connections, "primary_has", noted)
    async with Router(pair.dsns, OPTIONS) as writer, Router(pair.dsns, OPTIONS) as reader, stalled(pair):
        with writer.own_writes() as mine:
            for text in ("a", "b"):
                await writer.execute(f"INSERT INTO {table} (text) VALUES (%s)", [text])
            for _ in range(3):
                assert (await writer.fetch_all(f"SELECT * FROM {table}")).server == "mysql1"
        assert asked == []
        for _ in range(3):
            assert len(await reader.fetch_all(f"SELECT * FROM {table}", after=mine.token)) == 2
        assert asked == [mine.token]
