"""A database under faults: what clients saw, and what was lost: ``python -m benchmarks.histories``.

Real servers, semi-synchronous, with lbkit's failover watching them; clients add to a set, write registers and
read them back at once through other connections, move money between accounts and sum it up. Meanwhile, one
after the other, at random: the primary or a replica is killed, stopped, cut off from everybody, or held up
again and again for moments as by a slow disk. When all is mended and quiet, what is there is held against
what clients were told (`lbkit.testing.history`).

Exit code 1 when anything was lost, stale, torn or made up, when the servers are not whole in the end, or when
replicas differ.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, get_args

import click
import uvloop
from rich.console import Console

from lbkit.cluster.database import Flavour, find_server
from lbkit.cluster.report import LineReport
from lbkit.errors import LbkitError, OutcomeUnknown
from lbkit.mysql import Dsn, PoolLimits, Router, RouterOptions
from lbkit.testing.databases import Databases
from lbkit.testing.history import Attempt, End, History, Verdict

__all__ = ["FAULTS", "Run", "main", "run"]

Client = Callable[[], Coroutine[Any, Any, None]]

FAULTS = ("kill", "stop", "partition", "stall", "kill-replica", "partition-replica")
REGISTERS = 4
ACCOUNTS = 5
BALANCE = 100
PAUSE = 0.005
"""Seconds between two things that a client does: the servers are to be disturbed, not to be drowned."""
LOG = "failover.log"
SETTLED = 60.0
"""Seconds for all to be whole again at the end."""


@dataclass(slots=True)
class Run:
    """What came of one run."""

    flavour: str
    seconds: float
    seed: int
    faults: dict[str, int] = field(default_factory=dict)
    gaps: list[float] = field(default_factory=list)
    """Seconds for which no write was acknowledged, of more than a quarter."""
    verdict: Verdict | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong."""
        return self.verdict is not None and self.verdict.is_good and not self.problems


class Clients:
    """All that is done to the database, and noted."""

    def __init__(self, writer: Router, reader: Router, history: History, rng: random.Random) -> None:
        """*reader* stands for another process: only tokens get there."""
        self.is_over = False
        self.gaps: list[float] = []
        self._writer = writer
        self._reader = reader
        self._history = history
        self._rng = rng
        self._next = 0
        self._acknowledged_at = 0.0

    async def prepare(self) -> None:
        """Empty tables."""
        value = ", value INT NOT NULL"
        for name, columns in (("element", ""), ("register", value), ("account", value)):
            await self._writer.execute(f"DROP TABLE IF EXISTS {name}")
            await self._writer.execute(f"CREATE TABLE {name} (id INT PRIMARY KEY{columns}) ENGINE=InnoDB")
        for key in range(REGISTERS):
            await self._writer.execute("INSERT INTO register VALUES (%s, 0)", (key,))
        for key in range(ACCOUNTS):
            await self._writer.execute("INSERT INTO account VALUES (%s, %s)", (key, BALANCE))
        await self._writer.catch_up()
        self._acknowledged_at = monotonic()

    async def work(self) -> None:
        """All of them, until `is_over`."""
        clients: list[Client] = [*[self._add] * 4, *[self._transfer] * 3, self._sum]
        tasks = [asyncio.create_task(self._repeat(client)) for client in clients]
        tasks += [asyncio.create_task(self._write(key)) for key in range(REGISTERS)]
        await asyncio.gather(*tasks)

    async def _repeat(self, client: Client) -> None:
        while not self.is_over:
            await client()
            await asyncio.sleep(PAUSE)

    async def _attempt(self, work: Awaitable[object]) -> End:
        """How *work* ended."""
        try:
            await work
        except OutcomeUnknown:
            return End.UNKNOWN
        except LbkitError:
            return End.REFUSED
        now = monotonic()
        if now - self._acknowledged_at > 0.25:
            self.gaps.append(round(now - self._acknowledged_at, 3))
        self._acknowledged_at = now
        return End.ACKNOWLEDGED

    async def _add(self) -> None:
        value, self._next = self._next, self._next + 1
        attempt = self._history.adds(value, monotonic())
        end = await self._attempt(self._writer.execute("INSERT INTO element VALUES (%s)", (value,)))
        self._history.ends(attempt, end, monotonic())

    async def _write(self, key: int) -> None:
        """One register's only writer; what is read back is its own writes, also elsewhere."""
        while not self.is_over:
            with self._writer.own_writes() as mine:
                for _ in range(20):
                    await self._write_once(key)
                    token, least = mine.token, self._history.least(key)
                    await self._read(self._writer, key, least)
                    await self._read(self._reader, key, least, after=token)
                    await asyncio.sleep(PAUSE)
            await self._read(self._reader, key, self._history.least(key), consistency="strong")

    async def _write_once(self, key: int) -> None:
        attempt: Attempt = self._history.writes(key, monotonic())
        # What was sent and got lost may arrive late: it must not undo what came after it.
        sql = "UPDATE register SET value = %s WHERE id = %s AND value < %s"
        end = await self._attempt(self._writer.execute(sql, (attempt.value, key, attempt.value)))
        self._history.written(key, attempt, end, monotonic())

    async def _read(self, router: Router, key: int, least: int, **how: Any) -> None:
        with suppress(LbkitError):
            row = await router.fetch_one("SELECT value FROM register WHERE id = %s", (key,), **how)
            self._history.reads(key, 0 if row is None else int(row["value"]), least)

    async def _transfer(self) -> None:
        source, target = self._rng.sample(range(ACCOUNTS), 2)
        amount = self._rng.randrange(1, 10)

        async def move(tx: Any) -> None:
            for account in sorted((source, target)):  # in one order, or they lock one another out
                change = -amount if account == source else amount
                await tx.execute("UPDATE account SET value = value + %s WHERE id = %s", (change, account))

        attempt = self._history.transfers(monotonic())
        self._history.ends(attempt, await self._attempt(self._writer.run(move)), monotonic())

    async def _sum(self) -> None:
        with suppress(LbkitError):
            sql = "SELECT SUM(value) AS total FROM account"
            row = await self._reader.fetch_one(sql, consistency="eventual")
            if row is not None:
                self._history.sums(int(row["total"] or 0))


class Trouble:
    """One fault after the other."""

    def __init__(self, servers: Databases, names: tuple[str, ...], rng: random.Random) -> None:
        self.counts: dict[str, int] = {}
        self._servers = servers
        self._names = names
        self._rng = rng

    async def go_on(self, until: float) -> None:
        """Until the moment *until*, with time to recover in between."""
        while (left := until - monotonic()) > 0:
            await asyncio.sleep(min(left, self._rng.uniform(1.0, 2.5)))
            if monotonic() >= until:
                return
            name = self._rng.choice(self._names)
            with suppress(LbkitError):  # nobody is primary right now: the next one, then
                await self._cause(name)
                self.counts[name] = self.counts.get(name, 0) + 1
            await asyncio.to_thread(self._servers.heal)
            await self._recovered(until)

    async def _cause(self, name: str) -> None:
        servers = self._servers
        who = await asyncio.to_thread(lambda: servers.primary)
        if "replica" in name:
            who = self._rng.choice(await asyncio.to_thread(lambda: servers.replicas))
        if name.startswith("kill"):
            servers.kill(who)
            await asyncio.sleep(0.5)
        elif name == "stop":
            servers.freeze(who)
            await asyncio.sleep(self._rng.uniform(0.2, 4.0))
        elif name.startswith("partition"):
            servers.partition(who)
            await asyncio.sleep(self._rng.uniform(0.2, 4.0))
        else:
            for _ in range(self._rng.randrange(3, 8)):
                servers.freeze(who)
                await asyncio.sleep(self._rng.uniform(0.05, 0.4))
                servers.heal()
                await asyncio.sleep(self._rng.uniform(0.02, 0.2))

    async def _recovered(self, until: float) -> None:
        """Wait for a primary and those who follow it, so that the next fault is not one too many."""
        while monotonic() < until + SETTLED:
            with suppress(LbkitError, OSError, TimeoutError):
                await asyncio.to_thread(self._servers.wait_until_whole, 1.0)
                return
            await asyncio.sleep(0.1)


async def run(
    seconds: float,
    flavour: Flavour,
    seed: int,
    folder: Path,
    faults: tuple[str, ...] = FAULTS,
    replicas: int = 2,
) -> Run:
    """One run of *seconds*; raises StartFailed."""
    result = Run(flavour, seconds, seed)
    rng = random.Random(seed)
    program = await asyncio.to_thread(find_server, flavour, LineReport())
    servers = Databases(folder / "servers", program=program, replicas=replicas, managed=True, semi_sync=True)
    await asyncio.to_thread(servers.start)
    try:
        manager = await watch(servers, folder, flavour)
        try:
            await until_watched(folder)
            options = RouterOptions(pool=PoolLimits(size=20))
            async with Router(servers.dsns, options) as writer, Router(servers.dsns, options) as reader:
                history = History(ACCOUNTS * BALANCE)
                clients = Clients(writer, reader, history, rng)
                await clients.prepare()
                trouble = Trouble(servers, faults, rng)
                working = asyncio.create_task(clients.work())
                await trouble.go_on(monotonic() + seconds)
                clients.is_over = True
                await working
                result.faults, result.gaps = trouble.counts, clients.gaps
                await settle(servers, history, result)
        finally:
            with suppress(ProcessLookupError):
                manager.send_signal(signal.SIGTERM)
            await manager.wait()
    finally:
        await asyncio.to_thread(servers.close)
    return result


async def watch(servers: Databases, folder: Path, flavour: Flavour) -> asyncio.subprocess.Process:
    """lbkit's failover for *servers*, in a process of its own."""
    dsns = [Dsn.parse(dsn) for dsn in servers.admin_dsns.values()]
    addresses = ", ".join(f'"{dsn.address}"' for dsn in dsns)
    file = folder / "failover.toml"
    # Faults come within seconds of each other here. What was in flight when a primary died may be errant.
    clone = "true" if flavour == "mysql" else "false"
    file.write_text(
        f'[mysql.main]\nuser = "{dsns[0].user}"\npassword_env = "ADMIN_PASSWORD"\nservers = [{addresses}]\n'
        f'failover = "auto"\nrecovery_block = "0s"\nclone = {clone}\n',
        "utf-8",
    )
    with (folder / LOG).open("wb") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "lbkit",
            "run",
            str(file),
            env={**os.environ, "ADMIN_PASSWORD": dsns[0].password},
            stdout=log,
            stderr=log,
        )


async def until_watched(folder: Path) -> None:
    """Wait until the failover has seen the servers: of what it never saw alive it promotes nobody. Raises
    TimeoutError."""
    until = monotonic() + SETTLED
    while " is healthy" not in (folder / LOG).read_text("utf-8"):
        if monotonic() >= until:
            raise TimeoutError("the failover does not see the servers: see its log")
        await asyncio.sleep(0.05)


async def settle(servers: Databases, history: History, result: Run) -> None:
    """Mend everything, and hold what is there against the notes."""
    await asyncio.to_thread(servers.heal)
    try:
        await asyncio.to_thread(servers.wait_until_whole, SETTLED)
    except (TimeoutError, LbkitError) as error:
        result.problems.append(f"the servers are not whole after {SETTLED:g} s: {error}")
    primary = await asyncio.to_thread(lambda: servers.primary)
    until = monotonic() + SETTLED
    while len(set((found := await contents(servers, primary)).values())) > 1:
        if monotonic() >= until:
            result.problems.append(f"the servers differ: {found}")
            break
        await asyncio.sleep(0.2)
    elements = await asyncio.to_thread(servers.run_on, primary, "SELECT id FROM app.element")
    registers = await asyncio.to_thread(servers.run_on, primary, "SELECT id, value FROM app.register")
    total = await asyncio.to_thread(servers.run_on, primary, "SELECT SUM(value) AS total FROM app.account")
    history.sums(int(total[0]["total"]))
    result.verdict = history.judge(
        [int(row["id"]) for row in elements], {int(row["id"]): int(row["value"]) for row in registers}
    )


async def contents(servers: Databases, primary: str) -> dict[str, tuple[int, int]]:
    """Number and sum of the set's elements on each server."""
    found = {}
    for name in (primary, *(await asyncio.to_thread(lambda: servers.replicas))):
        sql = "SELECT COUNT(*) AS n, SUM(id) AS total FROM app.element"
        rows = await asyncio.to_thread(servers.run_on, name, sql)
        found[name] = int(rows[0]["n"]), int(rows[0]["total"] or 0)
    return found


def show(result: Run, output: Console) -> None:
    """The lines of one run."""
    faults = ", ".join(f"{count} × {name}" for name, count in sorted(result.faults.items())) or "none"
    output.print(f"[bold]{result.flavour}[/bold], {result.seconds:g} s, seed {result.seed}; faults: {faults}")
    output.print(f"  {result.verdict}", soft_wrap=True)
    if result.gaps:
        gaps = sorted(result.gaps)
        median = gaps[len(gaps) // 2]
        output.print(f"  writes paused {len(gaps)} times, median {median:.2f} s, longest {gaps[-1]:.2f} s")
    for line in (*(result.verdict.examples if result.verdict else ()), *result.problems):
        output.print(f"  [red]{line}[/red]", soft_wrap=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seconds", type=click.FloatRange(1), default=60.0, show_default=True, help="Of each run.")
@click.option(
    "--flavour", "flavours", type=click.Choice(get_args(Flavour)), multiple=True, help="Default: both."
)
@click.option("--seed", type=int, help="Default: a new one, which is shown.")
@click.option("--fault", "faults", type=click.Choice(FAULTS), multiple=True, help="Default: all of them.")
@click.option("--replicas", type=click.IntRange(1, 4), default=2, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the results here, too.")
@click.option(
    "--keep", type=click.Path(path_type=Path), metavar="DIR", help="Keep the servers' files and logs here."
)
def main(
    seconds: float,
    flavours: tuple[Flavour, ...],
    seed: int | None,
    faults: tuple[str, ...],
    replicas: int,
    json_file: Path | None,
    keep: Path | None,
) -> None:
    """Disturb real databases under load and say what was lost; exit code 1 when anything was."""
    output = Console(highlight=False)
    seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    results = []
    for flavour in flavours or get_args(Flavour):
        with tempfile.TemporaryDirectory(prefix="lbkit-histories-") as made:
            folder = Path(made) if keep is None else keep.absolute() / flavour
            folder.mkdir(parents=True, exist_ok=True)
            result = uvloop.run(run(seconds, flavour, seed, folder, faults or FAULTS, replicas))
        results.append(result)
        show(result, output)
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(result) for result in results], indent=1), "utf-8")
    sys.exit(0 if all(result.is_good for result in results) else 1)


if __name__ == "__main__":
    main()
