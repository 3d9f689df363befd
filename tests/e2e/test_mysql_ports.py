"""examples/database: a read-write and a read-only port, as the command line clients and PyMySQL use them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql
import pytest

from lbkit.cluster.prefix import Prefix
from lbkit.mysql.dsn import Dsn
from tests.support.databases import LivePair
from tests.support.processes import ROOT, Lbkit, fetch_json, wait_until

EXAMPLE = ROOT / "examples" / "database" / "lbkit.toml"


@contextmanager
def ports(pair: LivePair, folder: Path, *, workers: int = 1) -> Iterator[Lbkit]:
    """The example as it is, but for its addresses, with the admin page."""
    text = EXAMPLE.read_text()
    for theirs, ours in (
        ("127.0.0.1:6446", "127.0.0.1:0"),
        ("127.0.0.1:6447", "127.0.0.1:0"),
        ("127.0.0.1:3306", pair.primary.address),
        ("127.0.0.1:3307", pair.replica.address),
    ):
        assert theirs in text
        text = text.replace(theirs, ours)
    file = folder / "lbkit.toml"
    file.write_text(f'{text}\n[global]\nworkers = {workers}\n[admin]\nlisten = "127.0.0.1:0"\n')
    password = Dsn.parse(pair.primary.dsn).password
    with Lbkit("run", str(file), log=folder / "log", env={"APP_DB_PASSWORD": password}) as lbkit:
        lbkit.listens("read_write")
        lbkit.listens("read_only")
        admin = lbkit.address_of("admin")

        def ready() -> bool:
            pools = fetch_json(admin)["pools"]
            states = {name: [s["state"] for s in pool["servers"].values()] for name, pool in pools.items()}
            return states == {"primary": ["up", "down"], "replicas": ["down", "up"]}

        wait_until(ready, what=lbkit.output)
        yield lbkit
        assert password not in lbkit.output


def client(pair: LivePair, lbkit: Lbkit, listener: str, sql: str) -> subprocess.CompletedProcess[str]:
    """The flavour's own command line client through a port."""
    name = "mariadb" if pair.flavour == "mariadb" else "mysql"
    prefix = Prefix.of(pair.cluster.program.path)
    program = prefix.program(name) if prefix else Path(name)
    host, port = lbkit.listens(listener)
    dsn = Dsn.parse(pair.primary.dsn)
    command = [
        str(program),
        "--no-defaults",
        f"-h{host}",
        f"-P{port}",
        "--protocol=tcp",
        f"-u{dsn.user}",
        "-N",
    ]
    return subprocess.run(
        [*command, dsn.database, "-e", sql],
        capture_output=True, text=True, timeout=30, env={"MYSQL_PWD": dsn.password}, check=False,
    )  # fmt: skip


def python(pair: LivePair, lbkit: Lbkit, listener: str) -> Any:
    """A PyMySQL connection through a port."""
    host, port = lbkit.listens(listener)
    dsn = Dsn.parse(pair.primary.dsn)
    return pymysql.connect(
        host=host, port=port, user=dsn.user, password=dsn.password, database=dsn.database, autocommit=True
    )


def one(connection: Any, sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()


def set_read_only(pair: LivePair, value: str, name: str = "") -> None:
    async def change() -> None:
        async with pair.cluster._nodes[name or pair.primary.name].administration() as admin:
            if pair.flavour == "mysql":
                await admin.run(f"SET GLOBAL super_read_only = {value}")
            await admin.run(f"SET GLOBAL read_only = {value}")

    pair.run(change())


def test_command_line_clients_write_by_one_port_and_read_by_the_other(pair: LivePair, tmp_path: Path) -> None:
    with ports(pair, tmp_path) as lbkit:
        created = client(pair, lbkit, "read_write", "CREATE TABLE cli (id INT); INSERT INTO cli VALUES (7)")
        assert (created.returncode, created.stderr) == (0, "")
        try:
            wait_until(lambda: "7" in client(pair, lbkit, "read_only", "SELECT * FROM cli").stdout)
            shown = client(pair, lbkit, "read_only", "SELECT @@port")
            assert shown.stdout.strip() == str(pair.replica.port)
            refused = client(pair, lbkit, "read_only", "INSERT INTO cli VALUES (8)")
            assert "read-only" in refused.stderr
        finally:
            client(pair, lbkit, "read_write", "DROP TABLE cli")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_server_that_takes_writes_gets_no_writers(
    pair: LivePair, tmp_path: Path, workers: int
) -> None:
    with ports(pair, tmp_path, workers=workers) as lbkit:
        admin = lbkit.address_of("admin")

        def reason() -> str:
            servers = fetch_json(admin)["pools"]["primary"]["servers"]
            assert [server["state"] for server in servers.values()] == ["up", "down"]
            return str(list(servers.values())[1]["reason"])

        set_read_only(pair, "OFF", pair.replica.name)
        try:
            wait_until(
                lambda: f"takes writes, but so does {pair.primary.address}" in reason(), what=lbkit.output
            )
            writers = [python(pair, lbkit, "read_write") for _ in range(6)]
            assert {one(writer, "SELECT @@port")[0] for writer in writers} == {pair.primary.port}
            for writer in writers:
                writer.close()
        finally:
            set_read_only(pair, "ON", pair.replica.name)


@pytest.mark.parametrize("workers", [1, 2])
def test_sessions_with_a_demoted_server_are_cut_and_go_on_once_it_is_primary_again(
    pair: LivePair, tmp_path: Path, workers: int
) -> None:
    with ports(pair, tmp_path, workers=workers) as lbkit:
        writers = [python(pair, lbkit, "read_write") for _ in range(4)]
        reader = python(pair, lbkit, "read_only")
        assert {one(writer, "SELECT @@port") for writer in writers} == {(pair.primary.port,)}
        set_read_only(pair, "ON")
        try:
            began = time.monotonic()
            for writer in writers:
                writer._sock.settimeout(10)
                assert writer._sock.recv(1) == b""  # cut, though nobody had sent anything
            assert time.monotonic() - began < 5
            with pytest.raises(pymysql.err.OperationalError):
                python(pair, lbkit, "read_write")
            assert one(reader, "SELECT @@port") == (pair.replica.port,)
        finally:
            set_read_only(pair, "OFF")
        for connection in (*writers, reader):
            connection.close()

        def back() -> bool:
            try:
                python(pair, lbkit, "read_write").close()
            except pymysql.err.OperationalError:
                return False
            return True

        wait_until(back)


def test_a_stalled_replica_is_out(pair: LivePair, tmp_path: Path) -> None:
    word = "SLAVE" if pair.flavour == "mariadb" else "REPLICA"

    async def applier(verb: str) -> None:
        async with pair.cluster._nodes[pair.replica.name].administration() as admin:
            await admin.run(f"{verb} {word} SQL_THREAD")

    with ports(pair, tmp_path) as lbkit:
        pair.run(applier("STOP"))
        try:
            lbkit.wait_for(
                r"server db2 is down: is a replica that does not know, or may not say, how far it is"
            )
        finally:
            pair.run(applier("START"))
        lbkit.wait_for(r"server db2 is up: is a replica, 0 s behind")


DJANGO = """
import sys
sys.path.insert(0, sys.argv[1])
import django
from django.conf import settings

DATABASES = {name: {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"} for name in ("default", "replica")}
settings.configure(DATABASES=DATABASES, DATABASE_ROUTERS=["django_router.ReadWriteRouter"], INSTALLED_APPS=["django.contrib.contenttypes"])
django.setup()
from django.contrib.contenttypes.models import ContentType
from django.db import router, transaction
from django_router import forget_writes

print(ContentType.objects.all().db, end=" ")
with transaction.atomic():
    print(ContentType.objects.all().db, end=" ")
print(router.db_for_write(ContentType), ContentType.objects.all().db, end=" ")
print(forget_writes(lambda request: ContentType.objects.all().db)(None), end=" ")
print(router.allow_migrate("default", "app"), router.allow_migrate("replica", "app"))
"""


def test_djangos_database_router() -> None:
    command = [sys.executable, "-c", DJANGO, str(EXAMPLE.parent)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert shown.stdout == "replica default default default replica True False\n", shown.stderr
