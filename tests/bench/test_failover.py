"""Few rounds of what ``make bench-failover`` does many of; these are the marks of failover."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from lbkit.bench.failover import Blow, Round, run_round, until_healthy
from lbkit.mysql import Router
from lbkit.mysql.failover import Failover, FailoverOptions
from tests.support.databases import LivePair


@asynccontextmanager
async def watched(pair: LivePair) -> AsyncIterator[tuple[Failover, Router]]:
    options = FailoverOptions(recovery_block=0, clone=True)
    async with Failover(pair.admin_dsns, options) as failover, Router(pair.dsns) as router:
        assert await until_healthy(failover), failover.status()
        yield failover, router


async def rounds(pair: LivePair, *blows: Blow) -> list[Round]:
    async with watched(pair) as (failover, router):
        found = []
        for blow in blows:
            found.append(await run_round(pair.cluster, failover, router, blow))
            if not await until_healthy(failover):
                # MariaDB has no clone: writes in flight that nobody else has stay a matter for people.
                assert pair.flavour == "mariadb", failover.status()
                assert blow != "switch"
                assert "transactions that" in failover.diagnosis.reason
                pair.is_spoilt = True
                break
        return found


async def test_a_killed_primary_loses_no_acknowledged_write(managed_pair: LivePair) -> None:
    for found in await rounds(managed_pair, "kill", "kill"):
        assert found.acknowledged > 100
        assert (found.lost, found.late) == (0, 0)
        assert found.again < 2.5


async def test_a_stopped_primary_that_goes_on_is_no_second_one(managed_pair: LivePair) -> None:
    (found,) = await rounds(managed_pair, "stop")
    assert (found.lost, found.late) == (0, 0)


async def test_a_switchover_under_load_has_a_short_gap(managed_pair: LivePair) -> None:
    found = await rounds(managed_pair, "switch", "switch")
    for one in found:
        assert (one.lost, one.late, one.unknown) == (0, 0, 0)
    assert (
        min(one.gap for one in found) < 0.5
    )  # the mark of 150 ms is the benchmark's: this machine is shared


@pytest.fixture(autouse=True)
def _needs_both(managed_pair: LivePair) -> None:
    """Before the loop of a test begins: the first start of a pair takes seconds."""


async def test_a_primary_that_stalls_stays_the_primary(managed_pair: LivePair) -> None:
    """For half a second, as a busy machine does; the benchmark does it for ten minutes with every core busy."""
    async with watched(managed_pair) as (failover, _):
        primary = failover.diagnosis.primary
        (server,) = [one for one in managed_pair.cluster.servers if one.name == primary]
        for _ in range(2):
            os.kill(server.pid, signal.SIGSTOP)
            await asyncio.sleep(0.5)
            os.kill(server.pid, signal.SIGCONT)
            await asyncio.sleep(0.5)
        assert failover.promotions == 0
        assert await until_healthy(failover)
        assert failover.diagnosis.primary == primary
