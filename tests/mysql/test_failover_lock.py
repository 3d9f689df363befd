"""Both locks keep the one contract."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lbkit.mysql.etcd_lock import EtcdLock
from lbkit.mysql.failover_lock import FailoverLock, LockState
from lbkit.mysql.majority_lock import MajorityLock
from tests.support.databases import LivePair
from tests.support.etcd import running_etcd

pytestmark = pytest.mark.xdist_group("mariadb")

ALL = {"mysql1", "mysql2"}
Make = Callable[[], FailoverLock]


@pytest.fixture(params=["servers", "etcd"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    if request.param == "servers":
        pair: LivePair = request.getfixturevalue("managed_pair")
        dsns = {dsn.name: dsn for dsn in pair.admin_dsns}
        yield lambda: MajorityLock(dsns, 5)
    else:
        with running_etcd(tmp_path) as etcd:
            yield lambda: EtcdLock(etcd.client(), "lbkit/failover/main", 2)


@pytest.fixture
def flavour() -> str:
    """One is enough: that locks are the same on both is tested elsewhere."""
    return "mariadb"


async def test_one_has_it(make: Make) -> None:
    first, second = make(), make()
    assert not first.held
    assert await first.take(ALL, "mysql1") == ""
    assert first.held
    assert (await second.take(ALL, "mysql1")).startswith("another lbkit acts: ")
    assert not second.held
    assert first.held
    await first.release()
    assert not first.held
    assert await second.take(ALL, "mysql1") == ""
    await second.release()


async def test_it_can_be_taken_again_and_given_up_twice(make: Make) -> None:
    lock = make()
    await lock.release()
    for _ in range(3):
        assert await lock.take(ALL, None) == ""
        await lock.release()
        await lock.release()
        assert not lock.held


async def test_a_look_tells_who_has_it_and_takes_nothing(make: Make) -> None:
    first, second = make(), make()
    free = await second.look(ALL, "mysql1")
    assert (free.holder, free.obstacle) == ("", "")
    assert not second.held
    assert await first.take(ALL, "mysql1") == ""
    taken = await second.look(ALL, "mysql1")
    assert taken.holder
    assert not taken.obstacle
    assert first.held
    await first.release()


async def test_cancelled_it_is_given_up(make: Make) -> None:
    lock, other = make(), make()
    taking = asyncio.create_task(lock.take(ALL, "mysql1"))
    await asyncio.sleep(0)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert not lock.held
    async with asyncio.timeout(10):
        while await other.take(ALL, "mysql1"):
            await asyncio.sleep(0.05)
    await other.release()


def test_what_people_read() -> None:
    assert str(LockState("etcd")) == "on etcd, free"
    assert str(LockState("etcd", "db-a, process 7")) == "on etcd, held by db-a, process 7"
    assert str(LockState("servers", obstacle="too few")) == "on servers, cannot be taken: too few"
    assert LockState("etcd", "x").as_data() == {"kept_on": "etcd", "holder": "x", "obstacle": ""}
