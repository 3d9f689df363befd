"""What a failover costs and loses, on real servers: rounds of kill, stop and switchover under writers.

Each round has sixteen writers on a router, which insert rows with numbers of their own and note every
acknowledgement. Lost is what was acknowledged and is not on the new primary when the round is over
(acknowledged − read, as Jepsen's set test has it). Accepted again is the time from the blow to the first
acknowledged write that was sent after it; a gap is the longest time without any acknowledgement.

A round with a stop has one more writer at each server, which knows no router: it sends to its own server
whatever happens, and so sees what a client with an old connection would see when the server goes on.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from lbkit.cluster.pair import DatabaseCluster, RunningServer
from lbkit.errors import LbkitError, OutcomeUnknown, QueryFailed, StartFailed
from lbkit.mysql import Dsn, Router
from lbkit.mysql.diagnosis import Trouble
from lbkit.mysql.driver import Connection, connect
from lbkit.mysql.failover import Failover

__all__ = ["Blow", "Round", "Writers", "run_round", "until_healthy"]

Blow = Literal["kill", "stop", "switch"]

WRITERS = 16
CONNECT = 60.0  # seconds: one that is stopped is waited for
PAUSE = 0.005  # seconds that a writer waits after an error
STEADY = 0.5  # seconds of undisturbed writing before the blow, and after it
HEALTHY = 30.0  # seconds for a killed server to be back in its place; a clone takes some
AGAIN = 30.0  # seconds in which writes must be accepted again


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A write of *number* by *server*, with the loop's times."""

    number: int
    server: str
    sent: float
    answered: float


@dataclass(frozen=True, slots=True)
class Round:
    """What one round gave; times in seconds.

    `failed` writes surely did not happen and were told so, `unknown` may have; `lost` were acknowledged.
    `late` were acknowledged by the old primary, sent after the new one had acknowledged: two at a time.
    """

    blow: Blow
    acknowledged: int
    failed: int
    unknown: int
    lost: int
    late: int
    again: float
    gap: float


@dataclass(slots=True)
class Writers:
    """Writers of numbers into the table of one round; `start`, then `stop`, then look."""

    router: Router
    direct: tuple[Dsn, ...] = ()
    acknowledged: list[Acknowledged] = field(default_factory=list)
    failed: int = 0
    unknown: int = 0
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self) -> None:
        """Make the table anew and begin to write."""
        await self.router.execute("DROP TABLE IF EXISTS written")
        await self.router.execute("CREATE TABLE written (id BIGINT PRIMARY KEY, server VARCHAR(20))")
        self._tasks = [asyncio.create_task(self._write()) for _ in range(WRITERS)]
        self._tasks += [asyncio.create_task(self._write_to(dsn)) for dsn in self.direct]

    async def stop(self) -> None:
        """End; a write that is on its way is not counted."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        for number in self._numbers:
            sent = loop.time()
            try:
                result = await self.router.execute(f"INSERT INTO written VALUES ({number}, '')")
            except LbkitError as error:
                await self._fail(error)
            else:
                self.acknowledged.append(Acknowledged(number, result.server, sent, loop.time()))

    async def _write_to(self, dsn: Dsn) -> None:
        connection: Connection | None = None
        try:
            for number in self._numbers:
                try:
                    if connection is None or connection.closed:
                        if connection:
                            connection.drop()
                        connection = await connect(dsn, CONNECT)
                    await self._insert(connection, number)
                except LbkitError:
                    await asyncio.sleep(PAUSE)  # most of them are refused most of the time
        finally:
            if connection:
                await connection.close()

    async def _insert(self, connection: Connection, number: int) -> None:
        loop = asyncio.get_running_loop()
        sent = loop.time()
        await connection.execute(f"INSERT INTO written VALUES ({number}, '')", lost=OutcomeUnknown)
        self.acknowledged.append(Acknowledged(number, connection.server, sent, loop.time()))

    async def _fail(self, error: LbkitError) -> None:
        if isinstance(error, OutcomeUnknown):
            self.unknown += 1
        else:
            self.failed += 1
        await asyncio.sleep(PAUSE)


async def run_round(cluster: DatabaseCluster, failover: Failover, router: Router, blow: Blow) -> Round:
    """One round on a healthy cluster; raises StartFailed when writes are not accepted again in 30 s."""
    loop = asyncio.get_running_loop()
    old = _server(cluster, str(failover.diagnosis.primary))
    direct = tuple(Dsn.parse(server.dsn).named(server.name) for server in cluster.servers)
    writers = Writers(router, direct if blow == "stop" else ())
    await writers.start()
    try:
        await asyncio.sleep(STEADY)
        struck = loop.time()
        await _strike(blow, old, failover)
        await _until_accepted(writers, old.name, struck)
        if blow == "stop":
            os.kill(old.pid, signal.SIGCONT)
        await asyncio.sleep(STEADY)
    finally:
        await writers.stop()
        if blow == "stop":
            os.kill(old.pid, signal.SIGCONT)
    # What the table of the new primary lacks, it lacks for good; there is nobody else to ask.
    new = _server(cluster, str(failover.diagnosis.primary))
    return _result(blow, writers.acknowledged, writers, await _read(new), old.name, struck)


async def until_healthy(failover: Failover) -> bool:
    """Wait until everything is in its place again.

    False when that takes more than half a minute, or is left to people: MariaDB has no clone that could take
    the place of a server with errant transactions.
    """

    def is_over() -> bool:
        is_errant = any(finding.trouble is Trouble.ERRANT for finding in failover.diagnosis.findings)
        return failover.diagnosis.healthy or (is_errant and failover.observations[0].is_mariadb)

    return await _within(HEALTHY, is_over) and failover.diagnosis.healthy


async def _within(seconds: float, true: Callable[[], bool]) -> bool:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not true():
        if loop.time() > end:
            return False
        await asyncio.sleep(PAUSE)
    return True


async def _strike(blow: Blow, old: RunningServer, failover: Failover) -> None:
    if blow == "kill":
        os.kill(old.pid, signal.SIGKILL)
    elif blow == "stop":
        os.kill(old.pid, signal.SIGSTOP)
    else:
        await failover.switch()


async def _until_accepted(writers: Writers, old: str, struck: float) -> None:
    found = writers.acknowledged
    if not await _within(
        AGAIN, lambda: any(one.sent > struck and one.server != old for one in reversed(found))
    ):
        raise StartFailed(f"no write was accepted within {AGAIN:.0f} s")


async def _read(server: RunningServer) -> set[int]:
    connection = await connect(Dsn.parse(server.dsn), 5.0)
    try:
        return {int(row["id"]) for row in await connection.fetch("SELECT id FROM written")}
    except QueryFailed:
        return set()  # without the table everything is lost
    finally:
        await connection.close()


def _result(
    blow: Blow, found: list[Acknowledged], writers: Writers, kept: set[int], old: str, struck: float
) -> Round:
    by_new = [one for one in found if one.server != old and one.answered > struck]
    promoted = min((one.answered for one in by_new), default=float("inf"))
    answered = sorted(one.answered for one in found)
    return Round(
        blow,
        acknowledged=len(found),
        failed=writers.failed,
        unknown=writers.unknown,
        lost=len({one.number for one in found} - kept),
        late=sum(1 for one in found if one.server == old and one.sent > promoted),
        again=min((one.answered for one in by_new if one.sent > struck), default=float("inf")) - struck,
        gap=max((after - before for before, after in itertools.pairwise(answered)), default=0.0),
    )


def _server(cluster: DatabaseCluster, name: str) -> RunningServer:
    return next(server for server in cluster.servers if server.name == name)
