"""What a failover costs and loses, on real servers: ``python -m benchmarks.failover``.

Semi-synchronous pairs of MySQL and MariaDB, sixteen writers on a router. Rounds of a killed primary, of one
that is stopped and goes on later, and of a planned switchover; then ``--calm`` seconds in which nothing dies
while every core is busy and the primary stalls for half a second now and then: nobody may be promoted.

A failover watches with its default settings, but that each round may follow the last at once
(``recovery_block = 0``) and that a MySQL server with errant transactions is cloned. MariaDB has no clone:
where the former primary cannot follow, the pair is made anew.

Marks, missed with exit code 1: no acknowledged write lost and none acknowledged by two; after a kill writes
are accepted again in 1 s, median, and 2.5 s, worst; a switchover fails no write of a router's user and has a
gap of at most 150 ms, median; no failover in the calm time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
import platform
import signal
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from lbkit.bench.failover import Blow, Round, run_round, until_healthy
from lbkit.cluster.database import Flavour, find_server
from lbkit.cluster.pair import DatabaseCluster
from lbkit.cluster.report import LineReport, Silent
from lbkit.mysql import Dsn, Router
from lbkit.mysql.failover import Failover, FailoverOptions

__all__ = ["main"]

MEDIAN, WORST, GAP = 1.0, 2.5, 0.15  # seconds
STALL, BETWEEN = 0.5, 2.0  # seconds that a primary is stopped in the calm time, and between two of them
TITLES: dict[Blow, str] = {"kill": "killed", "stop": "stopped", "switch": "switchover"}

Case = tuple[Flavour, Blow]


@asynccontextmanager
async def watched(flavour: Flavour) -> AsyncIterator[tuple[DatabaseCluster, Failover, Router]]:
    """A pair, made for the occasion, whose failover is watched."""
    with tempfile.TemporaryDirectory() as folder:
        cluster = DatabaseCluster(
            folder,
            program=find_server(flavour, LineReport()),
            supervise=True,
            managed=True,
            semi_sync=True,
            report=Silent(),
        )
        async with cluster:
            servers = cluster.servers
            dsns = [Dsn.parse(server.admin_dsn).named(server.name) for server in servers]
            options = FailoverOptions(recovery_block=0, clone=True)
            async with (
                Failover(dsns, options) as failover,
                Router({server.name: server.dsn for server in servers}) as router,
            ):
                await until_healthy(failover)
                yield cluster, failover, router


async def rounds(flavour: Flavour, blow: Blow, count: int) -> list[Round]:
    """*count* rounds, on as few pairs as will do."""
    found: list[Round] = []
    while len(found) < count:
        async with watched(flavour) as (cluster, failover, router):
            healthy = True
            while healthy and len(found) < count:
                found.append(await run_round(cluster, failover, router, blow))
                say(f"{flavour} {TITLES[blow]} {len(found)} of {count}: {found[-1]}")
                healthy = await until_healthy(failover)
    return found


async def calm(flavour: Flavour, seconds: float) -> int:
    """Failovers in *seconds* in which nobody dies, with every core busy and stalls of half a second."""
    burners = [multiprocessing.Process(target=burn, daemon=True) for _ in range(os.cpu_count() or 1)]
    async with watched(flavour) as (cluster, failover, _):
        for burner in burners:
            burner.start()
        try:
            end = asyncio.get_running_loop().time() + seconds
            while asyncio.get_running_loop().time() < end:
                await asyncio.sleep(BETWEEN)
                pid = cluster.primary.pid
                os.kill(pid, signal.SIGSTOP)
                await asyncio.sleep(STALL)
                os.kill(pid, signal.SIGCONT)
        finally:
            for burner in burners:
                burner.kill()
        return failover.promotions


def burn() -> None:
    """Keep one core busy."""
    while True:
        sum(range(10_000))


def missed(found: dict[Case, list[Round]], false_failovers: dict[Flavour, int]) -> list[str]:
    """One line for each mark that is missed."""
    problems = []
    for (flavour, blow), results in found.items():
        case = f"{flavour}, {TITLES[blow]}"
        if lost := sum(one.lost for one in results):
            problems.append(f"{case}: {lost} acknowledged writes lost")
        if late := sum(one.late for one in results):
            problems.append(f"{case}: {late} writes acknowledged by a second primary")
        again = [one.again for one in results]
        if blow == "kill" and (statistics.median(again) > MEDIAN or max(again) > WORST):
            problems.append(
                f"{case}: accepted again after {statistics.median(again):.2f} s, worst {max(again):.2f}"
            )
        if blow == "switch":
            gap = statistics.median(one.gap for one in results)
            failed = sum(one.failed + one.unknown for one in results)
            if gap > GAP:
                problems.append(f"{case}: a gap of {gap * 1000:.0f} ms")
            if failed:
                problems.append(f"{case}: {failed} writes failed")
    problems += [f"{flavour}: {count} false failovers" for flavour, count in false_failovers.items() if count]
    return problems


def show(found: dict[Case, list[Round]]) -> Table:
    """A row for each case."""
    table = Table(title="failover of a semi-synchronous pair under 16 writers", title_justify="left")
    for column in (
        "case",
        "rounds",
        "acknowledged",
        "lost",
        "by two",
        "unknown",
        "failed",
        "again, s",
        "gap, ms",
    ):
        table.add_column(column, justify="left" if column == "case" else "right")
    for (flavour, blow), results in found.items():
        again = [one.again for one in results]
        gaps = [one.gap * 1000 for one in results]
        sums = [str(sum(getattr(one, key) for one in results)) for key in SUMS]
        table.add_row(
            f"{flavour}, {TITLES[blow]}",
            str(len(results)),
            *sums,
            f"{statistics.median(again):.2f} / {max(again):.2f}",
            f"{statistics.median(gaps):.0f} / {max(gaps):.0f}",
        )
    return table


SUMS = ("acknowledged", "lost", "late", "unknown", "failed")


def draw(found: dict[Case, list[Round]], where: Path, title: str) -> None:
    """The time until writes are accepted again, every round as a point, and the marks."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cases = {case: results for case, results in found.items() if case[1] != "stop"}
    figure, axes = pyplot.subplots(figsize=(7, 3.2), layout="constrained")
    for place, (case, results) in enumerate(cases.items()):
        seconds = [one.again if case[1] == "kill" else one.gap for one in results]
        spread = [place + (number / max(1, len(seconds) - 1) - 0.5) * 0.5 for number in range(len(seconds))]
        axes.plot(spread, seconds, "o", markersize=4, color="#0072B2" if case[1] == "kill" else "#E69F00")
        bound = MEDIAN if case[1] == "kill" else GAP
        label = "mark for the median" if place == 0 else "_"
        axes.plot((place - 0.3, place + 0.3), (bound, bound), color="#D55E00", linewidth=2, label=label)
    axes.set_xticks(range(len(cases)), [f"{flavour},\n{TITLES[blow]}" for flavour, blow in cases], fontsize=8)
    axes.set_ylabel("seconds without an accepted write", fontsize=8)
    axes.set_ylim(bottom=0)
    axes.set_title(title, fontsize=8)
    axes.grid(True, axis="y", alpha=0.3)
    axes.legend(fontsize=7)
    where.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(where, dpi=200, format="png")
    pyplot.close(figure)


def conditions() -> str:
    """Where it was measured, in one line."""
    machine = f"{platform.system()} {platform.release()}, {os.cpu_count()} cores"
    return f"{machine}, Python {platform.python_version()}; servers, failover and writers on one machine"


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", "count", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--stops", type=click.IntRange(0, 1000), default=3, show_default=True, help="Rounds of a stop.")
@click.option("--calm", "seconds", type=float, default=600.0, show_default=True, help="Seconds; 0 is none.")
@click.option("--flavour", "flavours", type=click.Choice(["mysql", "mariadb"]), multiple=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all rounds here, too.")
@click.option("--plot", "picture", type=click.Path(path_type=Path), help="Draw them as a PNG.")
@click.option("--log", is_flag=True, help="Show what the failover says.")
def main(
    count: int,
    stops: int,
    seconds: float,
    flavours: Sequence[Flavour],
    json_file: Path | None,
    picture: Path | None,
    log: bool,
) -> None:
    """Measure failover on real pairs; exit code 1 when a mark is missed."""
    if log:
        logging.basicConfig(level="INFO", format="%(relativeCreated)d %(message)s")
    chosen: Sequence[Flavour] = flavours or ("mysql", "mariadb")
    found: dict[Case, list[Round]] = {}
    false_failovers: dict[Flavour, int] = {}
    for flavour in chosen:
        for blow, number in (("kill", count), ("switch", count), ("stop", stops)):
            if number:
                found[flavour, blow] = asyncio.run(rounds(flavour, blow, number))
        if seconds:
            false_failovers[flavour] = asyncio.run(calm(flavour, seconds / len(chosen)))
            say(f"{flavour} calm: {false_failovers[flavour]} failovers")
    output = Console(highlight=False)
    output.print(show(found))
    where = conditions()
    output.print(where, soft_wrap=True)
    problems = missed(found, false_failovers)
    for line in problems:
        output.print(f"[red]missed[/red]: {line}", soft_wrap=True)
    if json_file is not None:
        results = {
            f"{flavour} {blow}": [asdict(one) for one in rows] for (flavour, blow), rows in found.items()
        }
        document = {
            "conditions": where,
            "missed": problems,
            "false_failovers": false_failovers,
            "rounds": results,
        }
        json_file.write_text(json.dumps(document, indent=1), "utf-8")
    if picture is not None:
        draw(found, picture, where)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
