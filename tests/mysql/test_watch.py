from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from lbkit.mysql.dsn import Dsn
from lbkit.mysql.gtid import GtidSet
from lbkit.mysql.observation import Link, Observation, Reach, SemiSync
from lbkit.mysql.watch import Watch
from lbkit.server import Address

ONE = Observation("db1", writable=True)
TWO = Observation("db2", link=Link(Address("db1", 3306), True, True, lag=0.0))
SILENT = Observation("db1", Reach.SILENT, "silent")


class Script:
    """A probe that says what it is told to; the last line again and again."""

    def __init__(self, lines: Iterable[Observation]) -> None:
        self.lines = list(lines)
        self.looks = 0
        self.ending = asyncio.Event()

    async def look(self) -> Observation:
        self.looks += 1
        return self.lines.pop(0) if len(self.lines) > 1 else self.lines[0]

    async def ended(self) -> None:
        await self.ending.wait()
        self.ending.clear()

    async def close(self) -> None:
        return


def watch(interval: float = 60, **scripts: Script) -> Watch:
    found = Watch([Dsn(name).named(name) for name in scripts], interval, 1)
    found._probes = scripts  # type: ignore[assignment]  # fakes
    return found


def keep(found: Watch, *seen: Observation) -> list[Reach]:
    for one in seen:
        found._keep(one)
    return [one.reach for one in found.observations]


async def test_one_silent_look_is_forgiven_and_two_are_not() -> None:
    found = watch(db1=Script([ONE]))
    assert keep(found, ONE, SILENT) == [Reach.ANSWERS]
    assert keep(found, ONE, SILENT) == [Reach.ANSWERS]
    assert keep(found, SILENT) == [Reach.SILENT]


async def test_a_refusal_counts_at_once() -> None:
    found = watch(db1=Script([ONE]))
    assert keep(found, ONE, Observation("db1", Reach.REFUSED)) == [Reach.REFUSED]


async def test_only_what_is_new_is_told() -> None:
    found = watch(db1=Script([ONE]), db2=Script([TWO]))
    for one in (ONE, TWO):
        found._keep(one)
    assert found.changed.is_set()
    found.changed.clear()
    assert TWO.link is not None
    for one in (ONE, replace(TWO, link=replace(TWO.link, lag=3.0))):
        found._keep(one)
    assert not found.changed.is_set()
    found._keep(replace(ONE, semi_sync=SemiSync(waits=True)))
    assert found.changed.is_set()


async def test_what_a_server_said_as_a_primary_is_kept() -> None:
    found = watch(db1=Script([ONE]))
    keep(found, ONE, Observation("db1", Reach.REFUSED))
    assert found.last_writable["db1"] is ONE


OPEN = replace(TWO, link=None, writable=True)


async def test_who_is_replaced_while_it_is_away() -> None:
    found = watch(db1=Script([ONE]), db2=Script([TWO]))
    keep(found, ONE, TWO, SILENT, SILENT)
    assert found.away == {"db1"}
    keep(found, OPEN)
    assert found.replaced == {"db1"}
    keep(found, ONE)  # it was only silent
    assert found.replaced == {"db1"}
    keep(found, replace(ONE, writable=False))
    assert found.replaced == set()


async def test_who_was_there_when_another_one_was_opened_is_not_replaced() -> None:
    found = watch(db1=Script([ONE]), db2=Script([TWO]))
    keep(found, ONE, TWO, OPEN)
    keep(found, SILENT, SILENT, OPEN, ONE)  # nor by being away for a moment afterwards
    assert found.replaced == set()
    full = watch(db1=Script([ONE]), db2=Script([TWO]))
    keep(full, ONE, TWO, Observation("db1", Reach.DENIED, "Too many connections"), OPEN)
    assert full.replaced == set()  # it is there, and takes writes


async def test_who_is_away_from_the_beginning_may_have_been_replaced() -> None:
    found = watch(db2=Script([OPEN]), db1=Script([SILENT]))
    await found.look_once()
    assert found.replaced == {"db1"}
    found._keep(Observation("db2", Reach.REFUSED))
    found._keep(replace(OPEN, writable=False))
    found._keep(ONE)
    assert found.replaced == set()  # it is the only one


async def test_who_was_replaced_stays_so_while_its_successor_has_what_it_lacks() -> None:
    written = GtidSet.parse("0-2-9")
    found = watch(db1=Script([ONE]), db2=Script([TWO]), db3=Script([TWO]))
    keep(found, ONE, TWO, SILENT, SILENT, replace(OPEN, received=written))
    keep(found, replace(TWO, received=written), ONE)
    assert found.replaced == {"db1"}
    keep(found, replace(ONE, executed=written))  # it has followed it since
    assert found.replaced == set()
    keep(found, SILENT, SILENT, OPEN, TWO, replace(TWO, name="db3", received=written), ONE)
    assert found.replaced == set()  # that one never took any


async def test_the_end_of_a_connection_has_everybody_looked_at() -> None:
    one, two = Script([ONE, Observation("db1", Reach.REFUSED)]), Script([TWO])
    found = watch(db1=one, db2=two)
    await found.start()
    assert (one.looks, two.looks) == (1, 1)
    one.ending.set()
    async with asyncio.timeout(5):
        while two.looks < 2:
            await asyncio.sleep(0)
    assert [seen.reach for seen in found.observations] == [Reach.REFUSED, Reach.ANSWERS]
    await found.stop()


async def test_looking_again_waits_for_looks_that_begin_now() -> None:
    two = Script([TWO, replace(TWO, offline=True)])
    found = watch(db1=Script([ONE]), db2=two)
    await found.start()
    async with asyncio.timeout(5):
        seen = await found.look_again()
    assert seen[1].offline
    await found.stop()


async def test_a_silent_server_is_not_waited_for() -> None:
    class Hangs(Script):
        async def look(self) -> Observation:
            if self.looks >= 1:
                await asyncio.Event().wait()
            return await super().look()

    found = watch(db1=Hangs([SILENT]), db2=Script([TWO]))
    await found.start()
    async with asyncio.timeout(5):
        await found.look_again()
    await found.stop()


async def test_who_waits_for_a_look_is_not_left_waiting_by_the_end() -> None:
    class Hangs(Script):
        async def look(self) -> Observation:
            if self.looks >= 1:
                self.looks += 1
                await asyncio.Event().wait()
            return await super().look()

    found = watch(db1=Script([ONE]), db2=Hangs([TWO]))
    await found.start()
    async with asyncio.timeout(5):
        waiting = [asyncio.create_task(found.look_again()) for _ in range(3)]
        while len(found._orders["db2"]) < 2 and found._probes["db2"].looks < 2:  # type: ignore[attr-defined]
            await asyncio.sleep(0)
        await found.stop()
        assert await asyncio.gather(*waiting) == [[ONE, TWO]] * 3
        assert await found.look_again() == [ONE, TWO]
