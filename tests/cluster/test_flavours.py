from __future__ import annotations

from pathlib import Path

import pytest

from lbkit.cluster.database import Flavour, ServerProgram
from lbkit.cluster.flavours import Accounts, ServerFlavour, flavour_of

ACCOUNTS = Accounts("r00t", "adm1n", "repl1", "appl1")
BOTH: list[Flavour] = ["mysql", "mariadb"]


@pytest.fixture(params=BOTH)
def words(request: pytest.FixtureRequest) -> ServerFlavour:
    return flavour_of(ServerProgram(Path("/x/mysqld"), request.param, (9, 0, 0)))


def test_a_server_listens_on_loopback_only_and_starts_closed(words: ServerFlavour) -> None:
    options = words.options("/data", 3306, 1)
    assert "--bind-address=127.0.0.1" in options
    assert "--socket=" in options
    assert {"--super-read-only=ON", "--read-only=ON"} & set(options)
    assert {"--skip-replica-start=ON", "--skip-slave-start=ON"} & set(options)


def test_no_password_is_on_a_command_line(words: ServerFlavour) -> None:
    line = " ".join([*words.options("/data", 3306, 1), *words.initialise_options("/data")])
    assert "password" not in line.lower()


def test_accounts_are_made_on_each_server_by_itself(words: ServerFlavour) -> None:
    lines = words.accounts_sql(ACCOUNTS, "shop").splitlines()
    assert lines[0] == "SET sql_log_bin=0;"
    assert all(line.endswith(";") for line in lines)  # an init file takes one statement a line
    assert any("ALL PRIVILEGES ON `shop`.* TO 'lbkit'@'127.0.0.1'" in line for line in lines)
    assert not any("'lbkit'" in line and "ALL PRIVILEGES ON *.*" in line for line in lines)


def test_replication_finds_its_own_position(words: ServerFlavour) -> None:
    sql = words.follow_sql("10.0.0.7", 3307, "pw")
    assert "'10.0.0.7'" in sql
    assert "3307" in sql
    assert "AUTO_POSITION=1" in sql or "USE_GTID=slave_pos" in sql


@pytest.mark.parametrize(
    ("io", "sql", "running"), [("Yes", "Yes", True), ("Connecting", "Yes", False), ("Yes", "No", False)]
)
def test_channel(words: ServerFlavour, io: str, sql: str, running: bool) -> None:
    row = {
        "Replica_IO_Running": io,
        "Slave_IO_Running": io,
        "Replica_SQL_Running": sql,
        "Slave_SQL_Running": sql,
        "Last_IO_Error": "",
        "Last_SQL_Error": "duplicate",
        "Seconds_Behind_Source": 3,
        "Seconds_Behind_Master": 3,
    }
    channel = words.channel(row)
    assert channel.running is running
    assert channel.error == "duplicate"
    assert channel.lag == 3.0
    assert words.channel({}).lag is None
