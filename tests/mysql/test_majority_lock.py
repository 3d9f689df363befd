from __future__ import annotations

import asyncio
import re

import pytest

from lbkit.mysql.driver import connect
from lbkit.mysql.dsn import Dsn
from lbkit.mysql.majority_lock import NAME, MajorityLock
from tests.mysql.test_driver import tcp_server
from tests.support.databases import LivePair


def dsns(pair: LivePair) -> dict[str, Dsn]:
    return {dsn.name: dsn for dsn in pair.admin_dsns}


async def test_one_acts_and_the_other_is_told_who(managed_pair: LivePair) -> None:
    servers = dsns(managed_pair)
    first, second = MajorityLock(servers, 5), MajorityLock(servers, 5)
    assert await first.take(set(servers), "mysql1") == ""
    assert first.held
    refusal = await second.take(set(servers), "mysql1")
    assert refusal.startswith("another lbkit acts: it holds the lock on mysql1; another lbkit acts")
    assert not second.held
    await first.release()
    assert not first.held
    assert await second.take(set(servers), "mysql1") == ""
    await second.release()


async def test_the_replica_of_a_pair_is_enough(managed_pair: LivePair) -> None:
    """Its primary is gone: that is what failovers are for."""
    servers = dsns(managed_pair)
    lock = MajorityLock(servers, 5)
    assert await lock.take({"mysql2"}, "mysql1") == ""
    await lock.release()


async def test_less_than_half_is_not_enough(managed_pair: LivePair) -> None:
    async with tcp_server(lambda reader, writer: None) as nobody:
        pass
    servers = dsns(managed_pair) | {"mysql3": nobody}
    lock = MajorityLock(servers, 1)
    assert (
        await lock.take({"mysql2", "mysql3"}, "mysql1") == "more than half of mysql2, mysql3 must be reached"
    )
    assert await lock.take({"mysql1", "mysql2"}, None) == ""
    await lock.release()


async def test_it_ends_with_the_connection(managed_pair: LivePair) -> None:
    servers = dsns(managed_pair)
    lock = MajorityLock(servers, 5)
    await lock.take({"mysql2"}, "mysql1")
    other = await connect(servers["mysql2"], 5)
    rows = await other.fetch("SELECT IS_USED_LOCK(%s) AS id", (NAME,))
    await other.execute(f"KILL CONNECTION {rows[0]['id']}")
    await lock._holding["mysql2"].ended()
    assert not lock.held
    await lock.release()
    await other.close()


async def test_a_look_says_who_has_it_and_whether_it_could_be_taken(managed_pair: LivePair) -> None:
    async with tcp_server(lambda reader, writer: None) as nobody:
        pass
    servers = dsns(managed_pair)
    first, second = MajorityLock(servers, 5), MajorityLock(servers, 5)
    assert str(await second.look(set(servers), "mysql1")) == "on servers, free"
    await first.take({"mysql2"}, "mysql1")
    holder = (await second.look(set(servers), "mysql1")).holder
    assert re.fullmatch(r"session \d+ of mysql2 from (localhost|127\.0\.0\.1)(:\d+)?", holder)
    await first.release()
    more = MajorityLock(servers | {"mysql3": nobody}, 1)
    obstacle = "more than half of mysql2, mysql3 must be reached"
    assert (await more.look({"mysql1", "mysql2"}, "mysql1")).obstacle == obstacle
    assert (await more.look({"mysql2", "mysql3"}, "mysql1")).obstacle == obstacle
    assert not more.held


async def test_cancelled_while_it_is_taken_it_is_held_nowhere(managed_pair: LivePair) -> None:
    """Else nobody could act for as long as the process lives."""
    async with tcp_server(lambda reader, writer: None) as silent:
        servers = dsns(managed_pair) | {"mysql3": silent}
        lock = MajorityLock(servers, 30)
        taking = asyncio.create_task(lock.take(set(servers), "mysql1"))
        async with asyncio.timeout(10):
            while len(lock._holding) < 2:
                await asyncio.sleep(0.01)
        held = list(lock._holding.values())
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
    assert not lock.held
    assert all(connection.closed for connection in held)
