"""``lbkit bench relays`` and ``lbkit bench http``: lbkit beside no proxy and beside other proxies."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from lbkit.bench import clients, http_mode
from lbkit.bench.contenders import Contender, Finders, Selection, find_program, select
from lbkit.bench.figures import MEASURES, NO_PROXY, REFERENCE, Figures, Measure
from lbkit.bench.idle import raise_file_limit
from lbkit.bench.marks import MARKS, Mark, Verdict, judge
from lbkit.bench.pictures import figure, write_picture
from lbkit.bench.relays import CASES, FEWEST_ROUNDS, IDLE, Case, Plan, Run, machine, run
from lbkit.cluster.report import Report
from lbkit.cluster.report import console as report_console
from lbkit.commands.output import json_option, progress_bars, table_console, wants_table, write_json
from lbkit.errors import LbkitError

__all__ = ["Suite", "bench", "http_command", "options", "relays_command"]

_WIDE = 110
"""Columns of a terminal in which the tables have room for everything."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A comparison; its ratios are to the path *reference*, which is called *to*."""

    cases: Sequence[Case]
    measures: Mapping[str, Measure]
    marks: Sequence[Mark]
    among: Callable[[Report, bool], Finders] | None = None
    has_idle: bool = False
    reference: str = REFERENCE
    to: str = "HAProxy"


RELAYS = Suite(CASES, MEASURES, MARKS, has_idle=True)
HTTP = Suite(http_mode.CASES, http_mode.MEASURES, http_mode.MARKS, http_mode.finders)


class _Missed(LbkitError):
    """A mark was not met."""


Command: TypeAlias = Callable[..., None]


def options(suite: Suite, paths: str) -> Callable[[Command], Command]:
    """The options that each command has."""
    keys = [case.key for case in suite.cases] + ([IDLE] if suite.has_idle else [])
    decorators = [
        click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True),
        click.option(
            "--seconds",
            type=click.FloatRange(0.1, 600),
            default=2.0,
            show_default=True,
            help="Length of a round.",
        ),
        click.option(
            "--case",
            "cases",
            type=click.Choice(keys),
            multiple=True,
            help="Only this case; repeat it. All without.",
        ),
        click.option(
            "--path", "paths", metavar="NAME", multiple=True, help=f"Only this path: {paths}; repeat it."
        ),
        json_option,
        click.option(
            "--plot",
            metavar="FILE.png",
            type=click.Path(path_type=Path),
            help="Draw the ratios into this picture.",
        ),
        click.option("--own-client", is_flag=True, help="Take the bundled client even where wrk is there."),
        click.option(
            "--fetch/--no-fetch",
            default=True,
            help="Get wrk, HAProxy and nginx where they are missing, as private copies (Debian, no root "
            "needed).",
        ),
    ]

    def decorate(command: Command) -> Command:
        for one in reversed(decorators):
            command = one(command)
        return command

    return decorate


@click.command("relays")
@options(RELAYS, "none, auto, a relay of `lbkit list`, haproxy, nginx, proxy.py, naive")
@click.option(
    "--idle-connections",
    type=click.IntRange(100, 9000),
    default=2000,
    show_default=True,
    help="How many to measure memory with.",
)
def relays_command(**options: Any) -> None:
    """Measure lbkit's relays beside no proxy, HAProxy, nginx, proxy.py and a naive proxy.

    \b
    One thread each, the same server and client for all, in alternated rounds; some ten minutes.
    Printed are medians, spread and ratios to HAProxy. Only the ratios of one run mean something.
    Cases: small (612 bytes, 64 connections), medium (64 KiB), big (10 MB), connect (one connection
    a request), low (one connection: added latency), many (1 000 connections), idle (memory).

    \b
    A quick look:     lbkit bench relays --rounds 3 --seconds 1 --case small --case connect
    For the README:   lbkit bench relays --plot docs/pictures/relays.png
    Exit code 1 where a mark is missed in enough rounds to be judged.
    """
    bench(RELAYS, **options)


@click.command("http")
@options(HTTP, "none, lbkit, haproxy, nginx, proxy.py")
def http_command(**options: Any) -> None:
    """Measure lbkit's http mode and TLS beside no proxy, HAProxy, nginx and proxy.py.

    \b
    One thread each, the same server and client for all, in alternated rounds; some eight minutes.
    Printed are medians, spread and ratios to HAProxy. Only the ratios of one run mean something.
    Cases: small (612 bytes, 64 connections), varied (the same, with a browser's fields that change),
    medium (64 KiB), big (10 MB), connect (one connection a request), low (one connection: added
    latency), many (1 000 connections), tls (small), handshake (a full one a request), tls-big.
    What is varied or over TLS needs wrk.

    \b
    A quick look:     lbkit bench http --rounds 3 --seconds 1 --case small --case handshake
    For the README:   lbkit bench http --plot docs/pictures/http.png
    Exit code 1 where a mark is missed in enough rounds to be judged.
    """
    bench(HTTP, **options)


def bench(
    suite: Suite,
    rounds: int,
    seconds: float,
    cases: tuple[str, ...],
    paths: tuple[str, ...],
    json_file: Path | None,
    plot: Path | None,
    own_client: bool,
    fetch: bool,
    idle_connections: int = 0,
) -> None:
    """Measure what *suite* says and show it; raises an error where a mark was missed."""
    if plot is not None:
        figure(Figures(), [], "")  # that matplotlib is missing must not be told after ten minutes
    idle = idle_connections if not cases or IDLE in cases else 0
    raise_file_limit(max(idle, *(case.connections for case in suite.cases)))
    with _Stoppable():
        report = report_console()
        wrk = None if own_client else find_program("wrk", report, fetch=fetch)
        client = clients.wrk_client(wrk, seconds) if wrk else clients.own_client
        selection = select(report, fetch=fetch, keys=paths, among=suite.among)
        chosen = [case for case in suite.cases if not cases or case.key in cases]
        if wrk is None:
            chosen = [case for case in chosen if not case.needs_wrk]
        plan = Plan(selection.contenders, client, chosen, rounds, seconds, idle)
        result = _measured(plan, selection)
    asked = {case.key for case in chosen} | ({IDLE} if idle else set())
    verdicts = judge(result.figures, result.passed_over, suite.marks)
    verdicts = [one for one in verdicts if one.mark.measure.case in asked]
    lines = _conditions(plan, result, "wrk -t1" if wrk else "the bundled asyncio client")
    if json_file is not None:
        write_json(_as_json(suite, plan, result, verdicts, lines), json_file)
    if wants_table(json_file):
        _print(suite, plan, result, verdicts, lines)
    if plot is not None:
        title, measures = f"{lines[0]}\n{lines[1]}", tuple(suite.measures.values())
        write_picture(result.figures, result.contenders, plot, title, measures, suite.marks, suite.reference)
        click.echo(f"wrote {plot}", err=True)
    missed = sum(verdict.met is False for verdict in verdicts)
    if missed and rounds >= FEWEST_ROUNDS:
        raise _Missed(f"{missed} {'mark was' if missed == 1 else 'marks were'} missed")


class _Stoppable:
    """Ctrl-C, SIGTERM and a closed terminal end the block, and the first of them lets it clean up."""

    _NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __enter__(self) -> None:
        self._before = [signal.signal(number, self._stop) for number in self._NUMBERS]

    def __exit__(self, *_: object) -> None:
        for number, before in zip(self._NUMBERS, self._before, strict=True):
            signal.signal(number, before)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        for one in self._NUMBERS:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt


def _measured(plan: Plan, selection: Selection) -> Run:
    """Run the plan below a bar."""
    with progress_bars() as bars:
        task = bars.add_task("starting", total=plan.steps)

        def told(step: str) -> None:
            bars.update(task, description=step, completed=next(done))

        done = iter(range(plan.steps + 1))
        result = run(plan, told)
    result.passed_over = {**selection.passed_over, **result.passed_over}
    return result


def _conditions(plan: Plan, result: Run, client: str) -> list[str]:
    """Where and how it was measured."""
    case = f"median of {plan.rounds} alternated rounds of {plan.seconds:g} s, {client}"
    return [machine(), case, "; ".join(str(one) for one in result.contenders if one.version or one.options)]


# ------------------------------------------------------------------------------------------- tables


def _print(suite: Suite, plan: Plan, result: Run, verdicts: list[Verdict], lines: list[str]) -> None:
    console = table_console()
    for case in plan.cases:
        console.print(_case_table(console, suite, case, result))
    if plan.idle_connections:
        console.print(_idle_table(console, plan, result))
    if verdicts:
        console.print(_marks_table(console, result, verdicts))
    for key, reason in result.passed_over.items():
        console.print(f"without {key}: {reason}", soft_wrap=True, markup=False)
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)
    if plan.rounds < FEWEST_ROUNDS:
        console.print("too few rounds to quote: a median needs at least three", style="yellow")


def _table(console: Console, title: str, *columns: str) -> Table:
    # In 80 columns names would be folded.
    looks: dict[str, Any] = {"box": SIMPLE, "padding": 0} if console.width < _WIDE else {}
    table = Table(title=title, title_justify="left", title_style="bold", **looks)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", no_wrap=not place)
    return table


def _case_table(console: Console, suite: Suite, case: Case, result: Run) -> Table:
    is_big, is_low = case.resource == "/big", case.key == "low"
    rate = ["MB/s"] if is_big else []
    added = ["added µs", f"added, to {suite.to}"] if is_low else []
    latency = ["p50 ms", "p99 ms", *added]
    used = ["own CPU µs", "system CPU µs", "failed"]
    columns = ["path", "requests/s", *rate, "spread", f"to {suite.to}", *latency, *used]
    table = _table(console, case.name, *columns)
    for one in result.contenders:
        if result.figures.samples.get((case.key, one.key)):
            table.add_row(*_case_row(suite, case, one, result.figures))
    return table


def _case_row(suite: Suite, case: Case, one: Contender, figures: Figures) -> list[str]:
    def middle(what: str) -> float | None:
        return figures.median(case.key, one.key, what)

    rate, reference = middle("rate"), figures.median(case.key, suite.reference, "rate")
    spread, speed = figures.spread(case.key, one.key), middle("bytes_rate")
    row = [one.name, _shown(rate, 0)]
    row += [_shown(None if speed is None else speed / 1e6, 0)] if case.resource == "/big" else []
    row.append("–" if spread is None else f"±{100 * spread:.0f} %")
    row.append(_shown(rate / reference if rate is not None and reference else None, 2))
    row += [_shown(middle("p50_ms"), 3), _shown(middle("p99_ms"), 3)]
    if case.key == "low":
        added = figures.added_ms(case.key, one.key)
        row.append(_shown(None if added is None else added * 1000, 0))
        row.append(_shown(MEASURES["added"].ratio(figures, one.key), 2))
    row.append(_shown(middle("own_us") if one.key != NO_PROXY else None, 1))
    row.append(_shown(middle("system_us"), 1))
    return [*row, str(figures.failures(case.key, one.key))]


def _idle_table(console: Console, plan: Plan, result: Run) -> Table:
    title = f"memory: {plan.idle_connections} idle connections, each after one request; median of 3 processes"
    table = _table(console, title, "path", "KiB each", "to HAProxy")
    for one in result.contenders:
        if (size := result.figures.idle_bytes(one.key)) is not None:
            table.add_row(
                one.name, f"{size / 1024:.2f}", _shown(MEASURES["idle"].ratio(result.figures, one.key), 2)
            )
    return table


def _marks_table(console: Console, result: Run, verdicts: Sequence[Verdict]) -> Table:
    """Each mark with the ratio of the path that it is for, and those of lbkit's other paths."""
    own = [one for one in result.contenders if one.name.startswith("lbkit")]
    table = _table(console, "marks: ratios", "what", "to", "mark", *(one.name for one in own), "")
    names = {one.key: one.name for one in result.contenders}
    for verdict in verdicts:
        mark = verdict.mark
        cells = []
        for one in own:
            ratio = mark.measure.ratio(result.figures, one.key, mark.reference)
            shown = _shown(ratio, 3 if mark.bound < 0.1 else 2)
            cells.append(f"[bold]{shown}[/bold]" if one.key == mark.path else f"[dim]{shown}[/dim]")
        said = {True: "[green]met[/green]", False: "[red]missed[/red]", None: "not judged"}[verdict.met]
        reason = f": {verdict.reason}" if verdict.reason else ""
        to = names.get(mark.reference, mark.reference)
        table.add_row(mark.measure.name, to, f"{mark.sign} {mark.bound:g}", *cells, f"{said}{reason}")
    return table


def _shown(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


# --------------------------------------------------------------------------------------------- JSON


def _as_json(
    suite: Suite, plan: Plan, result: Run, verdicts: list[Verdict], lines: list[str]
) -> dict[str, Any]:
    figures = result.figures
    return {
        "conditions": lines,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "enough_rounds": plan.rounds >= FEWEST_ROUNDS,
        "paths": [
            {"key": one.key, "name": one.name, "version": one.version, "options": one.options}
            for one in result.contenders
        ],
        "passed_over": result.passed_over,
        "cases": [
            {
                "case": case.key,
                "path": one.key,
                "requests_per_second": figures.median(case.key, one.key, "rate"),
                "spread": figures.spread(case.key, one.key),
                "failures": figures.failures(case.key, one.key),
                "samples": [asdict(sample) for sample in figures.samples[case.key, one.key]],
            }
            for case in plan.cases
            for one in result.contenders
        ],
        "idle_bytes": dict(figures.idle),
        "ratios": {
            key: {one.key: measure.ratio(figures, one.key, suite.reference) for one in result.contenders}
            for key, measure in suite.measures.items()
        },
        "marks": [
            {
                "what": verdict.mark.measure.name,
                "path": verdict.mark.path,
                "reference": verdict.mark.reference,
                "bound": verdict.mark.bound,
                "less_is_better": verdict.mark.measure.less_is_better,
                "ratio": verdict.ratio,
                "met": verdict.met,
                "reason": verdict.reason,
            }
            for verdict in verdicts
        ],
    }
