from __future__ import annotations

import asyncio
import json
import os
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lbkit.cli import cli
from lbkit.cluster.mysqld import free_port
from lbkit.commands.mysql import _once, _show, _show_drill, drill_report
from lbkit.errors import ConfigError, PromotionRefused
from lbkit.mysql import Dsn
from lbkit.mysql.dialect import dialect_of
from lbkit.mysql.driver import connect
from lbkit.mysql.etcd_lock import EtcdLock
from lbkit.mysql.failover import Failover
from tests.support.databases import LivePair
from tests.support.etcd import running_etcd


def route(text: bytes) -> list[list[str]]:
    result = CliRunner().invoke(cli, ["mysql", "route"], input=text)
    assert result.exit_code == 0, result.output
    return [line.split("\t") for line in result.output.splitlines()]


def test_each_line_has_its_answer() -> None:
    text = b"SELECT 1\r\n\nSELECT 1 FOR UPDATE\nSELECT 1 -- \xff\nINSERT INTO t VALUES ('\xff')\nSELECT 'a"
    assert route(text) == [
        ["replica", "a plain read"],
        ["primary", "an empty statement is not a read"],
        ["primary", "FOR UPDATE takes locks"],
        ["replica", "a plain read"],
        ["primary", "INSERT is not a read"],
        ["primary", "a quote or comment that is not closed"],
    ]


def test_no_line_no_answer() -> None:
    assert route(b"") == []


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["mysql", *arguments])


def admin(pair: LivePair) -> list[str]:
    return [server.admin_dsn for server in pair.cluster.servers]


async def test_the_state_of_a_pair(managed_pair: LivePair, tmp_path: Path) -> None:
    """A test with a loop of its own cannot run a command that makes one; so it is run beside it."""
    result = await asyncio.to_thread(invoke, "status", *admin(managed_pair))
    assert result.exit_code == 0, result.output
    assert "healthy" in result.output
    assert "primary" in result.output
    assert "secret" not in result.output
    first = Dsn.parse(admin(managed_pair)[0])
    (tmp_path / "secret").write_text(first.password)
    servers = json.dumps([server.address for server in managed_pair.cluster.servers])
    file = tmp_path / "lbkit.toml"
    text = f'[mysql.main]\nuser = "{first.user}"\npassword_file = "secret"\nservers = {servers}\n'
    file.write_text(text)
    result = await asyncio.to_thread(invoke, "status", str(file), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["healthy"] is True
    assert first.password not in result.output


async def test_a_drill_says_who_would_take_over(managed_pair: LivePair) -> None:
    result = await asyncio.to_thread(invoke, "drill", *admin(managed_pair))
    assert result.exit_code == 0, result.output
    assert "died now" in result.output
    assert "1. stop receiving on" in result.output
    result = await asyncio.to_thread(invoke, "drill", *admin(managed_pair), "--json")
    report = json.loads(result.stdout)
    assert report["transactions_at_risk"] == 0
    assert report["blockers"] == []


async def test_a_drill_on_an_asynchronous_pair(pair: LivePair) -> None:
    result = await asyncio.to_thread(invoke, "drill", *admin(pair))
    assert result.exit_code == 1, result.output
    assert "in the way:" in result.output
    assert "did not wait for its replicas" in result.output


async def test_whether_it_could_act_is_told_with_etcd(managed_pair: LivePair, tmp_path: Path) -> None:
    first = Dsn.parse(admin(managed_pair)[0])
    (tmp_path / "secret").write_text(first.password)
    servers = json.dumps([server.address for server in managed_pair.cluster.servers])
    file = tmp_path / "lbkit.toml"
    with running_etcd(tmp_path) as etcd:
        file.write_text(
            f'[mysql.main]\nuser = "{first.user}"\npassword_file = "secret"\nservers = {servers}\n'
            f'[mysql.main.etcd]\nservers = ["{etcd.address}"]\n'
        )
        result = await asyncio.to_thread(invoke, "status", str(file))
        assert result.exit_code == 0, result.output
        assert "lock: on etcd, free" in result.output
        lock = EtcdLock(etcd.client(), "lbkit/failover/main", 5)
        assert await lock.take(set(), None) == ""
        result = await asyncio.to_thread(invoke, "status", str(file))
        assert result.exit_code == 0, result.output
        assert f"lock: on etcd, held by {socket.gethostname()}, process {os.getpid()}, since" in result.output
        result = await asyncio.to_thread(invoke, "drill", str(file))
        assert result.exit_code == 1, result.output
        assert "in the way: another lbkit acts: the lock is held by" in result.output
        result = await asyncio.to_thread(invoke, "promote", str(file))
        assert isinstance(result.exception, PromotionRefused)
        assert "another lbkit acts" in str(result.exception)
        await lock.release()
        result = await asyncio.to_thread(invoke, "drill", str(file), "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["lock"] == {"kept_on": "etcd", "holder": "", "obstacle": ""}
    result = await asyncio.to_thread(invoke, "status", str(file))
    assert result.exit_code == 1
    gone = f"etcd does not answer: {etcd.address}: connection refused"
    assert f"lock: on etcd, cannot be taken: {gone}" in result.output
    result = await asyncio.to_thread(invoke, "drill", str(file))
    assert result.exit_code == 1
    assert f"in the way: the lock on etcd: {gone}" in result.output
    result = await asyncio.to_thread(invoke, "promote", str(file))
    assert str(result.exception) == f"the lock cannot be taken: {gone}"


async def test_promote_moves_the_role(managed_pair: LivePair) -> None:
    before = await asyncio.to_thread(invoke, "status", *admin(managed_pair), "--json")
    result = await asyncio.to_thread(invoke, "promote", *admin(managed_pair))
    assert result.exit_code == 0, result.output
    after = await asyncio.to_thread(invoke, "status", *admin(managed_pair), "--json")
    assert json.loads(before.stdout)["primary"] != json.loads(after.stdout)["primary"]


async def test_it_is_told_what_is_to_be_done_about_two_that_take_writes(managed_pair: LivePair) -> None:
    """And who uses lbkit's account, which a fence spares."""
    primary = managed_pair.run(managed_pair.cluster.find_primary())
    assert primary is not None
    replica = next(server for server in managed_pair.cluster.servers if server.name != primary.name)
    connection = await connect(Dsn.parse(replica.admin_dsn), 5)
    words = dialect_of(connection.is_mariadb)
    for sql in (words.detach, *words.open):
        await connection.execute(sql)
    try:
        for command in ("status", "drill", "promote"):
            result = await asyncio.to_thread(invoke, command, *admin(managed_pair))
            assert result.exit_code == 1 or isinstance(result.exception, PromotionRefused)
            text = f"{result.output} {result.exception}"
            assert "take writes at the same time" in text
            assert f"{words.close} on {Dsn.parse(replica.admin_dsn).name}" in text
            if command != "promote":
                name = Dsn.parse(replica.admin_dsn).name
                assert f"lbkit's own account lbkit_admin has 1 other sessions on {name}" in text
                assert f"other sessions on {Dsn.parse(primary.admin_dsn).name}" not in text
        told = await asyncio.to_thread(invoke, "drill", *admin(managed_pair), "--json")
        assert "take writes at the same time" in json.loads(told.output)["blockers"][0]
    finally:
        await connection.execute(words.close)
        for sql in words.start:
            await connection.execute(sql)
        await connection.close()
    await managed_pair.until_whole()


def test_brackets_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Of addresses such as [fd00::1]:3306, and of whatever servers say."""
    failover = Failover([Dsn.parse("mysql://a:b@127.0.0.1:1").named("[fd00::1]:3306 [/x]")])
    _once(failover, failover.look)
    _show(failover)
    _show_drill(drill_report(failover))
    assert "[fd00::1]:3306 [/x]" in capsys.readouterr().out


def test_servers_that_are_not_there() -> None:
    dsn = f"mysql://admin:secret@127.0.0.1:{free_port()}"
    result = invoke("status", dsn)
    assert result.exit_code == 1
    assert "no server answers" in result.output
    result = invoke("promote", dsn)
    assert isinstance(result.exception, PromotionRefused)
    result = invoke("drill", dsn)
    assert result.exit_code == 1
    assert "there is no primary that could die" in result.output


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["mysql://x@a", "mysql://b"], "DSN 2: the user is missing"),
        (["mysql://x@a", "--name", "main"], "--name: names a table of a file"),
        (["a.toml", "b.toml"], "give one FILE, or DSNs"),
        (["FILE"], "--name: which [mysql.NAME] of"),
        (["FILE", "--name", "third"], "there is no [mysql.third]"),
        (["/no/such/file"], "cannot be read"),
    ],
)
def test_wrong_usage(arguments: list[str], problem: str, tmp_path: Path) -> None:
    file = tmp_path / "lbkit.toml"
    table = 'user = "admin"\nservers = ["127.0.0.1:3306"]\n'
    file.write_text(f"[mysql.one]\n{table}[mysql.two]\n{table}")
    result = invoke("status", *(str(file) if text == "FILE" else text for text in arguments))
    assert isinstance(result.exception, ConfigError)
    assert problem in str(result.exception)
