"""A pair whose failovers are agreed upon in etcd: real servers, a real etcd, two that watch."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from lbkit.mysql.etcd_lock import EtcdLock
from lbkit.mysql.failover import Failover, FailoverOptions
from tests.support.databases import LivePair
from tests.support.etcd import LiveEtcd, running_etcd

pytestmark = pytest.mark.xdist_group("mariadb")
KEY = "lbkit/failover/main"


@pytest.fixture
def flavour() -> str:
    """One is enough: what the lock is kept on is no matter of the servers."""
    return "mariadb"


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[LiveEtcd]:
    with running_etcd(tmp_path) as etcd:
        yield etcd


@contextlib.asynccontextmanager
async def two_that_watch(pair: LivePair, etcd: LiveEtcd) -> AsyncIterator[list[Failover]]:
    options = FailoverOptions(recovery_block=0.0, interval=0.1)
    async with contextlib.AsyncExitStack() as stack:
        both = []
        for name in ("one", "two"):
            lock = EtcdLock(etcd.client(timeout=0.5), KEY, 2)
            both.append(Failover(pair.admin_dsns, options, name=name, lock=lock))
            await stack.enter_async_context(both[-1])
        await until_healthy(both)
        yield both


async def until_healthy(both: list[Failover], not_primary: str | None = None) -> None:
    def well() -> bool:
        primaries = {one.diagnosis.primary if one.diagnosis.healthy else None for one in both}
        return len(primaries) == 1 and not primaries & {None, not_primary}

    async with asyncio.timeout(60):
        while not well():
            await asyncio.sleep(0.02)


def kill_primary(pair: LivePair, failover: Failover) -> str:
    old = failover.diagnosis.primary
    os.kill(next(one.pid for one in pair.cluster.servers if one.name == old), signal.SIGKILL)
    return str(old)


async def test_one_of_two_acts(managed_pair: LivePair, etcd: LiveEtcd) -> None:
    async with two_that_watch(managed_pair, etcd) as both:
        old = kill_primary(managed_pair, both[0])
        await until_healthy(both, not_primary=old)
        assert sorted(one.promotions for one in both) == [0, 1]
        await both[0].switch(old)
        await until_healthy(both)
    assert "kvs" not in etcd.ask("kv/range", {"key": "AA==", "range_end": "AA=="})


async def test_without_etcd_nobody_acts_and_says_so(
    managed_pair: LivePair, etcd: LiveEtcd, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lbkit.mysql.failover.LOOK_AT_LOCK", 0.1)
    caplog.set_level(logging.INFO, "lbkit.mysql")
    async with two_that_watch(managed_pair, etcd) as both:
        etcd.kill()
        gone = f"etcd does not answer: {etcd.address}: connection refused"
        async with asyncio.timeout(10):
            while not all(one.lock_state and one.lock_state.obstacle == gone for one in both):
                await asyncio.sleep(0.02)
        assert both[0].status()["lock"] == {"kept_on": "etcd", "holder": "", "obstacle": gone}
        assert "one: no failover until the lock can be taken: etcd does not answer" in caplog.text
        old = kill_primary(managed_pair, both[0])
        async with asyncio.timeout(20):
            while not all(one.refusal == f"the lock cannot be taken: {gone}" for one in both):
                await asyncio.sleep(0.02)
        await asyncio.sleep(1.0)  # long enough for many rounds, and for the old one to start again, read-only
        assert [one.promotions for one in both] == [0, 0]
        assert caplog.text.count(f"one: the lock cannot be taken: {gone}") == 1
        etcd.start()
        await until_healthy(both)
        assert sorted(one.promotions for one in both) == [0, 1]
        assert "one: the lock can be taken again" in caplog.text
        if both[0].diagnosis.primary != old:
            await both[0].switch(old)
            await until_healthy(both)


async def test_who_is_stopped_in_the_middle_gives_the_lock_up(managed_pair: LivePair, etcd: LiveEtcd) -> None:
    dsns = managed_pair.admin_dsns
    lock = EtcdLock(etcd.client(), KEY, 2)
    options = FailoverOptions(auto=False)
    async with Failover(dsns, options, lock=lock) as failover:
        switching = asyncio.create_task(failover.switch())
        async with asyncio.timeout(10):
            while not lock.held:
                await asyncio.sleep(0.001)
        switching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await switching
        assert not lock.held
        assert (await failover.look_at_lock()).holder == ""
        await until_healthy([failover])
