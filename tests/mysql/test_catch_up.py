from __future__ import annotations

from lbkit.mysql.catch_up import has, position_of, primary_has, wait_for
from lbkit.mysql.driver import connect
from lbkit.mysql.dsn import Dsn
from lbkit.mysql.router import Router
from tests.support.databases import LivePair


async def test_a_position_is_reached_in_time_or_not(pair: LivePair, router: Router, table: str) -> None:
    primary = await connect(Dsn.parse(pair.primary.dsn), 5)
    replica = await connect(Dsn.parse(pair.replica.dsn), 5)
    try:
        await router.execute(f"INSERT INTO {table} (text) VALUES ('x')")
        position = await position_of(primary)
        assert position
        assert await wait_for(replica, position, 10)
        assert await wait_for(replica, "", 0)
        assert not await wait_for(replica, _later(position, pair.flavour), 0)
    finally:
        await primary.close()
        await replica.close()


def _later(position: str, flavour: str) -> str:
    """A position that nobody has reached."""
    if flavour == "mariadb":
        return position.rpartition("-")[0] + "-999999999"
    return position.split(":")[0] + ":999999999"


async def test_after_catch_up_every_replica_shows_the_write(router: Router, table: str) -> None:
    for number in range(20):
        await router.execute(f"INSERT INTO {table} (text) VALUES (%s)", [str(number)])
        assert await router.catch_up(10)
        rows = await router.fetch_all(f"SELECT COUNT(*) AS n FROM {table}")
        assert rows == [{"n": number + 1}]
        assert rows.server == "mysql2"


async def test_a_replica_that_follows_somebody_else_has_not_what_has_the_same_number(
    pair: LivePair, router: Router, table: str
) -> None:
    replica = await connect(Dsn.parse(pair.replica.dsn), 5)
    try:
        token = (await router.execute(f"INSERT INTO {table} (text) VALUES ('x')")).token
        assert await has(replica, token, 10)
        if pair.flavour == "mariadb":
            domain, _, number = token.split("-")
            assert not await has(replica, f"{domain}-4711-{number}", 0.01)
        assert not await has(replica, _later(token, pair.flavour), 0.01)
    finally:
        await replica.close()


async def test_whether_a_primary_has_a_write(pair: LivePair, router: Router, table: str) -> None:
    primary = await connect(Dsn.parse(pair.primary.dsn), 5)
    try:
        token = (await router.execute(f"INSERT INTO {table} (text) VALUES ('x')")).token
        assert await primary_has(primary, token)
        assert not await primary_has(primary, _later(token, pair.flavour))
        if pair.flavour == "mariadb":
            # The numbers run through all servers of a domain: it has that one, and not of that server.
            domain, _, number = token.split("-")
            assert not await primary_has(primary, f"{domain}-4711-{number}")
            assert await primary_has(primary, "3e11fa47-71ca-11e1-9e33-c80aa9429562:7")  # it can't tell
        else:
            assert await primary_has(primary, "0-1-7")  # it can't tell
    finally:
        await primary.close()
