"""A group of three real servers: MySQL elects, lbkit follows."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from lbkit.checks.mysql import MysqlCheck, MysqlCheckOptions, Role
from lbkit.checks.prober import judge
from lbkit.cluster.database import find_server
from lbkit.cluster.pair import DatabaseCluster
from lbkit.cluster.report import LineReport
from lbkit.errors import LbkitError, StartFailed
from lbkit.mysql import Dsn, Router, RouterOptions
from lbkit.mysql.failover import Failover

pytestmark = pytest.mark.xdist_group("group replication")


async def test_a_group_elects_and_lbkit_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = DatabaseCluster(
        tmp_path, program=find_server("mysql", LineReport()), replicas=2, supervise=True, group=True
    )
    async with cluster, asyncio.timeout(120):
        dsns = [Dsn.parse(server.admin_dsn).named(server.name) for server in cluster.servers]
        routed = {server.name: server.dsn for server in cluster.servers}
        options = RouterOptions(monitor_interval=0.1)
        async with Failover(dsns) as failover, Router(routed, options) as router:
            while not failover.diagnosis.healthy:  # a member may take a moment to become one
                await asyncio.sleep(0.05)
            assert failover.diagnosis.primary == cluster.primary.name
            lags = [server["lag"] for server in failover.status()["servers"]]
            assert all(lag is not None for lag in lags)
            await router.execute("CREATE TABLE kept (id INT PRIMARY KEY)")
            monkeypatch.setenv("ADMIN_PASSWORD", dsns[0].password)
            assert await passing(dsns, "primary") == [cluster.primary.name]

            done = await failover.switch()
            assert done.promotes is not None
            old = next(server for server in cluster.servers if server.name == done.promotes)
            await written(router, 1)
            assert await passing(dsns, "primary") == [old.name]
            os.kill(old.pid, signal.SIGKILL)
            await written(router, 2)  # after the group's own time, which is 6 s
            while not failover.diagnosis.healthy:
                await asyncio.sleep(0.05)
            assert failover.diagnosis.primary != old.name
            assert failover.promotions == 0
            rows = await router.fetch_all("SELECT id FROM kept ORDER BY id")
            assert [row["id"] for row in rows] == [1, 2]

            new = str(failover.diagnosis.primary)
            assert await passing(dsns, "primary") == [new]
            others = [dsn.name for dsn in dsns if dsn.name != new]
            while await passing(dsns, "replica") != others:  # who has just joined may be behind for a moment
                await asyncio.sleep(0.05)
            await a_minority_passes_no_check(cluster, dsns, others[0])


async def passing(dsns: list[Dsn], role: Role) -> list[str]:
    """Whom a pool whose health check asks for *role* admits."""
    check = MysqlCheck(MysqlCheckOptions(dsns[0].user, "ADMIN_PASSWORD", role=role))
    verdicts = await asyncio.gather(*(judge(check, dsn.address, 1) for dsn in dsns))
    return [dsn.name for dsn, (passed, _) in zip(dsns, verdicts, strict=True) if passed]


async def a_minority_passes_no_check(cluster: DatabaseCluster, dsns: list[Dsn], alone: str) -> None:
    """A replica that hears nothing of the others goes on calling itself online."""
    stopped = [server.pid for server in cluster.servers if server.name != alone]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        check = MysqlCheck(MysqlCheckOptions(dsns[0].user, "ADMIN_PASSWORD", role="replica"))
        address = next(dsn.address for dsn in dsns if dsn.name == alone)
        while True:
            passed, reason = await judge(check, address, 1)
            if not passed:
                break
            await asyncio.sleep(0.1)  # it takes the group 5 s to find somebody unreachable
        assert reason == "its group has no majority: 1 of 3 members are online"
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


async def written(router: Router, number: int) -> None:
    while True:
        try:
            await router.execute(f"REPLACE INTO kept VALUES ({number})")
            return
        except LbkitError:
            await asyncio.sleep(0.05)


def test_a_group_has_three_members(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 3"):
        DatabaseCluster(tmp_path, replicas=1, group=True)


async def test_mariadb_has_no_groups(tmp_path: Path) -> None:
    program = find_server("mariadb", LineReport())
    with pytest.raises(StartFailed, match="MariaDB has none"):
        await DatabaseCluster(tmp_path, program=program, replicas=2, group=True).start()
