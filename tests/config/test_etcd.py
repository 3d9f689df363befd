from __future__ import annotations

from pathlib import Path

import pytest

from lbkit.config import EtcdConfig, loads
from lbkit.errors import ConfigError
from lbkit.runtime import catalog
from lbkit.server import Address

GOOD = """
[mysql.main]
user = "admin"
servers = ["db1:3306", "db2:3306"]

[mysql.main.etcd]
servers = ["etcd1:2379", "etcd2:2379"]
ttl = "4s"
user = "lbkit"
password_file = "etcd.secret"

[mysql.main.etcd.tls]
ca = "ca.pem"
certificate = "lbkit.pem"
"""


def test_a_table_for_etcd(tmp_path: Path) -> None:
    etcd = loads(GOOD, catalog(), folder=tmp_path).mysql["main"].etcd
    assert etcd is not None
    assert etcd.servers == (Address("etcd1", 2379), Address("etcd2", 2379))
    assert (etcd.ttl, etcd.key, etcd.password_file) == (4.0, "", tmp_path / "etcd.secret")
    assert etcd.tls is not None
    assert (etcd.tls.ca, etcd.tls.certificate) == (tmp_path / "ca.pem", tmp_path / "lbkit.pem")
    assert etcd.tls.key is None


def test_servers_are_enough() -> None:
    text = '[mysql.main]\nuser = "a"\nservers = ["db1:1"]\netcd.servers = ["etcd1:2379"]'
    assert loads(text, catalog()).mysql["main"].etcd == EtcdConfig((Address("etcd1", 2379),))
    without = '[mysql.main]\nuser = "a"\nservers = ["db1:1"]'
    assert loads(without, catalog()).mysql["main"].etcd is None


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (('["etcd1:2379", "etcd2:2379"]', "[]"), "mysql.main.etcd.servers: etcd has at least one server"),
        (('servers = ["etcd1:2379", "etcd2:2379"]', ""), 'mysql.main.etcd: missing key "servers"'),
        (('"etcd2:2379"', '"etcd1:2379"'), "mysql.main.etcd.servers[2]: etcd1:2379 is mysql.main.etcd.servers[1]"),
        (('"etcd2:2379"', '"unix:/x"'), 'mysql.main.etcd.servers[2]: "unix:/x": a host and the client port, 2379'),
        (('"4s"', '"1s"'), 'mysql.main.etcd.ttl: must be whole seconds, from "2s" to "60s"'),
        (('"4s"', '"2500ms"'), "mysql.main.etcd.ttl: must be whole seconds"),
        (('"4s"', '"5m"'), "mysql.main.etcd.ttl: must be whole seconds"),
        (('"4s"', '"4s"\nkey = " x"'), "mysql.main.etcd.key: must be printable and have no blanks around it"),
        (('user = "lbkit"', ""), 'mysql.main.etcd: a password needs "user", too'),
        (('password_file = "etcd.secret"', ""), "mysql.main.etcd.user: needs a password"),
        (('"4s"', '"4s"\npassword_env = "X"'), "mysql.main.etcd.password_file: the password comes from"),
        (('ca = "ca.pem"', 'ca = "x"\nverify = false'), "mysql.main.etcd.tls.ca: has no effect with verify"),
        (("ttl", "tll"), 'mysql.main.etcd.tll: unknown key (did you mean "ttl"?)'),
        (("[mysql.main.etcd]\nservers", "[mysql.main.ectd]\nservers"), 'did you mean "etcd"?'),
    ],
)  # fmt: skip
def test_mistakes(change: tuple[str, str], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(GOOD.replace(*change), catalog())
    assert problem in caught.value.problems[0]


def test_a_list_in_place_of_a_table() -> None:
    text = '[mysql.main]\nuser = "a"\nservers = ["db1:1"]\netcd = ["etcd1:2379"]'
    with pytest.raises(ConfigError, match=r"mysql\.main\.etcd: expected a table"):
        loads(text, catalog())
