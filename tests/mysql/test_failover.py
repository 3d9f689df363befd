from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lbkit.errors import ConfigError, ConnectFailed, OutcomeUnknown, PromotionRefused
from lbkit.mysql.diagnosis import Verdict
from lbkit.mysql.dialect import dialect_of
from lbkit.mysql.driver import connect
from lbkit.mysql.dsn import Dsn
from lbkit.mysql.failover import Failover, FailoverOptions
from lbkit.mysql.gtid import GtidSet
from lbkit.mysql.observation import Link, Observation, Reach, SemiSync
from lbkit.mysql.plan import Close, Fence, Plan
from lbkit.server import Address
from tests.support.databases import LivePair
from tests.support.loops import until

# ---------------------------------------------------------------- on observations that are made up

NAMES = ("db1", "db2")
LINK = Link(Address("db1", 3306), True, True, lag=0.0)
PRIMARY = Observation("db1", writable=True, semi_sync=SemiSync(waits=True, acknowledges=True, clients=1))
REPLICA = Observation("db2", link=LINK, semi_sync=SemiSync(acknowledges=True))
DEAD = Observation("db1", Reach.REFUSED, "Connection refused")
LOST = Observation("db2", link=Link(Address("db1", 3306), False, True), semi_sync=SemiSync(acknowledges=True))
OPEN = Observation("db2", writable=True)


class Rehearsed(Failover):
    """Sees what it is told, and notes plans instead of carrying them out."""

    def __init__(self, **options: Any) -> None:
        super().__init__([Dsn(name).named(name) for name in NAMES], FailoverOptions(**options))
        self.plans: list[Plan | None] = []
        self.failing = False

    def see(self, *seen: Observation) -> None:
        for one in seen:
            self._watch._keep(one)

    async def round(self, now: float) -> bool:
        return await self._round(self._diagnose(), now)

    async def _act(self, diagnosis: object, make: Callable[[], Plan | None]) -> Plan | str:
        if self.failing:
            raise PromotionRefused("could not")
        made = make()
        assert made is not None
        self.plans.append(made)
        return made


async def test_a_dead_primary_is_replaced() -> None:
    failover = Rehearsed()
    failover.see(PRIMARY, REPLICA)
    assert failover._diagnose().healthy
    failover.see(DEAD, LOST)
    assert await failover.round(1.0)
    assert [plan.promotes for plan in failover.plans if plan] == ["db2"]
    assert failover.promotions == 1


async def test_a_fault_of_its_own_does_not_end_the_watch(caplog: pytest.LogCaptureFixture) -> None:
    failover = Rehearsed(interval=0.01)
    failover.see(PRIMARY, REPLICA)
    rounds = 0

    async def round_(*_: object) -> bool:
        nonlocal rounds
        rounds += 1
        raise ZeroDivisionError

    failover._round = round_  # type: ignore[method-assign]
    watching = asyncio.create_task(failover._run())
    try:
        await until(lambda: rounds > 2)
    finally:
        watching.cancel()
    assert "main: a fault of lbkit; the servers are looked at again" in caplog.text


async def test_a_second_failover_soon_after_is_left_to_people() -> None:
    failover = Rehearsed(recovery_block=60.0)
    failover.see(PRIMARY, REPLICA)
    failover._diagnose()
    failover.see(DEAD, LOST)
    now = asyncio.get_running_loop().time()
    assert await failover.round(now)
    with pytest.raises(
        PromotionRefused, match="the last one was 3. s ago, and a second within 60 s is left to"
    ):
        await failover.round(now + 30.5)
    assert await failover.round(now + 61)


async def test_what_it_saw_of_the_primary_counts_only_if_that_was_the_last_one() -> None:
    """An older answer says nothing about how the primary of today waited."""
    failover = Rehearsed()
    failover.see(PRIMARY, REPLICA)
    failover._diagnose()
    failover._primary = "db2"
    failover.see(DEAD, LOST)
    with pytest.raises(PromotionRefused, match="nobody saw whether db1 waited"):
        await failover.round(1.0)


async def test_no_primary_for_a_moment_is_a_switchover_of_somebody_else() -> None:
    failover = Rehearsed(settle=1.0)
    failover.see(Observation("db1"), REPLICA)
    since = asyncio.get_running_loop().time()
    assert not await failover.round(since + 0.5)
    assert await failover.round(since + 5)


async def test_of_two_that_take_writes_the_one_is_closed_that_was_silent() -> None:
    failover = Rehearsed()
    failover.see(PRIMARY, REPLICA)
    failover._diagnose()
    failover.see(replace(DEAD, reach=Reach.LOST), LOST, OPEN)
    assert failover._diagnose().primary == "db2"
    failover.see(PRIMARY)
    assert failover._diagnose().verdict is Verdict.SPLIT
    assert await failover.round(1.0)
    assert failover.plans == [Plan("close db1", (Fence("db1"),))]


BOTH = GtidSet.parse(f"{'1' * 8}-{'1' * 4}-{'1' * 4}-{'1' * 4}-{'1' * 12}:1-9")
NEW = BOTH | GtidSet.parse(f"{'2' * 8}-{'2' * 4}-{'2' * 4}-{'2' * 4}-{'2' * 12}:1-9")


@pytest.mark.parametrize(
    "successor",
    [Observation("db2", Reach.REFUSED), Observation("db2", executed=NEW, received=NEW)],
    ids=["is down", "was started anew"],
)
async def test_one_that_was_replaced_is_no_primary_either_while_its_successor_takes_no_writes(
    successor: Observation,
) -> None:
    """Its data ends where it stood still; to go on from there loses all that was written since."""
    failover = Rehearsed(clone=True)
    before = replace(PRIMARY, executed=BOTH, received=BOTH)
    failover.see(before, REPLICA)
    failover._diagnose()
    failover.see(replace(DEAD, reach=Reach.LOST), LOST, replace(OPEN, executed=NEW, received=NEW))
    assert failover._diagnose().primary == "db2"
    failover.see(successor, before)
    diagnosis = failover._diagnose()
    assert (diagnosis.verdict, diagnosis.primary) == (Verdict.SPLIT, "db2")
    assert "db1 was replaced by db2 while it was away, and lacks 9 transactions" in diagnosis.reason
    assert await failover.round(1.0)
    assert failover.plans == [Plan("close db1", (Fence("db1"),))]
    failover.see(replace(before, writable=False))
    assert failover._diagnose().primary == "db2"
    failover.see(before)
    assert failover._diagnose().primary == "db1"  # somebody has decided it


async def test_one_that_has_all_of_its_successor_may_be_the_primary_again() -> None:
    """Whoever brought it back and made it the primary was not seen from here."""
    failover = Rehearsed()
    failover.see(replace(PRIMARY, executed=BOTH, received=BOTH), REPLICA)
    failover._diagnose()
    failover.see(replace(DEAD, reach=Reach.LOST), LOST, replace(OPEN, executed=NEW, received=NEW))
    failover._diagnose()
    failover.see(Observation("db2", Reach.REFUSED), replace(PRIMARY, executed=NEW, received=NEW))
    assert failover._diagnose().primary == "db1"
    assert not await failover.round(1.0)


async def test_one_that_was_opened_by_mistake_is_closed_again() -> None:
    failover = Rehearsed()
    failover.see(PRIMARY, REPLICA, replace(REPLICA, writable=True))
    assert await failover.round(1.0)
    assert failover.plans == [Plan("close db2", (Close("db2"),))]


async def test_two_that_were_both_there_are_left_to_people() -> None:
    failover = Rehearsed()
    failover.see(PRIMARY, REPLICA, OPEN)
    assert not await failover.round(1.0)
    status = failover.status()
    assert (status["verdict"], status["primary"], failover.plans) == ("split roles", None, [])
    assert (
        "SET GLOBAL read_only=ON, GLOBAL super_read_only=ON on db1, or SET GLOBAL read_only=ON, GLOBAL super_read_only=ON on db2"
        in status["to_do"]
    )
    assert [bool(server["findings"]) for server in status["servers"]] == [True, True]
    with pytest.raises(PromotionRefused, match="split roles: .*; to do: who is meant to is in doubt"):
        failover.planned()


async def test_of_two_in_doubt_neither_counts_as_the_last_primary() -> None:
    """Both acknowledged writes, so that what the other one has alone is not given up for one that died."""
    failover = Rehearsed()
    failover.see(PRIMARY, OPEN)
    assert failover._diagnose().primary is None
    failover.see(LOST, DEAD)
    with pytest.raises(PromotionRefused, match="nobody saw whether db1 waited"):
        await failover.round(1.0)


async def test_a_repair_that_failed_is_not_tried_all_the_time() -> None:
    failover = Rehearsed()
    idle = Observation("db2", semi_sync=SemiSync(acknowledges=True))
    failover.see(PRIMARY, idle)
    failover.failing = True
    with pytest.raises(PromotionRefused):
        await failover.round(5.0)
    failover.failing = False
    assert not await failover.round(9.0)
    assert await failover.round(11.0)
    assert [str(plan and plan.purpose) for plan in failover.plans] == ["mend db2"]


async def test_a_repair_that_failed_keeps_nobody_from_being_closed() -> None:
    failover = Rehearsed()
    failover.see(PRIMARY, Observation("db2", semi_sync=SemiSync(acknowledges=True)))
    failover.failing = True
    with pytest.raises(PromotionRefused):
        await failover.round(5.0)
    failover.failing = False
    failover.see(replace(REPLICA, writable=True))
    assert await failover.round(5.1)
    assert failover.plans == [Plan("close db2", (Close("db2"),))]


def test_wrong_servers() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        Failover([])
    with pytest.raises(ConfigError, match="same name"):
        Failover([Dsn("db"), Dsn("db")])


def test_replicas_log_in_with_a_password_that_is_kept_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    failover = Failover([Dsn.parse("mysql://admin@db1?password_env=LBKIT_TEST_PASSWORD")])
    for password in ("one", "two"):
        monkeypatch.setenv("LBKIT_TEST_PASSWORD", password)
        assert failover._account == ("admin", password)
    monkeypatch.delenv("LBKIT_TEST_PASSWORD")
    with pytest.raises(ConnectFailed, match=r"\$LBKIT_TEST_PASSWORD is not set"):
        assert failover._account


def test_before_the_first_look() -> None:
    with pytest.raises(RuntimeError):
        _ = Failover([Dsn("db")]).diagnosis
    assert Failover([Dsn("db")]).status()["verdict"] == "unknown"


# ---------------------------------------------------------------- on real servers; rounds are in tests/bench


async def test_a_healthy_pair(managed_pair: LivePair) -> None:
    failover = Failover(managed_pair.admin_dsns, FailoverOptions(auto=False))
    assert (await failover.look()).healthy
    state = json.loads(json.dumps(failover.status()))
    assert state["healthy"]
    roles = {server["role"]: server for server in state["servers"]}
    assert set(roles) == {"primary", "replica"}
    assert roles["replica"]["source"] == roles["primary"]["address"]
    assert roles["primary"]["lag"] == 0.0
    assert roles["replica"]["lag"] is not None  # in whole seconds, by the servers' own account
    assert roles["primary"]["semi_sync"]["waits"]
    await failover.stop()


async def test_a_switchover_that_is_refused_changes_nothing(managed_pair: LivePair) -> None:
    async with Failover(managed_pair.admin_dsns, FailoverOptions(auto=False)) as failover:
        primary = failover.diagnosis.primary
        with pytest.raises(PromotionRefused, match="there is no server db9"):
            await failover.switch("db9")
        with pytest.raises(PromotionRefused, match="is the primary already"):
            await failover.switch(primary)
        assert failover.diagnosis.healthy
        assert failover.diagnosis.primary == primary


async def test_a_switchover_and_back(managed_pair: LivePair) -> None:
    async with Failover(managed_pair.admin_dsns, FailoverOptions(auto=False)) as failover:
        before = failover.diagnosis.primary
        assert failover.planned().promotes != before
        done = await failover.switch()
        async with asyncio.timeout(10):
            while not failover.diagnosis.healthy:
                await asyncio.sleep(0.02)
        assert failover.diagnosis.primary == done.promotes != before
        await failover.switch(before)


async def test_nothing_is_left_behind(managed_pair: LivePair) -> None:
    before = asyncio.all_tasks()
    async with Failover(managed_pair.admin_dsns):
        pass
    assert asyncio.all_tasks() == before


async def test_a_switch_is_refused_where_the_watch_is_stopped_meanwhile(managed_pair: LivePair) -> None:
    async with Failover(managed_pair.admin_dsns, FailoverOptions(auto=False)) as failover:
        switching = asyncio.create_task(failover.switch())
        await asyncio.sleep(0)
        await failover.stop()
        async with asyncio.timeout(10):
            with pytest.raises(PromotionRefused, match="main is no longer watched"):
                await switching


async def test_what_was_in_flight_when_the_primary_died_is_on_both_or_on_none(managed_pair: LivePair) -> None:
    """Nobody was told that it is kept. MariaDB gives it up as it starts; of MySQL the one that has it is opened."""
    managed_pair.run(managed_pair.cluster.find_primary())  # the tests before may have moved the role just now
    primary, replica = managed_pair.primary, managed_pair.replica
    dsns = {dsn.name: dsn for dsn in managed_pair.admin_dsns}
    looking, writing, following = [await connect(dsns[one.name], 5) for one in (primary, primary, replica)]
    try:
        await looking.execute("CREATE TABLE app.in_flight (id INT PRIMARY KEY)")
        await following.execute(dialect_of(following.is_mariadb).stop_receiving)
        write = asyncio.create_task(
            writing.execute("INSERT INTO app.in_flight VALUES (1)", lost=OutcomeUnknown)
        )
        states = f"SELECT state FROM information_schema.processlist WHERE id = {writing.id}"
        while "semi-sync" not in str((await looking.fetch(states))[0]["state"]):
            await asyncio.sleep(0.01)
        await managed_pair.kill(primary)
        with pytest.raises(OutcomeUnknown):
            await write
    finally:
        for connection in (looking, writing, following):
            connection.drop()
    async with Failover(managed_pair.admin_dsns, FailoverOptions(settle=0.5)) as failover:
        await until(lambda: failover.diagnosis.healthy, 30)
    expected = [] if managed_pair.flavour == "mariadb" else [1]
    for dsn in dsns.values():
        connection = await connect(dsn, 5)
        async with asyncio.timeout(10):  # who follows has what came before a moment later
            while [row["id"] for row in await connection.fetch("SELECT id FROM app.in_flight")] != expected:
                await asyncio.sleep(0.05)
        await connection.close()
