"""What may happen to databases under test happens, and is over when it is healed: on real servers."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lbkit.cluster.database import Flavour, find_server
from lbkit.cluster.report import LineReport
from lbkit.errors import ConnectFailed, LbkitError
from lbkit.mysql import Dsn, Router
from lbkit.mysql.driver import connect
from lbkit.testing.databases import Databases
from tests.support.databases import FLAVOURS
from tests.support.loops import on_both_loops


@pytest.fixture(scope="module", params=FLAVOURS)
def servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    flavour: Flavour = request.param
    program = find_server(flavour, LineReport())
    with Databases(tmp_path_factory.mktemp(flavour), program=program, semi_sync=True) as started:
        yield started


@pytest.fixture(autouse=True)
def healed(servers: Databases) -> Iterator[None]:
    yield
    servers.heal()
    servers.wait_until_whole()


async def count(dsn: str) -> int:
    connection = await connect(Dsn.parse(dsn), 1)
    try:
        async with asyncio.timeout(1):
            rows = await connection.fetch("SELECT COUNT(*) AS n FROM mark")
        return int(rows[0]["n"])
    finally:
        connection.drop()


@on_both_loops
async def test_what_a_test_needs(servers: Databases) -> None:
    assert (servers.primary, servers.replicas) == ("mysql1", ["mysql2"])
    async with Router(servers.dsns) as router:
        await router.execute("CREATE TABLE IF NOT EXISTS mark (id INT AUTO_INCREMENT PRIMARY KEY)")
        await router.execute("INSERT INTO mark VALUES ()")
        assert await router.catch_up()
        before = await count(servers.dsns["mysql2"])

        servers.stall_replication()
        await router.execute("INSERT INTO mark VALUES ()")
        assert await count(servers.dsns["mysql2"]) == before
        servers.heal()
        assert await router.catch_up()
        assert await count(servers.dsns["mysql2"]) == before + 1

        servers.slow("mysql1", 0.05)
        began = time.monotonic()
        await router.execute("INSERT INTO mark VALUES ()")
        assert time.monotonic() - began >= 0.1
        servers.heal()

        assert servers.partition() == "mysql1"
        with pytest.raises(ConnectFailed, match="no answer in time"):
            await count(servers.dsns["mysql1"])
        assert servers.run_on("mysql1", "SELECT COUNT(*) AS n FROM app.mark")[0]["n"] == before + 2
        servers.heal()
        assert await count(servers.dsns["mysql1"]) == before + 2

        servers.cut("mysql2")
        with pytest.raises(ConnectFailed):
            await count(servers.dsns["mysql2"])
        servers.heal()

        servers.freeze("mysql2")
        with pytest.raises(ConnectFailed, match="no answer in time"):
            await count(servers.dsns["mysql2"])
        servers.heal()
        assert await count(servers.dsns["mysql2"]) >= before + 1


def test_a_server_that_is_killed_comes_back(servers: Databases) -> None:
    pid = servers.server("mysql1").pid
    assert servers.kill_primary() == "mysql1"
    deadline = time.monotonic() + 30
    while servers.server("mysql1").pid in (0, pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    servers.wait_until_whole(60)
    assert servers.server("mysql1").pid != pid
    os.kill(servers.server("mysql1").pid, 0)
    with pytest.raises(KeyError):
        servers.kill("mysql9")
    with pytest.raises(LbkitError):
        servers.run_on("mysql1", "SELECT wrong")


def test_a_server_that_is_down_is_not_killed_again(
    servers: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signals to process 0 are for this one and its whole group."""
    down = replace(servers.server("mysql1"), pid=0)
    monkeypatch.setattr(servers, "server", lambda name: down)
    for step in (servers.kill, servers.freeze):
        with pytest.raises(LbkitError, match="mysql1 does not run just now"):
            step("mysql1")


def test_what_is_given_up_while_it_starts_goes_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    class Slow:
        async def start(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.01)
                steps.append("start is over")

        async def stop(self) -> None:
            steps.append("stop")

    servers = Databases(tmp_path)
    monkeypatch.setattr(servers, "_cluster", Slow())
    monkeypatch.setattr("lbkit.testing.databases._LIMIT", 0.2)
    with pytest.raises(TimeoutError):
        servers.start()
    assert steps == ["start is over", "stop"]
    assert not servers._thread.is_alive()


def test_no_program_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        Databases(tmp_path, replicas=-1)
