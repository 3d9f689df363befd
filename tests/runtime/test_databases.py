from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from lbkit.config import EtcdConfig, MysqlConfig, PoolTlsConfig, loads
from lbkit.config.values import Duration
from lbkit.errors import ConfigError
from lbkit.mysql import Dsn
from lbkit.mysql.etcd_lock import EtcdLock
from lbkit.mysql.failover import Failover
from lbkit.mysql.majority_lock import MajorityLock
from lbkit.runtime import Runtime, catalog
from lbkit.runtime.databases import Databases, make_failover, make_failovers
from lbkit.server import Address
from tests.support.certificates import Authority
from tests.support.loops import until

CONFIG = MysqlConfig("admin", (Address("127.0.0.1", 1),), failover="auto")


def test_a_table_becomes_a_failover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    monkeypatch.setenv("REPLICATION_PASSWORD", "repl")
    config = replace(
        CONFIG,
        password_file=tmp_path / "secret",
        replication_user="replica",
        replication_password_env="REPLICATION_PASSWORD",
        on_possible_loss="promote",
    )
    made = make_failover("main", config)
    assert made._account == ("replica", "repl")
    assert [(dsn.user, dsn.password) for dsn in made.dsns] == [("admin", "s3cret")]
    assert (made.options.auto, made.options.on_possible_loss) == (True, "promote")
    assert "s3cret" not in repr(made.dsns)


def test_a_table_asks_for_tls(tmp_path: Path) -> None:
    ca = Authority(tmp_path).ca
    (dsn,) = make_failover("main", replace(CONFIG, tls="on", tls_ca=ca)).dsns
    assert (dsn.tls, dsn.tls_ca) == ("on", str(ca))
    (plain,) = make_failover("main", CONFIG).dsns
    assert (plain.tls, plain.tls_ca) == ("off", "")
    with pytest.raises(ConfigError, match=r"mysql.main.tls_ca: .*none.pem cannot be read"):
        make_failover("main", replace(CONFIG, tls="on", tls_ca=tmp_path / "none.pem"))


def test_passwords_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_PASSWORD", raising=False)
    (tmp_path / "binary").write_bytes(b"\xff")
    configs = {
        "a": replace(CONFIG, password_env="NO_SUCH_PASSWORD"),
        "b": replace(CONFIG, password_file=tmp_path / "missing"),
        "c": replace(CONFIG, password_file=tmp_path / "binary"),
    }
    with pytest.raises(ConfigError) as caught:
        make_failovers(configs)
    assert caught.value.problems == (
        "mysql.a.password_env: $NO_SUCH_PASSWORD is not set",
        f"mysql.b.password_file: {tmp_path}/missing: no such file or directory",
        f"mysql.c.password_file: {tmp_path}/binary: is not UTF-8 text",
    )


def test_a_table_for_etcd_becomes_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_failover("main", CONFIG)._lock, MajorityLock)
    monkeypatch.setenv("ETCD_PASSWORD", "s3cret")
    etcd = EtcdConfig((Address("etcd1", 2379),), ttl=Duration(7), user="lbkit", password_env="ETCD_PASSWORD")
    lock = make_failover("main", replace(CONFIG, etcd=etcd))._lock
    assert isinstance(lock, EtcdLock)
    assert (lock._key, lock._ttl) == ("lbkit/failover/main", 7)
    assert (lock._etcd._user, lock._etcd._password, lock._etcd.timeout) == ("lbkit", "s3cret", 1.0)
    own = make_failover("main", replace(CONFIG, etcd=replace(etcd, key="other")))._lock
    assert isinstance(own, EtcdLock)
    assert own._key == "other"


def test_secrets_for_etcd_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_PASSWORD", raising=False)
    etcd = EtcdConfig((Address("etcd1", 2379),), user="lbkit", password_env="NO_SUCH_PASSWORD")
    configs = {
        "a": replace(CONFIG, etcd=etcd),
        "b": replace(CONFIG, etcd=EtcdConfig(etcd.servers, tls=PoolTlsConfig(tmp_path / "none.pem"))),
    }
    with pytest.raises(ConfigError) as caught:
        make_failovers(configs)
    first, second = caught.value.problems
    assert first == "mysql.a.etcd.password_env: $NO_SUCH_PASSWORD is not set"
    assert second.startswith(f"mysql.b.etcd.tls.ca: {tmp_path}/none.pem cannot be read: ")


async def test_what_is_as_it_was_goes_on() -> None:
    databases = Databases()
    both = {"a": CONFIG, "b": CONFIG}
    first = make_failovers(both)
    databases.change(both, first)
    changed = {"a": CONFIG, "c": CONFIG}
    second = make_failovers(changed)
    databases.change(changed, second)
    assert [failover for _, failover, _ in databases._running.values()] == [first["a"], second["c"]]
    assert [state["name"] for state in databases.status()] == ["a", "c"]
    await databases.stop()
    assert len(asyncio.all_tasks()) == 1


async def test_a_new_one_begins_when_the_one_before_has_ended() -> None:
    """Which may undo a plan under another lock, or another name, for a while."""
    events: list[str] = []
    over = asyncio.Event()

    class Slow(Failover):
        async def start(self) -> None:
            events.append(f"{self.name} begins")

        async def stop(self) -> None:
            await over.wait()
            events.append(f"{self.name} has ended")

    def made(*names: str) -> dict[str, Failover]:
        return {name: Slow([Dsn("127.0.0.1", 1)], name=name) for name in names}

    databases = Databases()
    databases.change({"a": CONFIG, "b": CONFIG}, made("a", "b"))
    try:
        await until(lambda: len(events) == 2)
        databases.change({"a": CONFIG, "c": CONFIG}, made("c"))
        await asyncio.sleep(0.02)
        assert events == ["a begins", "b begins"]
        assert [state["name"] for state in databases.status()] == ["a", "c"]
        over.set()
        await until(lambda: len(events) == 4)
        assert events[2:] == ["b has ended", "c begins"]
    finally:
        over.set()
        await databases.stop()
    assert len(asyncio.all_tasks()) == 1


async def test_another_etcd_is_another_lock() -> None:
    """And the database is watched anew, as with any change of its table."""
    databases = Databases()
    locks = []
    for port in (1, 1, 2):
        configs = {"a": replace(CONFIG, etcd=EtcdConfig((Address("127.0.0.1", port),)))}
        databases.change(configs, make_failovers(configs))
        locks.append(databases._running["a"][1]._lock)
    assert locks[0] is locks[1] is not locks[2]
    await databases.stop()
    assert len(asyncio.all_tasks()) == 1


async def test_the_administration_shows_that_etcd_is_gone() -> None:
    text = '[mysql.main]\nuser = "admin"\nservers = ["127.0.0.1:1"]\netcd.servers = ["127.0.0.1:1"]'
    async with Runtime(loads(text, catalog())) as runtime:
        async with asyncio.timeout(5):
            while not (lock := runtime.view().databases[0]["lock"]):
                await asyncio.sleep(0.01)
        assert lock["obstacle"] == "etcd does not answer: 127.0.0.1:1: connection refused"


async def test_the_administration_shows_databases_databases() -> None:
    text = '[mysql.main]\nuser = "admin"\nservers = ["127.0.0.1:1"]'
    async with Runtime(loads(text, catalog())) as runtime:
        async with asyncio.timeout(5):
            while not (state := runtime.view().databases[0])["servers"]:
                await asyncio.sleep(0.01)
        assert state["verdict"] == "no primary"
        assert state["failover"] == "off"
        await runtime.reload(loads(text.replace("main", "other"), catalog()))
        assert [state["name"] for state in runtime.view().databases] == ["other"]
    assert len(asyncio.all_tasks()) == 1
