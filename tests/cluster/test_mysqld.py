from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiomysql
import pymysql
import pytest

from lbkit.cluster.database import Flavour, ServerProgram, find_server
from lbkit.cluster.flavours import Accounts
from lbkit.cluster.mysqld import Mysqld, PortTaken, free_port, is_free
from lbkit.cluster.report import LineReport
from lbkit.cluster.statedir import StateDir
from lbkit.errors import QueryFailed, StartFailed
from tests.support.databases import LivePair

ACCOUNTS = Accounts("root-pw", "admin-pw", "repl-pw", "app-pw")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDir]:
    with StateDir(tmp_path / "state") as opened:
        yield opened


def server(state: StateDir, program: ServerProgram, port: int) -> Mysqld:
    return Mysqld(program, state, "mysql1", port=port, server_id=1, accounts=ACCOUNTS, database="app")


@pytest.fixture
async def prepared(state: StateDir, flavour: Flavour) -> AsyncIterator[Mysqld]:
    made = server(state, find_server(flavour, LineReport()), free_port())
    await made.prepare(LineReport())
    yield made
    await made.stop()


async def test_a_life(prepared: Mysqld, state: StateDir) -> None:
    await prepared.start()
    assert prepared.pid
    async with prepared.administration() as admin:
        (row,) = await admin.run("SELECT @@global.read_only AS closed, @@global.bind_address AS address")
        assert row == {"closed": 1, "address": "127.0.0.1"}
    await prepared.open_for_writing()
    async with prepared.administration() as admin:
        assert await admin.run("SELECT @@global.read_only AS closed") == [{"closed": 0}]
        await admin.run("CREATE TABLE app.kept (id INT)")
        with pytest.raises(QueryFailed):
            await admin.run("SELECT * FROM app.no_such_table")
    assert await prepared.channel() is None
    await prepared.stop()
    assert prepared.pid == 0
    assert await prepared.wait() == "exit status 0"
    assert state.recorded() == []
    assert (prepared.folder / "accounts.sql").stat().st_mode & 0o777 == 0o600

    await prepared.start()
    async with prepared.administration() as admin:
        assert await admin.run("SELECT * FROM app.kept") == []
        assert await admin.run("SELECT @@global.read_only AS closed") == [{"closed": 1}]


@pytest.mark.parametrize("user", ["root", "", "lbkit", "lbkit_admin"])
async def test_nobody_gets_in_without_a_password(pair: LivePair, user: str) -> None:
    for server in pair.cluster.servers:
        with pytest.raises(pymysql.MySQLError, match="Access denied"):
            await aiomysql.connect(host="127.0.0.1", port=server.port, user=user, password="")


async def test_a_taken_port(prepared: Mysqld) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", prepared.port))
        listener.listen()
        assert not is_free(prepared.port)
        with pytest.raises(PortTaken, match="mysql1 does not start: "):
            await prepared.start()
    assert prepared.pid == 0
    assert is_free(prepared.port)


async def test_damaged_data_is_told_in_the_servers_words(prepared: Mysqld) -> None:
    (prepared.folder / "data" / "ibdata1").write_bytes(b"not a database")
    with pytest.raises(StartFailed, match=r"mysql1 does not start: .+ \(log: .*mysql1/log\)") as caught:
        await prepared.start()
    assert "\n" not in str(caught.value)
    assert "Aborting" not in str(caught.value)
    assert prepared.pid == 0


async def test_a_program_that_ends_at_once(state: StateDir, tmp_path: Path) -> None:
    broken = tmp_path / "mysqld"
    broken.write_text("#!/bin/sh\nexit 7\n")
    broken.chmod(0o755)
    made = server(state, ServerProgram(broken, "mysql", (9, 0, 0)), free_port())
    made.folder.mkdir()
    with pytest.raises(StartFailed, match="mysql1 does not start: exit status 7"):
        await made.start()


async def test_never_started(state: StateDir, tmp_path: Path) -> None:
    made = server(state, ServerProgram(tmp_path, "mysql", (9, 0, 0)), 1)
    assert await made.wait() == "never started"
    await made.stop()
