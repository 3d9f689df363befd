"""``lbkit bench``: a scenario live and simulated; lbkit beside others is in `proxies` and `servers`."""

from __future__ import annotations

import asyncio
import math
import signal
from pathlib import Path
from typing import Any

import click
from rich.progress import TaskID
from rich.table import Table

from lbkit.bench.algorithms import DEFAULT, Comparison, compare
from lbkit.commands.output import chosen, json_option, progress_bars, table_console, wants_table, write_json
from lbkit.commands.proxies import http_command, relays_command
from lbkit.commands.servers import app_command, static_command
from lbkit.simulation import Result, Scenario, load_scenario, loads_scenario

__all__ = ["bench_command"]


@click.group("bench")
def bench_command() -> None:
    """Benchmarks on real sockets."""


bench_command.add_command(relays_command)
bench_command.add_command(http_command)
bench_command.add_command(app_command)
bench_command.add_command(static_command)


@bench_command.command("algorithms")
@click.argument("scenario", metavar="[SCENARIO]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--algorithm", "algorithms", metavar="NAME", multiple=True, help="In place of the file's; repeat it."
)
@click.option("--duration", metavar="TIME", help="In place of the file's end, such as 10s.")
@json_option
@click.option("--example", is_flag=True, help="Print the scenario that runs where none is given.")
def algorithms_command(
    scenario: Path | None,
    algorithms: tuple[str, ...],
    duration: str | None,
    json_file: Path | None,
    example: bool,
) -> None:
    """Run a scenario of `lbkit simulate` on real slow servers and print live beside simulated.

    \b
    For each algorithm a process with the servers, a balancer, and a client that sends each request
    at its time. Takes as long as the scenario, once for each algorithm. A balancer in Python takes
    some 1000 requests a second on a core: keep rates well under that, or it is what you measure.
    """
    if example:
        click.echo(DEFAULT, nl=False)
        return
    changes: dict[str, Any] = {"algorithms": chosen(algorithms)} if algorithms else {}
    if duration is not None:
        changes |= {"duration": duration, "requests": None}
    if scenario is None:
        wanted, skipped = loads_scenario(DEFAULT, changes)
    else:
        wanted, skipped = load_scenario(scenario, changes)
    for line in skipped:
        click.echo(f"lbkit: {line}", err=True)
    comparisons = asyncio.run(_until_stopped(wanted))
    if json_file is not None:
        rows = [
            {"algorithm": one.algorithm, "live": one.live.as_dict(), "simulated": one.simulated.as_dict()}
            for one in comparisons
        ]
        write_json({"algorithms": rows}, json_file)
    if wants_table(json_file):
        _print(comparisons)


async def _until_stopped(scenario: Scenario) -> list[Comparison]:
    """Like Ctrl-C, SIGTERM and a closed terminal must leave no balancer behind."""
    running = asyncio.create_task(_run(scenario))
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    try:
        return await running
    except asyncio.CancelledError:
        raise click.Abort from None


async def _run(scenario: Scenario) -> list[Comparison]:
    with progress_bars() as bars:
        tasks: dict[str, TaskID] = {name: bars.add_task(name, total=1.0) for name in scenario.algorithms}
        found = []
        async for comparison in compare(
            scenario, lambda name, part: bars.update(tasks[name], completed=part)
        ):
            bars.update(tasks[comparison.algorithm], completed=1.0)
            found.append(comparison)
        return found


def _print(comparisons: list[Comparison]) -> None:
    console = table_console()
    requests = comparisons[0].live.requests if comparisons else 0
    table = Table(title=f"live / simulated, {requests} requests each", title_justify="left", title_style="")
    table.add_column("algorithm")
    for column in ("mean", "p50", "p95", "p99", "errors", "imbalance"):
        table.add_column(column, justify="right")
    for one in comparisons:
        live, simulated = _figures(one.live), _figures(one.simulated)
        table.add_row(one.algorithm, *(f"{a} / {b}" for a, b in zip(live, simulated, strict=True)))
    console.print(table)
    console.print("milliseconds; imbalance: picks of the busiest server in proportion to the mean")


def _figures(result: Result) -> list[str]:
    latency = result.latency
    return [
        *(_short(value * 1000) for value in (latency.mean, *latency.percentiles([0.5, 0.95, 0.99]))),
        str(result.error_count),
        _short(result.imbalance),
    ]


def _short(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3g}" if value < 1000 else f"{value:.0f}"
