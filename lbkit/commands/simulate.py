"""``lbkit simulate``: algorithms in virtual time, and published experiments again."""

from __future__ import annotations

import importlib.resources
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from lbkit.commands.output import chosen, json_option, progress_bars, table_console, wants_table, write_json
from lbkit.config.values import parse_duration
from lbkit.errors import ConfigError, LbkitError
from lbkit.registry import nearest
from lbkit.simulation import Result, Scenario, load_scenario, simulate
from lbkit.simulation.papers import PAPERS, Paper, Report
from lbkit.simulation.plots import write_plots
from lbkit.simulation.report import COLUMNS, as_json, describe, rows

__all__ = ["simulate_command"]

_WIDE = 100
"""Columns of a terminal in which the table has room for everything."""
_PATIENCE = 1.0
"""Seconds after which a run deserves a progress bar."""


@click.command("simulate")
@click.argument("scenario", metavar="[SCENARIO]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--algorithm", "algorithms", metavar="NAME", multiple=True, help="In place of the file's; repeat it."
)
@click.option("--seed", type=int, help="In place of the file's.")
@click.option("--requests", type=click.IntRange(1), help="In place of the file's end.")
@click.option("--duration", metavar="TIME", help="In place of the file's end, such as 30s.")
@json_option
@click.option(
    "--plot",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Write PNG pictures into this folder, or all in one into FILE.png.",
)
@click.option(
    "--paper", metavar="NAME", help=f"Rerun a published experiment: all, {', '.join(sorted(PAPERS))}."
)
@click.option("--quick", is_flag=True, help="With --paper: a small version, in seconds.")
@click.option("--example", is_flag=True, help="Print a commented scenario to start from.")
def simulate_command(
    scenario: Path | None,
    algorithms: tuple[str, ...],
    seed: int | None,
    requests: int | None,
    duration: str | None,
    json_file: Path | None,
    plot: Path | None,
    paper: str | None,
    quick: bool,
    example: bool,
) -> None:
    """Run balancing algorithms on simulated servers, as the file SCENARIO says.

    \b
    Start with:  lbkit simulate --example > scenario.toml
                 lbkit simulate scenario.toml --plot pictures
    The pools and algorithms are those that balance live traffic. The same seed gives the same result.
    """
    if sum((scenario is not None, paper is not None, example)) != 1:
        raise ConfigError("give one of SCENARIO, --paper NAME and --example (see lbkit simulate --help)")
    if example:
        click.echo(_example(), nl=False)
    elif paper is not None:
        _run_papers(paper, quick, json_file)
    elif scenario is not None:
        changes = _changes(algorithms, seed, requests, duration)
        _run_scenario(scenario, changes, json_file, plot)


def _example() -> str:
    return importlib.resources.files("lbkit.simulation").joinpath("example.toml").read_text("utf-8")


def _changes(
    algorithms: tuple[str, ...], seed: int | None, requests: int | None, duration: str | None
) -> dict[str, Any]:
    """What the flags put in place of the file's keys; None takes a key away."""
    changes: dict[str, Any] = {}
    if algorithms:
        changes["algorithms"] = chosen(algorithms)
    if seed is not None:
        changes["seed"] = seed
    if requests is not None or duration is not None:
        changes |= {"requests": requests, "duration": duration}
    if duration is not None:
        try:
            parse_duration(duration)
        except ValueError as error:
            raise ConfigError(f"--duration: {error}") from None
    return changes


# ------------------------------------------------------------------------------------- a scenario


def _run_scenario(file: Path, changes: dict[str, Any], json_file: Path | None, plot: Path | None) -> None:
    scenario, skipped = load_scenario(file, changes)
    for line in skipped:
        click.echo(f"lbkit: {line}", err=True)
    with _Bar(scenario) as bar:
        results = simulate(scenario, progress=bar.advance)
    if not results[0].requests:
        seconds = f"{scenario.warmup:g} s"
        click.echo(f"lbkit: all requests came within the warm-up of {seconds}: none was counted", err=True)
    if json_file is not None:
        write_json(as_json(scenario, results), json_file)
    if wants_table(json_file):
        _print_results(scenario, results)
    if plot is not None:
        for path in write_plots(results, plot, describe(scenario, results)):
            click.echo(f"wrote {path}", err=True)


def _print_results(scenario: Scenario, results: Sequence[Result]) -> None:
    console = table_console()
    # In 80 columns names would be folded and the reasons of errors make rows of five lines.
    is_narrow = console.width < _WIDE
    looks: dict[str, Any] = {"box": SIMPLE, "padding": 0} if is_narrow else {}
    table = Table(title=describe(scenario, results), title_justify="left", title_style="", **looks)
    for column in COLUMNS:
        left = column in ("algorithm", "errors")
        is_whole = not left or is_narrow
        table.add_column(column, justify="left" if left else "right", no_wrap=is_whole, overflow="fold")
    reasons = []
    for row, result in zip(rows(results), results, strict=True):
        *cells, errors, imbalance = row
        if is_narrow and result.errors:
            reasons.append(f"errors with {result.algorithm}: {errors}")
            errors = errors.partition("(")[2].partition(":")[0]
        table.add_row(*cells, errors, imbalance)
    console.print(table)
    for line in reasons:
        console.print(line)


class _Bar:
    """A progress bar on stderr, if that is a terminal and the run takes longer than a moment."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._began = time.monotonic()
        self._console = Console(stderr=True)
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        expected = scenario.expected_duration()
        self._duration = expected if 0 < expected < float("inf") else 1.0

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def advance(self, algorithm: str, requests: int, now: float) -> None:
        """So many requests of *algorithm* are through."""
        if self._progress is None:
            if not self._console.is_terminal or time.monotonic() - self._began < _PATIENCE:
                return
            self._progress = self._start()
        part = max(now / self._duration, requests / (self._scenario.requests or float("inf")))
        for name, task in self._tasks.items():
            if name == algorithm:
                self._progress.update(task, completed=min(part, 1.0))
                return
            self._progress.update(task, completed=1.0)

    def _start(self) -> Progress:
        progress = progress_bars(self._console)
        self._tasks = {name: progress.add_task(name, total=1.0) for name in self._scenario.algorithms}
        progress.start()
        return progress


# ----------------------------------------------------------------------------------------- papers


class _Missed(LbkitError):
    """A published number was not met."""


def _run_papers(name: str, quick: bool, json_file: Path | None) -> None:
    if name != "all" and name not in PAPERS:
        raise ConfigError(f'--paper: unknown paper "{name}"{nearest(name, {**PAPERS, "all": None})}')
    wanted = list(PAPERS.values()) if name == "all" else [PAPERS[name]]
    console = table_console()
    document: dict[str, Any] = {}
    missed = 0
    for paper in wanted:
        report = Report()
        with Console(stderr=True).status(f"{paper.name} …"):
            paper.run(report, quick)
        if wants_table(json_file):
            _print_paper(console, paper, report)
        missed += sum(not row.ok for row in report.rows)
        document[paper.name] = {
            "source": paper.source,
            "rows": [
                {
                    "what": row.what,
                    "published": row.published,
                    "measured": row.measured,
                    "tolerance": row.tolerance,
                    "ok": row.ok,
                }
                for row in report.rows
            ],
        }
    if json_file is not None:
        write_json({"papers": document}, json_file)
    if missed:
        raise _Missed(f"{missed} published {'number was' if missed == 1 else 'numbers were'} not met")


def _print_paper(console: Console, paper: Paper, report: Report) -> None:
    title = f"[bold]{paper.name}[/bold]: {paper.summary}\n{paper.source}"
    table = Table(title=title, title_justify="left", title_style="")
    for column in ("what", "published", "measured", "tolerance", ""):
        table.add_column(column, overflow="fold")
    for row in report.rows:
        verdict = "[green]met[/green]" if row.ok else "[red]missed[/red]"
        table.add_row(row.what, row.published, row.measured, row.tolerance, verdict)
    console.print(table)
