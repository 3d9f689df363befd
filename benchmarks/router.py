"""What the MySQL router costs, and whether it keeps its word: ``python -m benchmarks.router``.

On a primary and a replica of each flavour that it starts itself:

- ``cost``: SELECT 1, one after the other: over a held aiomysql connection, aiomysql's pool and the router,
  which take turns; the medians count. Client and server are kept on a processor each: where the scheduler
  puts a connection's thread decides otherwise between 40 and 80 µs, and stays so for as long as it lives.
  Mark: the router at most 15 µs above the held connection.
- ``throughput`` (MySQL): 16 users at once on one loop, by the router and, each on an aiomysql connection,
  through MySQL Router (a plain read-only route, which is less work for it than its read/write port; that one
  takes an InnoDB Cluster). Mark: at least 1.5 times as many reads.
- ``stale``: users write and read what they wrote, in the same task, and by token over another router, while
  replication stands still or lags at random. Mark: 0 stale of 10 000.
- ``killed``: 1 000 reads a second while the replica is killed and comes back, and again. Mark: 0 errors.

Exit code 1 when a mark is missed.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import random
import signal
import socket
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import aiomysql
import click
import uvloop
from rich.console import Console
from rich.table import Table

from lbkit.cluster.database import Flavour, find_server
from lbkit.cluster.packages import Wanted, fetch
from lbkit.cluster.pair import DatabaseCluster
from lbkit.cluster.report import LineReport
from lbkit.errors import StartFailed
from lbkit.mysql import Dsn, PoolLimits, Router, RouterOptions

__all__ = ["main"]

MOST_ADDED, LEAST_RATIO = 15.0, 1.5
READS, USERS = 200, 16
RATE = 1000
MYSQL_ROUTER = Wanted("mysql-router", ("mysql-router",), ("mysqlrouter",), (("sid",), ("sid", "testing")))


@dataclass(slots=True)
class Row:
    """One figure: *samples* in *unit*; *mark* in words and whether it is *met*, None where there is none."""

    flavour: str
    case: str
    path: str
    unit: str
    samples: list[float] = field(default_factory=list)
    mark: str = ""
    met: bool | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.samples)


def account(dsn: Dsn, port: int = 0) -> dict[str, Any]:
    """What aiomysql takes."""
    return {
        "host": dsn.host, "port": port or dsn.port, "user": dsn.user, "password": dsn.password,
        "db": dsn.database, "autocommit": True, "charset": "utf8mb4",
    }  # fmt: skip


async def over(connection: Any) -> None:
    async with connection.cursor() as cursor:
        await cursor.execute("SELECT 1")
        await cursor.fetchall()


async def cost(flavour: str, replica: Dsn, router: Router, rounds: int) -> list[Row]:
    """Microseconds a read, one after the other."""
    held = await aiomysql.connect(**account(replica))
    pool = await aiomysql.create_pool(**account(replica))

    async def by_held() -> None:
        await over(held)

    async def by_pool() -> None:
        async with pool.acquire() as connection:
            await over(connection)

    async def by_router() -> None:
        await router.fetch_all("SELECT 1")

    ways: dict[str, Callable[[], Awaitable[None]]] = {
        "held aiomysql connection": by_held, "aiomysql's pool": by_pool, "router": by_router
    }  # fmt: skip
    rows = {path: Row(flavour, "cost", path, "µs a read") for path in ways}
    for _ in range(rounds):
        for path, read in ways.items():
            await read()
            began = perf_counter()
            for _ in range(READS):
                await read()
            rows[path].samples.append((perf_counter() - began) / READS * 1e6)
    added = rows["router"].median - rows["held aiomysql connection"].median
    rows["router"].mark = f"{added:+.1f} µs beside the held connection, at most +{MOST_ADDED:g}"
    rows["router"].met = added <= MOST_ADDED
    held.close()
    pool.close()
    await pool.wait_closed()
    return list(rows.values())


@contextmanager
def apart(server: int) -> Iterator[None]:
    """This process on one processor, and that of *server* on another one, where the system can do that."""
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        yield
        return
    allowed = os.sched_getaffinity(0)
    ours, theirs = sorted(allowed)[:2]
    try:
        keep_on({ours}, os.getpid())
        keep_on({theirs}, server)
        yield
    finally:
        keep_on(allowed, os.getpid())
        keep_on(allowed, server)


def keep_on(processors: set[int], pid: int) -> None:
    """All threads of a process; those that it begins later have it of the one that begins them."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), processors)


@asynccontextmanager
async def mysql_router(replica: Dsn, program: Path) -> AsyncIterator[int]:
    """MySQL Router with one read-only route to *replica*; its port."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        config = configuration(Path(folder), program, port, replica)
        nothing = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(program, "-c", config, stdout=nothing, stderr=nothing)
        try:
            async with asyncio.timeout(20):
                while not await answers(port):
                    if process.returncode is not None:
                        raise StartFailed(f"MySQL Router ended with exit code {process.returncode}")
                    await asyncio.sleep(0.05)
            yield port
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


def configuration(folder: Path, program: Path, port: int, replica: Dsn) -> Path:
    """MySQL Router's file."""
    plugins = program.resolve().parent.parent / "root/usr/lib/mysqlrouter/plugin"
    file = folder / "router.conf"
    file.write_text(
        f"[DEFAULT]\nlogging_folder={folder}\nruntime_folder={folder}\ndata_folder={folder}\n"
        f"plugin_folder={plugins}\nmax_total_connections=200\n"
        f"[routing:read]\nbind_address=127.0.0.1\nbind_port={port}\n"
        f"destinations={replica.host}:{replica.port}\nrouting_strategy=round-robin\nprotocol=classic\n"
        "client_ssl_mode=PASSTHROUGH\nserver_ssl_mode=AS_CLIENT\n"
    )
    return file


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


async def answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def throughput(replica: Dsn, router: Router, rounds: int) -> list[Row]:
    """Reads a second of 16 users at once."""
    rows = [Row("mysql", "throughput", path, "reads/s") for path in ("MySQL Router", "router")]
    program = await asyncio.to_thread(lambda: fetch(MYSQL_ROUTER, LineReport()).program("mysqlrouter"))
    async with mysql_router(replica, program) as port:
        theirs = [await aiomysql.connect(**account(replica, port)) for _ in range(USERS)]

        async def through(number: int) -> None:
            for _ in range(READS):
                await over(theirs[number])

        async def ours(number: int) -> None:
            for _ in range(READS):
                await router.fetch_all("SELECT 1")

        for _ in range(rounds):
            for row, user in zip(rows, (through, ours), strict=True):
                began = perf_counter()
                await asyncio.gather(*(user(number) for number in range(USERS)))
                row.samples.append(USERS * READS / (perf_counter() - began))
        for connection in theirs:
            connection.close()
    ratio = rows[1].median / rows[0].median
    rows[1].mark = f"{ratio:.2f} times MySQL Router's, at least {LEAST_RATIO:g}"
    rows[1].met = ratio >= LEAST_RATIO
    return rows


async def stale(flavour: str, cluster: DatabaseCluster, dsns: dict[str, str], checks: int) -> Row:
    """Checks that did not show the checker's own write."""
    row = Row(flavour, "stale", "router", f"stale of {checks}", mark="0 stale", met=False)
    rng = random.Random(7)
    options = RouterOptions(wait_for_writes=0.1, max_lag=float("inf"), pool=PoolLimits(size=20))
    word = "SLAVE" if flavour == "mariadb" else "REPLICA"
    replica = cluster._nodes[cluster.replicas[0].name]
    wrong = done = 0
    over_now = asyncio.Event()

    async def disturb() -> None:
        """Stands still for up to 200 ms, or goes in jerks that are shorter than the wait."""
        async with replica.administration() as admin:
            while not over_now.is_set():
                await admin.run(f"STOP {word} SQL_THREAD")
                await asyncio.sleep(rng.uniform(0, 0.2) if rng.random() < 0.3 else rng.uniform(0, 0.02))
                await admin.run(f"START {word} SQL_THREAD")
                await asyncio.sleep(rng.uniform(0, 0.1))

    async with Router(dsns, options) as first, Router(dsns, options) as second:
        await first.execute("CREATE TABLE IF NOT EXISTS bench_stale (id INT PRIMARY KEY, value INT)")
        await first.execute("DELETE FROM bench_stale")
        served: dict[str, int] = {}

        async def user(number: int) -> None:
            nonlocal wrong, done
            await first.execute("INSERT INTO bench_stale VALUES (%s, 0)", [number])
            value = 0
            while done < checks:
                value += 1
                token = (
                    await first.execute("UPDATE bench_stale SET value = %s WHERE id = %s", [value, number])
                ).token
                sql = f"SELECT value FROM bench_stale WHERE id = {number}"
                for rows in await asyncio.gather(first.fetch_all(sql), second.fetch_all(sql, after=token)):
                    done += 1
                    wrong += rows != [{"value": value}]
                    served[rows.server] = served.get(rows.server, 0) + 1

        disturbing = asyncio.create_task(disturb())
        await asyncio.gather(*(user(number) for number in range(16)))
        over_now.set()
        await disturbing
        await first.execute("DROP TABLE bench_stale")
    shares = ", ".join(f"{server} {count * 100 // done} %" for server, count in sorted(served.items()))
    row.samples, row.met = [float(wrong)], wrong == 0 and len(served) == 2
    row.mark = f"0 stale; answered by {shares}"
    return row


async def killed(flavour: str, cluster: DatabaseCluster, router: Router, seconds: float) -> Row:
    """Errors of 1 000 reads a second while the replica is killed."""
    errors: list[str] = []
    reads: set[asyncio.Task[None]] = set()
    kills = answered = 0
    slowest = 0.0

    async def read() -> None:
        nonlocal answered, slowest
        began = perf_counter()
        try:
            await router.fetch_all("SELECT 1")
            answered += 1
        except Exception as error:  # noqa: BLE001 - whatever it is counts
            errors.append(f"{type(error).__name__}: {error}")
        slowest = max(slowest, perf_counter() - began)

    loop = asyncio.get_running_loop()
    began = loop.time()
    next_kill = began + 0.5
    for number in range(int(seconds * RATE)):
        await asyncio.sleep(max(0.0, began + number / RATE - loop.time()))
        task = asyncio.create_task(read())
        reads.add(task)
        task.add_done_callback(reads.discard)
        if loop.time() >= next_kill and (pid := cluster.replicas[0].pid):
            os.kill(pid, signal.SIGKILL)
            kills += 1
            next_kill = loop.time() + 4
    await asyncio.gather(*reads)
    what = f"errors of {answered + len(errors)}"
    mark = f"0 errors; {kills} kills, the slowest read {slowest * 1000:.0f} ms {errors[:1] or ''}"
    return Row(flavour, "killed", "router", what, [float(len(errors))], mark, not errors and kills > 0)


async def measure(flavour: Flavour, folder: Path, rounds: int, checks: int, seconds: float) -> list[Row]:
    """All cases on one flavour."""
    report = LineReport()
    program = await asyncio.to_thread(find_server, flavour, report)
    cluster = DatabaseCluster(folder, program=program, supervise=True, report=report)
    await cluster.start()
    try:
        dsns = {server.name: server.dsn for server in cluster.servers}
        replica = Dsn.parse(cluster.replicas[0].dsn)
        async with Router(dsns, RouterOptions(pool=PoolLimits(size=USERS))) as router:
            with apart(cluster.replicas[0].pid):
                rows = await cost(flavour, replica, router, rounds)
            if flavour == "mysql":
                try:
                    rows += await throughput(replica, router, rounds)
                except StartFailed as error:
                    rows.append(Row(flavour, "throughput", f"not measured: {error}", "", [0.0]))
            rows.append(await stale(flavour, cluster, dsns, checks))
            rows.append(await killed(flavour, cluster, router, seconds))
        return rows
    finally:
        await cluster.stop()


def show(rows: list[Row]) -> Table:
    """The medians and marks."""
    table = Table(title="the MySQL router")
    for column in ("flavour", "case", "path", "median", "unit", "mark"):
        table.add_column(column, justify="right" if column == "median" else "left")
    for row in rows:
        colour = {None: "{}", True: "[green]{}[/]", False: "[red]missed: {}[/]"}[row.met]
        median = f"{row.median:,.0f}" if row.median >= 100 or not row.median % 1 else f"{row.median:.1f}"
        table.add_row(row.flavour, row.case, row.path, median, row.unit, colour.format(row.mark))
    return table


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--flavour", "flavours", multiple=True, type=click.Choice(["mysql", "mariadb"]), help="Default: both."
)
@click.option("--rounds", type=click.IntRange(1, 1000), default=30, show_default=True)
@click.option("--checks", type=click.IntRange(1), default=10_000, show_default=True, help="Of case stale.")
@click.option("--seconds", type=click.FloatRange(1), default=20.0, show_default=True, help="Of case killed.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all samples here, too.")
def main(
    flavours: tuple[Flavour, ...], rounds: int, checks: int, seconds: float, json_file: Path | None
) -> None:
    """Measure the MySQL router; exit code 1 when a mark is missed."""
    rows: list[Row] = []
    for flavour in flavours or ("mysql", "mariadb"):
        with tempfile.TemporaryDirectory() as folder:
            rows += uvloop.run(measure(flavour, Path(folder), rounds, checks, seconds))
    output = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    output.print(show(rows))
    machine = f"{platform.system()} {platform.release()}, {os.cpu_count()} cores"
    where = f"{machine}, Python {platform.python_version()}, uvloop; medians of {rounds} alternated rounds"
    output.print(where, soft_wrap=True)
    if json_file is not None:
        document = {"conditions": where, "results": [asdict(row) for row in rows]}
        json_file.write_text(json.dumps(document, indent=1), "utf-8")
    sys.exit(1 if any(row.met is False for row in rows) else 0)


if __name__ == "__main__":
    main()
