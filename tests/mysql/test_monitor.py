from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lbkit.mysql.dsn import Dsn
from lbkit.mysql.gtid import GtidSet
from lbkit.mysql.monitor import Monitor
from lbkit.mysql.observation import Observation, Reach
from lbkit.mysql.topology import Change, Role, Topology
from tests.mysql.test_driver import tcp_server
from tests.mysql.test_watch import Script
from tests.support.databases import LivePair


@asynccontextmanager
async def watching(
    topology: Topology, told: list[Change], interval: float = 60, timeout: float = 2
) -> AsyncIterator[Monitor]:
    monitor = Monitor(topology, interval, timeout, told.extend)
    await monitor.start()
    try:
        yield monitor
    finally:
        await monitor.stop()


def topology(*dsns: Dsn) -> Topology:
    return Topology(dsns, "round_robin", random.Random(7))


async def test_roles_are_known_after_the_start(pair: LivePair) -> None:
    found = topology(*(Dsn.parse(dsn).named(name) for name, dsn in pair.dsns.items()))
    async with watching(found, []):
        assert found.require_primary().name == pair.primary.name
        assert [found.role(member) for member in found.members] == [Role.PRIMARY, Role.REPLICA]


async def test_a_server_that_refuses_is_down_at_once_and_hinders_nobody() -> None:
    async with tcp_server(lambda reader, writer: None) as dsn:
        pass
    found = topology(dsn)
    told: list[Change] = []
    async with watching(found, told):
        assert found.primary is None
        assert [change.text for change in told] == ["is down: Connection refused"]


async def test_a_silent_server_is_down_and_costs_no_more_than_its_timeout() -> None:
    async with tcp_server(lambda reader, writer: None) as dsn:
        found = topology(dsn)
        started = asyncio.get_running_loop().time()
        told: list[Change] = []
        async with watching(found, told, timeout=0.05):
            assert [change.text for change in told] == ["is down: silent for 0.05 s"]
        assert asyncio.get_running_loop().time() - started < 2


async def test_a_probe_is_made_when_asked_for() -> None:
    async with tcp_server(lambda reader, writer: writer.close()) as dsn:
        found = topology(dsn)
        async with watching(found, []) as monitor:
            member = found.members[0]
            before = member.health.changed_at
            member.health.assume_up(before)
            monitor.wake(dsn.name)
            async with asyncio.timeout(5):
                while member.up:
                    await asyncio.sleep(0)


async def test_stop_leaves_nothing_behind(pair: LivePair) -> None:
    found = topology(Dsn.parse(pair.primary.dsn))
    before = asyncio.all_tasks()
    async with watching(found, [], interval=0.01):
        await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == before


async def test_lag_and_position_are_known(pair: LivePair) -> None:
    found = topology(*(Dsn.parse(dsn).named(name) for name, dsn in pair.dsns.items()))
    async with watching(found, []):
        primary, replica = found.members
        assert primary.lag == 0.0
        assert replica.lag is not None
        assert primary.is_mariadb is (pair.flavour == "mariadb")
        assert GtidSet.parse(primary.position)


async def test_a_primary_that_comes_back_is_compared_with_the_others_first() -> None:
    """It was only silent, and another one was opened since the others were looked at last."""
    dsns = [Dsn(name).named(name) for name in ("db1", "db2")]
    found = topology(*dsns)
    told: list[Change] = []
    monitor = Monitor(found, 60, 1, told.extend)
    scripts = {
        "db1": Script([Observation("db1", writable=True)]),
        "db2": Script([Observation("db2"), Observation("db2", writable=True)]),
    }
    monitor._probes = scripts  # type: ignore[assignment]  # fakes
    await monitor.start()
    for now in (1.0, 2.0):
        found.failed("db1", "silent", True, now)
    assert found.primary is None
    monitor.wake("db1")
    async with asyncio.timeout(5):
        while found.primary is None:
            await asyncio.sleep(0)
    assert found.require_primary().name == "db2"
    await monitor.stop()


async def test_who_asks_for_a_look_at_everybody_shares_the_next_one() -> None:
    scripts = {"db1": Script([Observation("db1", writable=True)]), "db2": Script([Observation("db2")])}
    found = topology(*(Dsn(name).named(name) for name in scripts))
    monitor = Monitor(found, 3600, 1, lambda changes: None)
    monitor._probes = scripts  # type: ignore[assignment]  # fakes
    await monitor.start()
    assert await asyncio.gather(*(monitor.look() for _ in range(10))) == [True] * 10
    assert [script.looks for script in scripts.values()] == [3, 3]  # one was at work when the others came
    scripts["db2"].lines = [Observation("db2", Reach.SILENT, "silent")]
    assert not await monitor.look()
    await monitor.stop()
