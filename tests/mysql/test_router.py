from __future__ import annotations

import asyncio

import pytest

from lbkit.errors import ConfigError, DuplicateKey, NoServerAvailable, QueryFailed
from lbkit.mysql import Dsn, Router, RouterOptions
from tests.support.databases import LivePair


@pytest.mark.parametrize(
    ("servers", "says"),
    [
        ([], "at least one"),
        (["nonsense"], r"servers\[0\]: expected mysql://"),
        ({"a": "mysql://u@h", "b": "mysql://h"}, r"servers\.b: the user is missing"),
        (["mysql://u@h", "mysql://u@h"], "same name"),
    ],
)
def test_wrong_servers(servers: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Router(servers)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Router(["one", "two", "mysql://u@h"])
    assert len(caught.value.problems) == 2


def test_an_unknown_algorithm() -> None:
    with pytest.raises(ConfigError, match="round_robin"):
        Router(["mysql://u@h"], RouterOptions(algorithm="round_robbin"))


async def test_nobody_there_is_no_obstacle_to_starting() -> None:
    async with Router([Dsn("127.0.0.1", 1, "u")]) as router:
        with pytest.raises(NoServerAvailable, match="refused"):
            await router.fetch_all("SELECT 1")
        assert router.status()["servers"][0]["state"] == "down"


async def test_it_starts_once(router: Router) -> None:
    with pytest.raises(RuntimeError):
        await router.start()


async def test_reads_go_to_the_replica_and_everything_else_to_the_primary(router: Router, table: str) -> None:
    result = await router.execute(f"INSERT INTO {table} (text) VALUES (%s), (%s)", ["a", "b"])
    assert (result.affected, result.last_id, result.server) == (2, 1, "mysql1")
    assert await router.catch_up(10)
    rows = await router.fetch_all(f"SELECT * FROM {table} WHERE text = %(text)s", {"text": "b"})
    assert rows == [{"id": 2, "text": "b"}]
    assert rows.server == "mysql2"
    assert (await router.fetch_all(f"SELECT * FROM {table} FOR UPDATE")).server == "mysql1"
    row = await router.fetch_one(f"SELECT text FROM {table} ORDER BY id")
    assert row is not None
    assert (row["text"], row.server) == ("a", "mysql2")
    assert await router.fetch_one(f"SELECT * FROM {table} WHERE id = 99") is None


async def test_an_error_has_the_servers_code_and_text_and_hurts_nobody(router: Router, table: str) -> None:
    await router.execute(f"INSERT INTO {table} (text) VALUES ('a')")
    before = router.status()["servers"][0]["connections"]["open"]
    with pytest.raises(DuplicateKey) as duplicate:
        await router.execute(f"INSERT INTO {table} (text) VALUES ('a')")
    assert duplicate.value.code == 1062
    assert "Duplicate entry 'a'" in duplicate.value.text
    with pytest.raises(QueryFailed, match="no_such_table"):
        await router.fetch_all("SELECT * FROM no_such_table")
    assert router.status()["servers"][0]["connections"]["open"] == before


async def test_many_users_at_once(router: Router, table: str) -> None:
    async def use(number: int) -> None:
        await router.execute(f"INSERT INTO {table} (text) VALUES (%s)", [str(number)])
        rows = await router.fetch_all("SELECT %s AS mine", [number])
        assert rows == [{"mine": number}]

    await asyncio.gather(*(use(number) for number in range(200)))
    assert await router.catch_up(20)
    assert await router.fetch_one(f"SELECT COUNT(*) AS n FROM {table}") == {"n": 200}
    for server in router.status()["servers"]:
        counts = server["connections"]
        assert counts["open"] == counts["idle"] <= counts["limit"]


async def test_status_is_plain_data(router: Router, pair: LivePair) -> None:
    await router.fetch_all("SELECT 1")
    status = router.status()
    assert status["primary"] == "mysql1"
    first, second = status["servers"]
    assert first["address"] == pair.primary.address
    assert (first["role"], first["state"], first["reason"]) == ("primary", "up", "answers")
    assert (second["role"], second["statements"]) == ("replica", 1)
    assert second["connections"] == {"open": 1, "idle": 1, "waiting": 0, "limit": 10}


async def test_without_names_servers_are_called_by_their_address(pair: LivePair) -> None:
    async with Router([pair.primary.dsn]) as router:
        assert (await router.fetch_all("SELECT 1")).server == pair.primary.address


async def test_replicas_take_turns(pair: LivePair) -> None:
    async with Router({"a": pair.replica.dsn, "b": pair.replica.dsn}) as router:
        servers = [(await router.fetch_all("SELECT 1")).server for _ in range(10)]
    assert servers.count("a") == servers.count("b") == 5
