from __future__ import annotations

from pathlib import Path

import pytest

from lbkit.config import MysqlConfig, loads
from lbkit.errors import ConfigError
from lbkit.runtime import catalog
from lbkit.server import Address

GOOD = """
[mysql.main]
user = "admin"
password_file = "db.secret"
servers = ["db1:3306", "db2:3306"]
failover = "auto"
recovery_block = "5m"
"""


def test_a_database_alone_is_a_configuration(tmp_path: Path) -> None:
    config = loads(GOOD, catalog(), folder=tmp_path).mysql["main"]
    assert config.servers == (Address("db1", 3306), Address("db2", 3306))
    assert config.password_file == tmp_path / "db.secret"
    assert (config.failover, config.recovery_block, config.on_possible_loss) == ("auto", 300.0, "abort")


def test_connections_that_are_secured(tmp_path: Path) -> None:
    text = GOOD + 'tls = "verify_ca"\ntls_ca = "ca.pem"\n'
    config = loads(text, catalog(), folder=tmp_path).mysql["main"]
    assert (config.tls, config.tls_ca) == ("verify_ca", tmp_path / "ca.pem")


def test_nothing_acts_unless_told_to() -> None:
    assert MysqlConfig("admin", (Address("db1", 3306),)).failover == "off"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (('"auto"', '"on"'), 'mysql.main.failover: "on" is not one of auto, off'),
        (("failover", "failure"), 'mysql.main.failure: unknown key (did you mean "failover"?)'),
        (('user = "admin"', ""), 'mysql.main: missing key "user"'),
        (('servers = ["db1:3306", "db2:3306"]', ""), 'mysql.main: missing key "servers"'),
        (('["db1:3306", "db2:3306"]', "[]"), "mysql.main.servers: a database needs at least one server"),
        (('"db2:3306"', '"db1:3306"'), "mysql.main.servers[2]: db1:3306 is mysql.main.servers[1] already"),
        (('"db2:3306"', '"unix:/x"'), 'mysql.main.servers[2]: "unix:/x": other servers must reach it'),
        (('"5m"', '"5m"\npassword_env = "X"'), 'mysql.main.password_file: the password comes from "password_env"'),
        (('"5m"', '"5m"\ninterval = "0s"'), "mysql.main.interval: must be more than 0"),
        (('"5m"', '"5m"\nreplication_password_env = "X"'), 'needs "replication_user", too'),
        (('"5m"', '"5m"\ntls_ca = "ca.pem"'), "mysql.main.tls_ca: has no effect without tls"),
        (("[mysql.main]", '[mysql.""]'), "a name must not be empty"),
    ],
)  # fmt: skip
def test_mistakes(change: tuple[str, str], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(GOOD.replace(*change), catalog())
    assert len(caught.value.problems) == 1
    assert problem in caught.value.problems[0]
