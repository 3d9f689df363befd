from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
from pathlib import Path

import pytest

from lbkit.cluster.database import Flavour, ServerProgram, find_server
from lbkit.cluster.identity import Identity
from lbkit.cluster.mysqld import Mysqld, free_port
from lbkit.cluster.pair import DatabaseCluster, RunningServer, find_server_for
from lbkit.cluster.report import LineReport
from lbkit.cluster.statedir import StateDir, process_start
from lbkit.errors import ServerError, StartFailed
from lbkit.server import Address


@pytest.fixture
def program(flavour: Flavour) -> ServerProgram:
    return find_server(flavour, LineReport())


@pytest.mark.parametrize(
    "wrong",
    [{"replicas": -1}, {"database": "a`b"}, {"ports": [1]}, {"database": ""}],
    ids=["replicas", "quote", "ports", "empty"],
)
def test_wrong_arguments(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=re.compile("replicas|database|ports")):
        DatabaseCluster(tmp_path, **wrong)  # type: ignore[arg-type]  # wrong values are the point


def test_no_repr_shows_a_password() -> None:
    server = RunningServer(
        "mysql1", "primary", "127.0.0.1", 1, "mysql://a:s3cret@h/d", 2, "mysql://b:s3cret@h"
    )
    assert "s3cret" not in repr(server)


async def test_data_ports_and_passwords_are_kept(tmp_path: Path, program: ServerProgram) -> None:
    folder = tmp_path / "state"
    async with DatabaseCluster(folder, program=program, report=LineReport()) as cluster:
        first = [(server.name, server.role, server.dsn) for server in cluster.servers]
        pids = [server.pid for server in cluster.servers]
        assert [name for name, _, _ in first] == ["mysql1", "mysql2"]
        assert [role for _, role, _ in first] == ["primary", "replica"]
        assert first[0][2].startswith("mysql://lbkit:")
        assert first[0][2].endswith(f"@{cluster.primary.address}/app")
        status = await cluster.status()
        assert status["mysql1"] is None
        assert status["mysql2"] is not None
        assert status["mysql2"].running
        async with cluster._nodes["mysql1"].administration() as admin:
            await admin.run("CREATE TABLE app.kept (id INT PRIMARY KEY)")
            await admin.run("INSERT INTO app.kept VALUES (7)")
        with pytest.raises(StartFailed, match=f"{folder} is in use by process {os.getpid()}"):
            await DatabaseCluster(folder, program=program).start()
    assert [process_start(pid) for pid in pids] == [None, None]

    started = asyncio.get_running_loop().time()
    async with DatabaseCluster(folder, program=program, report=LineReport()) as cluster:
        assert asyncio.get_running_loop().time() - started < 10
        assert [(server.name, server.role, server.dsn) for server in cluster.servers] == first
        async with asyncio.timeout(10):
            while await rows_on(cluster, "mysql2") != [{"id": 7}]:
                await asyncio.sleep(0.02)


async def rows_on(cluster: DatabaseCluster, name: str) -> list[dict[str, object]]:
    async with cluster._nodes[name].administration() as admin:
        return await admin.run("SELECT * FROM app.kept")


async def test_a_replica_that_is_added_later_gets_everything(tmp_path: Path, program: ServerProgram) -> None:
    async with (
        DatabaseCluster(tmp_path, replicas=0, program=program) as cluster,
        cluster._nodes["mysql1"].administration() as admin,
    ):
        assert cluster.replicas == []
        await admin.run("CREATE TABLE app.kept (id INT PRIMARY KEY)")
    async with DatabaseCluster(tmp_path, replicas=1, program=program) as cluster, asyncio.timeout(20):
        while True:
            try:
                assert await rows_on(cluster, "mysql2") == []
                return
            except ServerError:
                raise
            except Exception:  # noqa: BLE001 - the table has not arrived yet
                await asyncio.sleep(0.02)


async def test_a_port_that_is_taken_leaves_nothing_running(tmp_path: Path, program: ServerProgram) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(StartFailed, match=f"port {port} for mysql2 is in use"):
            await DatabaseCluster(tmp_path, program=program, ports=[0, port]).start()
    with StateDir(tmp_path) as state:
        assert state.recorded() == []


async def test_a_cancelled_start_leaves_nothing_running(tmp_path: Path, program: ServerProgram) -> None:
    task = asyncio.create_task(DatabaseCluster(tmp_path, program=program).start())
    async with asyncio.timeout(60):
        while not StateDir(tmp_path).recorded():
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with StateDir(tmp_path) as state:
        assert state.recorded() == []


async def test_without_supervision_a_death_is_reported(tmp_path: Path, program: ServerProgram) -> None:
    async with DatabaseCluster(tmp_path, replicas=0, program=program) as cluster:
        os.kill(cluster.primary.pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            with pytest.raises(ServerError, match="mysql1 ended: killed by SIGKILL"):
                await cluster.wait()


async def test_wait_ends_with_stop(tmp_path: Path, program: ServerProgram) -> None:
    cluster = DatabaseCluster(tmp_path, replicas=0, program=program)
    await cluster.start()
    waiting = asyncio.create_task(cluster.wait())
    await asyncio.sleep(0)
    await cluster.stop()
    async with asyncio.timeout(1):
        await waiting
    await cluster.stop()


async def test_data_of_the_other_flavour(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "cluster.json").write_text(
        '{"flavour": "mariadb", "accounts": {"root": "", "admin": "", "replication": "", "application": ""}}'
    )
    with pytest.raises(StartFailed, match="holds mariadb data, not mysql"):
        await DatabaseCluster(tmp_path / "state", flavour="mysql").start()


def test_a_directory_keeps_its_flavour(tmp_path: Path, program: ServerProgram) -> None:
    """Also where the machine's first choice would be another one."""
    Identity(program.flavour).save(tmp_path)
    assert find_server_for(tmp_path, report=LineReport()).flavour == program.flavour
    other: Flavour = "mariadb" if program.flavour == "mysql" else "mysql"
    with pytest.raises(StartFailed, match=f"holds {program.flavour} data, not {other}"):
        find_server_for(tmp_path, other)


async def test_replication_errors_are_told(pair_events: tuple[DatabaseCluster, list[str]]) -> None:
    cluster, lines = pair_events
    async with cluster._nodes["mysql1"].administration() as admin:
        await admin.run("CREATE TABLE app.kept (id INT PRIMARY KEY)")
    async with cluster._nodes["mysql2"].administration() as admin, asyncio.timeout(10):
        while not await admin.run("SHOW TABLES FROM app"):
            await asyncio.sleep(0.02)
        await admin.run("SET SESSION sql_log_bin = 0")
        if cluster.program.flavour == "mysql":
            await admin.run("SET GLOBAL super_read_only = OFF")
        await admin.run("INSERT INTO app.kept VALUES (1)")
    async with cluster._nodes["mysql1"].administration() as admin:
        await admin.run("INSERT INTO app.kept VALUES (1)")
    async with asyncio.timeout(15):
        while not any("mysql2 does not replicate" in line and "Duplicate entry" in line for line in lines):
            await asyncio.sleep(0.05)


@pytest.fixture
async def pair_events(tmp_path: Path, program: ServerProgram):  # type: ignore[no-untyped-def]  # an async generator
    class Lines(LineReport):
        def say(self, text: str) -> None:
            lines.append(text)

    lines: list[str] = []
    async with DatabaseCluster(tmp_path, program=program, report=Lines()) as cluster:
        yield cluster, lines


async def test_before_the_start(tmp_path: Path) -> None:
    cluster = DatabaseCluster(tmp_path)
    assert cluster.directory == tmp_path
    assert cluster.servers == []
    with pytest.raises(RuntimeError):
        _ = cluster.program
    with pytest.raises(RuntimeError):
        await cluster.wait()
    await cluster.stop()


def test_two_servers_cannot_have_the_same_port(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the same port"):
        DatabaseCluster(tmp_path, replicas=1, ports=[21000, 21000])


async def test_a_managed_server_that_comes_back_has_no_role(tmp_path: Path, program: ServerProgram) -> None:
    """Whoever manages the roles may have given its own to another one."""
    cluster = DatabaseCluster(
        tmp_path, program=program, supervise=True, managed=True, semi_sync=True, report=LineReport()
    )
    async with cluster:
        assert (await cluster.find_primary()) == cluster.primary
        first = cluster._nodes["mysql1"]
        async with first.administration() as admin:
            await admin.run("CREATE TABLE app.kept (id INT PRIMARY KEY)")
            status = await admin.run("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_%yes_tx'")
            assert int(status[0]["Value"]) >= 1  # a replica had it before it was acknowledged
        pid = first.pid
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(30):
            while first.pid in (0, pid) or await cluster.find_primary() or not await answers(first):
                await asyncio.sleep(0.05)
        assert not await first.is_writable()
        assert await first.channel() is None
    async with DatabaseCluster(tmp_path, program=program, managed=True, semi_sync=True) as cluster:
        assert await cluster.find_primary() is None


async def answers(node: Mysqld) -> bool:
    try:
        return not await node.is_writable()
    except ServerError:
        return False


async def test_servers_are_reached_where_it_is_said(tmp_path: Path, program: ServerProgram) -> None:
    """As at a proxy that can cut them off."""
    address = Address("127.0.0.1", free_port())
    port = free_port()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, other_writer), copy(other_reader, writer))

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        except OSError:
            pass  # the other end was reset
        writer.close()

    async with await asyncio.start_server(relay, address.host, address.port):
        async with DatabaseCluster(
            tmp_path, program=program, ports=[port, 0], addresses={"mysql1": address}
        ) as cluster:
            assert f"@{address}/app" in cluster.primary.dsn
            assert f"@{address}/app" in cluster.primary.admin_dsn
            assert cluster.primary.port == port
            async with cluster._nodes["mysql2"].administration() as admin:
                row = (await admin.run(cluster._nodes["mysql2"]._flavour.show_replication))[0]
                assert address.port in row.values()
