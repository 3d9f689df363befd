"""A group of three real servers: MySQL elects, lbkit follows."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from lbkit.cluster.database import find_server
from lbkit.cluster.pair import DatabaseCluster
from lbkit.cluster.report import LineReport
from lbkit.errors import LbkitError, StartFailed
from lbkit.mysql import Dsn, Router, RouterOptions
from lbkit.mysql.failover import Failover

pytestmark = pytest.mark.xdist_group("group replication")


async def test_a_group_elects_and_lbkit_follows(tmp_path: Path) -> None:
    cluster = DatabaseCluster(
        tmp_path, program=find_server("mysql", LineReport()), replicas=2, supervise=True, group=True
    )
    async with cluster, asyncio.timeout(120):
        dsns = [Dsn.parse(server.admin_dsn).named(server.name) for server in cluster.servers]
        routed = {server.name: server.dsn for server in cluster.servers}
        options = RouterOptions(monitor_interval=0.1)
        async with Failover(dsns) as failover, Router(routed, options) as router:
            assert failover.diagnosis.healthy, failover.status()
            assert failover.diagnosis.primary == cluster.primary.name
            lags = [server["lag"] for server in failover.status()["servers"]]
            assert all(lag is not None for lag in lags)
            await router.execute("CREATE TABLE kept (id INT PRIMARY KEY)")

            done = await failover.switch()
            assert done.promotes is not None
            old = next(server for server in cluster.servers if server.name == done.promotes)
            await written(router, 1)
            os.kill(old.pid, signal.SIGKILL)
            await written(router, 2)  # after the group's own time, which is 6 s
            while not failover.diagnosis.healthy:
                await asyncio.sleep(0.05)
            assert failover.diagnosis.primary != old.name
            assert failover.promotions == 0
            rows = await router.fetch_all("SELECT id FROM kept ORDER BY id")
            assert [row["id"] for row in rows] == [1, 2]


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
