from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from lbkit.errors import ConnectionLost, PromotionRefused, QueryFailed
from lbkit.mysql.driver import Connection, connect
from lbkit.mysql.failover import Failover, FailoverOptions
from lbkit.mysql.gtid import GtidSet
from lbkit.mysql.observation import Observation
from lbkit.mysql.options import RouterOptions
from lbkit.mysql.performer import Performer, StepLimits, _caught_up, step_text
from lbkit.mysql.plan import (
    Apply,
    Approach,
    CatchUp,
    Clone,
    Close,
    Confirm,
    Detach,
    Elect,
    Fence,
    Follow,
    Forget,
    Open,
    Plan,
    Prepare,
    Protect,
    Start,
    Step,
    StopReceiving,
)
from lbkit.mysql.router import Router
from tests.support.databases import LivePair, stalled
from tests.support.loops import until

ALL: list[Step] = [
    StopReceiving("a"), Confirm("a", ("b",)), Apply("a"), Approach("a", "b"), CatchUp("a", "b"), Detach("a"),
    Forget("a"), Protect("a", True),
    Close("a"), Fence("a"), Open("a"), Follow("a", "b"), Prepare("a", "b"), Start("a"), Clone("a", "b"), Elect("a"),
]  # fmt: skip


class Scripted(Performer):
    """Notes the steps and fails where it is told to."""

    def __init__(self, failing: dict[Step, list[BaseException]]) -> None:
        super().__init__({}, {}, ("", ""))
        self.failing = failing
        self.done: list[Step] = []

    async def _do(self, step: Step) -> None:
        if errors := self.failing.get(step):
            raise errors.pop(0)
        self.done.append(step)


PLAN = Plan(
    "switchover from a to b",
    (Close("a"), CatchUp("b", "a"), Open("b"), Follow("a", "b")),
    (Forget("a"), Open("a")),
    "b",
)


async def test_steps_in_their_order() -> None:
    performer = Scripted({})
    await performer.perform(PLAN)
    assert performer.done == list(PLAN.steps)


async def test_a_step_that_fails_before_the_new_one_is_opened_is_undone() -> None:
    performer = Scripted({CatchUp("b", "a"): [QueryFailed(1, "no")], Forget("a"): [QueryFailed(2, "no")]})
    with pytest.raises(PromotionRefused, match="could not wait until b has all that a has: 1: no"):
        await performer.perform(PLAN)
    assert performer.done == [Close("a"), Open("a")]  # whatever became of the rest of it


async def test_cancelled_before_the_new_one_is_opened_it_undoes() -> None:
    """Ctrl-C in a switchover would else leave a database that takes no writes."""
    performer = Scripted({CatchUp("b", "a"): [asyncio.CancelledError()]})
    with pytest.raises(asyncio.CancelledError):
        await performer.perform(PLAN)
    assert performer.done == [Close("a"), Forget("a"), Open("a")]
    performer = Scripted({Open("b"): [asyncio.CancelledError()]})
    with pytest.raises(asyncio.CancelledError):
        await performer.perform(PLAN)
    assert performer.done == [Close("a"), CatchUp("b", "a")]


async def test_nothing_is_undone_once_the_new_one_may_be_open() -> None:
    performer = Scripted({Open("b"): [TimeoutError()]})
    with pytest.raises(PromotionRefused, match="could not open b for writing: not in time"):
        await performer.perform(PLAN)
    assert performer.done == [Close("a"), CatchUp("b", "a")]


async def test_a_lost_connection_is_tried_once_more() -> None:
    performer = Scripted({Close("a"): [ConnectionLost("gone")]})
    await performer.perform(PLAN)
    assert performer.done == list(PLAN.steps)
    performer = Scripted({Close("a"): [ConnectionLost("gone"), ConnectionLost("gone")]})
    with pytest.raises(PromotionRefused, match="could not close a for writing: gone"):
        await performer.perform(PLAN)


async def test_without_the_lock_no_further_step_is_done() -> None:
    performer = Scripted({})
    performer.may_go_on = lambda: len(performer.done) < 2
    with pytest.raises(PromotionRefused, match="given up before open b for writing: the lock is lost"):
        await performer.perform(PLAN)
    assert performer.done == [Close("a"), CatchUp("b", "a")]


def test_every_step_is_said_in_words() -> None:
    texts = [step_text(step) for step in ALL]
    assert len(set(texts)) == len(texts)
    assert all("a" in text.split() for text in texts)
    assert step_text(Protect("a", False)) == "do not let commits on a wait for a replica"


def performer_for(pair: LivePair, **limits: float) -> Performer:
    servers = {dsn.name: dsn for dsn in pair.admin_dsns}
    account = next(iter(servers.values()))
    addresses = {name: dsn.address for name, dsn in servers.items()}
    return Performer(servers, addresses, (account.user, account.password), replace(StepLimits(), **limits))


async def test_a_server_that_is_not_closed_in_time_is_open_after_the_undo(managed_pair: LivePair) -> None:
    """The statement that took too long is killed: it would be carried out when the writer is done."""
    async with Failover(managed_pair.admin_dsns, FailoverOptions(auto=False)) as failover:
        primary = str(failover.diagnosis.primary)
    dsn = {dsn.name: dsn for dsn in managed_pair.admin_dsns}[primary]
    blocker, looker = await connect(dsn, 5), await connect(dsn, 5)
    await blocker.execute("CREATE TABLE IF NOT EXISTS locked (id INT)")
    await blocker.execute("LOCK TABLES locked WRITE")
    plan = Plan("test", (Close(primary),), (Open(primary),))
    async with performer_for(managed_pair, close=0.3) as performer:
        with pytest.raises(PromotionRefused, match="could not close .* not in time"):
            await performer.perform(plan)
    await blocker.execute("UNLOCK TABLES")
    rows = await looker.fetch("SELECT @@global.read_only AS closed")
    assert int(rows[0]["closed"]) == 0
    await blocker.close()
    await looker.close()


async def test_a_replica_that_does_not_come_close_is_not_waited_for_for_ever(
    managed_pair: LivePair, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "lbkit.mysql")
    plan = Plan("test", (Approach(managed_pair.replica.name, managed_pair.primary.name),))
    async with performer_for(managed_pair, approach=0.3) as performer, Router(managed_pair.dsns) as router:
        await performer.perform(plan)
        assert "does not come close" not in caplog.text
        async with stalled(managed_pair):
            await router.execute("CREATE TABLE IF NOT EXISTS behind (id INT)")
            await performer.perform(plan)
            assert "does not come close" in caplog.text


async def test_mariadb_cannot_clone(managed_pair: LivePair) -> None:
    if managed_pair.flavour == "mysql":
        return  # what a clone does is shown by the rounds with a stopped primary
    async with performer_for(managed_pair) as performer:
        with pytest.raises(PromotionRefused, match="MariaDB cannot clone"):
            await performer.perform(Plan("test", (Clone("mysql2", "mysql1"),)))


async def test_a_mariadb_that_was_made_from_a_backup_follows_from_there(managed_pair: LivePair) -> None:
    """Its position is set, and its binary log is empty: that must not be taken for its position."""
    if managed_pair.flavour == "mysql":
        return  # it has one set of transactions for both
    managed_pair.is_spoilt = True  # its history is gone
    async with Failover(managed_pair.admin_dsns, FailoverOptions(auto=False)) as failover:
        first = str(failover.diagnosis.primary)
    replica = next(dsn for dsn in managed_pair.admin_dsns if dsn.name != first)
    connection = await connect(replica, 5)
    other = await connect(next(dsn for dsn in managed_pair.admin_dsns if dsn.name == first), 5)
    await other.execute("CREATE TABLE app.earlier (id INT)")
    await appears(connection, "earlier")
    for sql in ("STOP SLAVE", "RESET MASTER"):
        await connection.execute(sql)
    await other.execute("FLUSH BINARY LOGS")
    (status,) = await other.fetch("SHOW MASTER STATUS")
    await other.execute(f"PURGE BINARY LOGS TO '{status['File']}'")  # nobody can begin at the beginning
    async with performer_for(managed_pair) as performer:
        await performer.perform(Plan("test", (Follow(replica.name, first),)))
    (row,) = await connection.fetch("SHOW SLAVE STATUS")
    assert (row["Slave_IO_Running"], row["Slave_SQL_Running"]) == ("Yes", "Yes")
    await other.execute("CREATE TABLE app.afterwards (id INT)")
    await appears(connection, "afterwards")
    await other.close()
    await connection.close()


def test_how_far_one_that_was_made_from_a_backup_is() -> None:
    executed = GtidSet.parse("0-1-100,0-2-150,1-2-7")

    def caught_up(text: str) -> bool:
        return _caught_up(executed, Observation("a", is_mariadb=True, executed=GtidSet.parse(text)))

    assert caught_up("0-1-100,0-2-150,1-2-7")
    assert caught_up("0-2-150,1-2-7")
    for behind in ("0-2-149,1-2-7", "0-2-150", "0-1-100,1-2-7", "0-1-99,0-2-150,1-2-7", ""):
        assert not caught_up(behind)


async def test_a_mariadb_that_was_made_from_a_backup_can_be_made_the_primary(managed_pair: LivePair) -> None:
    """It does not know who wrote before the last one did, and had what they wrote all the same."""
    if managed_pair.flavour == "mysql":
        return  # a clone knows all of it
    managed_pair.is_spoilt = True
    async with (
        Failover(managed_pair.admin_dsns, FailoverOptions()) as failover,
        Router(managed_pair.dsns, RouterOptions(monitor_interval=0.1, wait_for_primary=20)) as router,
    ):
        await until(lambda: failover.diagnosis.healthy)
        first = str(failover.diagnosis.primary)
        token = (await router.execute("CREATE TABLE backed_up (id INT)")).token
        await failover.switch()
        await until(lambda: failover.diagnosis.healthy)
        await router.execute("INSERT INTO backed_up VALUES (1)")
        assert await router.catch_up(10)
        connection = await connect(next(dsn for dsn in managed_pair.admin_dsns if dsn.name == first), 5)
        for sql in ("STOP SLAVE", "RESET MASTER", "START SLAVE"):
            await connection.execute(sql)
        await connection.close()
        await until(lambda: failover.diagnosis.healthy)
        await failover.switch()
        assert failover.diagnosis.primary == first
        async with asyncio.timeout(5):
            assert await router.fetch_all("SELECT id FROM backed_up", after=token) == [{"id": 1}]


async def appears(connection: Connection, table: str) -> None:
    async with asyncio.timeout(10):
        while not await connection.fetch(f"SHOW TABLES FROM app LIKE '{table}'"):
            await asyncio.sleep(0.01)
