"""``lbkit plan``: yesterday's traffic against tomorrow's configuration, in virtual time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from lbkit.commands.output import json_option, progress_bars, table_console, wants_table, write_json
from lbkit.config import Config, ListenerConfig, PoolConfig, load
from lbkit.errors import ConfigError
from lbkit.pool import Pool
from lbkit.registry import nearest
from lbkit.runtime import catalog, make_pool
from lbkit.simulation.access_log import AccessLogTrace, AccessRecord, read_access_log
from lbkit.simulation.replay import Outcome, Replay, capacities_of, measured

__all__ = ["plan_command"]

_LONGEST_NAME = 24
"""Characters of a file's name that are shown: the last ones."""


@click.command("plan")
@click.argument("new", metavar="NEW.toml", type=click.Path(path_type=Path))
@click.option(
    "--trace",
    "log",
    metavar="ACCESS.log",
    type=click.Path(path_type=Path),
    required=True,
    help="lbkit's access_log, or nginx's combined format with request times at the end.",
)
@click.option(
    "--old",
    metavar="OLD.toml",
    type=click.Path(path_type=Path),
    help="What runs now; without it the old side is the log as recorded.",
)
@click.option(
    "--pool", "wanted", metavar="NAME", help="Only this pool; all requests of an nginx log go to it."
)
@click.option(
    "--concurrency",
    type=click.IntRange(1),
    help="Requests that a server can do at a time (default: the most that each had in the log).",
)
@click.option("--seed", type=int, default=1, show_default=True)
@json_option
def plan_command(
    new: Path,
    log: Path,
    old: Path | None,
    wanted: str | None,
    concurrency: int | None,
    seed: int,
    json_file: Path | None,
) -> None:
    """Replay recorded traffic against the configuration NEW.toml, and with its busiest server gone.

    \b
    Record:  access_log = "access.log" in a listener of mode http; nginx: its combined format with
             $request_time $upstream_response_time at the end.
    Plan:    lbkit plan new.toml --trace access.log --old lbkit.toml
    Nothing is sent anywhere. The servers are modelled by what the log tells of them: how long each took,
    and how many requests each had at a time.
    """
    config = load(new, catalog())
    before = None if old is None else load(old, catalog())
    if wanted is not None and wanted not in config.pools:
        raise ConfigError(f'--pool: {new} has no pool "{wanted}"{nearest(wanted, config.pools)}')
    with _Bars({}) as bars:
        trace = read_access_log(log, bars.of_reading(log))
    groups, left_out = _by_pool(trace, config, wanted)
    for line in (*_skipped(trace), *left_out):
        click.echo(f"lbkit: {line}", err=True)
    if not groups:
        raise ConfigError(f"{log}: no request is for a pool of {new}")
    for name, records in groups.items():
        if all(math.isnan(record.served) for record in records):
            raise ConfigError(f'{log}: no server answered a request for pool "{name}": nothing to plan with')
    plans = {}
    shown = _short_names(new, old)
    with _Bars(shown) as bars:
        for name, records in groups.items():
            plan = _Plan(name, records, seed, concurrency, bars)
            plans[name] = plan.run((str(new), config), None if before is None else (str(old), before))
    if json_file is not None:
        write_json({"pools": {name: _as_json(rows) for name, rows in plans.items()}}, json_file)
    if wants_table(json_file):
        for name, rows in plans.items():
            _print(name, rows, shown)


def _skipped(trace: AccessLogTrace) -> list[str]:
    if not trace.skipped:
        return []
    return [
        *trace.problems,
        f"{trace.name}: {trace.skipped} lines skipped, {len(trace.records)} requests read",
    ]


def _by_pool(
    trace: AccessLogTrace, config: Config, wanted: str | None
) -> tuple[dict[str, list[AccessRecord]], list[str]]:
    """The requests of each pool of *config*, and what is left out."""
    groups: dict[str, list[AccessRecord]] = {}
    strangers: dict[str, int] = {}
    answered_here = 0
    only = wanted or (next(iter(config.pools)) if len(config.pools) == 1 else None)
    for record in trace.records:
        if not record.is_forwarded:
            answered_here += 1
            continue
        pool = record.pool or only or ""
        if pool not in config.pools or (wanted is not None and pool != wanted):
            strangers[pool] = strangers.get(pool, 0) + 1
        else:
            groups.setdefault(pool, []).append(record)
    notes = [
        f"{trace.name}: {count} requests left out: "
        + (f'pool "{pool}" is not planned for' if pool else "the log names no pool; say which by --pool")
        for pool, count in sorted(strangers.items())
    ]
    if answered_here:
        notes.append(f"{trace.name}: {answered_here} requests left out: no pool was asked for them")
    return {pool: _named(records, config.pools[pool]) for pool, records in groups.items()}, notes


def _named(records: list[AccessRecord], pool: PoolConfig) -> list[AccessRecord]:
    """nginx logs a server's address, where the configuration knows its name, in each pool another."""
    names = {str(server.address): server.name for server in pool.servers}
    return [
        record._replace(server=names[record.server]) if record.server in names else record
        for record in records
    ]


class _Plan:
    """One pool: the rows of its table."""

    def __init__(
        self,
        pool: str,
        records: Sequence[AccessRecord],
        seed: int,
        concurrency: int | None,
        bars: _Bars,
    ) -> None:
        capacities = capacities_of(records)
        if concurrency is not None:
            capacities = {
                name: replace(capacity, concurrency=concurrency) for name, capacity in capacities.items()
            }
        self._pool = pool
        self._records = records
        self._seed = seed
        self._replay = Replay(records, capacities, seed=seed)
        self._bars = bars

    def run(self, new: tuple[str, Config], old: tuple[str, Config] | None) -> list[Outcome]:
        rows = [measured("the log, as measured", self._records)]
        if any(record.server for record in self._records):
            label = "the log, as simulated"
            rows.append(self._replay.as_recorded(label, self._bars.of(self._pool, label, len(self._records))))
        for side in (old, new):
            if side is not None and self._pool in side[1].pools:
                rows += self._side(*side)
        return rows

    def _side(self, label: str, config: Config) -> list[Outcome]:
        whole = self._simulate(label, config, "")
        assert whole.result is not None
        busiest = max(whole.result.servers, key=lambda server: server.picks).name
        return [whole, self._simulate(f"{label} without {busiest}", config, busiest)]

    def _simulate(self, label: str, config: Config, gone: str) -> Outcome:
        pool = config.pools[self._pool]
        listener = next((item for item in config.listeners.values() if _leads_to(item, self._pool)), None)
        return self._replay.run(
            label,
            pool,
            _maker(self._pool, pool, self._seed),
            gone=gone,
            timeout=0.0 if listener is None else listener.timeouts.server_in(listener.mode),
            queue=0.0 if listener is None else listener.timeouts.queue,
            progress=self._bars.of(self._pool, label, len(self._records)),
        )


def _maker(name: str, config: PoolConfig, seed: int) -> Callable[[], Pool]:
    return lambda: make_pool(name, config, seed)


def _leads_to(listener: ListenerConfig, pool: str) -> bool:
    return listener.pool == pool or any(route.pool == pool for route in listener.routes)


# ------------------------------------------------------------------------------------ what is shown


class _Bars:
    """Progress on stderr, where that is a terminal."""

    def __init__(self, shown: Mapping[str, str]) -> None:
        """*shown* are the names of files as there is room for them."""
        self._shown = shown
        self._progress = progress_bars()

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def of_reading(self, log: Path) -> Callable[[float], None]:
        """What is told the part of *log* that is read."""
        task = self._progress.add_task(f"reading {_cut(log.name)}", total=1.0)
        return lambda part: self._progress.update(task, completed=part)

    def of(self, pool: str, label: str, requests: int) -> Callable[[int, float], None]:
        """What a simulation of *requests* calls now and then."""
        task = self._progress.add_task(f"{pool}: {self._shown.get(label, label)}", total=requests)
        return lambda done, now: self._progress.update(task, completed=done)


def _short_names(new: Path, old: Path | None) -> dict[str, str]:
    """What tables call the files: there is no room for long paths, whose beginnings are often the same."""
    names = {str(new): _cut(new.name)}
    if old is not None and old != new:
        names[str(old)] = _cut(old.name)
        if names[str(old)] == names[str(new)]:
            names = {str(old): f"old {_cut(old.name)}", str(new): f"new {_cut(new.name)}"}
    return names


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else "…" + name[1 - _LONGEST_NAME :]


def _print(pool: str, rows: Sequence[Outcome], shown: Mapping[str, str]) -> None:
    console = table_console()
    rows = [replace(row, label=_shortened(row.label, shown)) for row in rows]
    table = Table(title=f"pool {pool}: {rows[0].requests} requests", title_justify="left", title_style="bold")
    table.add_column("")
    for column in ("p50", "p99", "errors"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(row.label, _milliseconds(row.p50), _milliseconds(row.p99), _errors(row))
    console.print(table)
    simulated = [row for row in rows if row.result is not None]
    names = sorted(
        {server.name for row in simulated for server in (row.result.servers if row.result else ())}
    )
    loads = Table(
        title="requests of each server, and the most at a time", title_justify="left", title_style=""
    )
    loads.add_column("server")
    for row in simulated:
        loads.add_column(row.label, justify="right", overflow="fold")
    for name in names:
        loads.add_row(name, *(_load(row, name) for row in simulated))
    console.print(loads)


def _shortened(label: str, shown: Mapping[str, str]) -> str:
    file, without, server = label.partition(" without ")
    return f"{shown.get(file, file)}{without}{server}"


def _milliseconds(seconds: float) -> str:
    return "–" if math.isnan(seconds) else f"{seconds * 1000:.4g} ms"


def _errors(row: Outcome) -> str:
    part = f" ({100 * row.errors / row.requests:.3g} %)" if row.errors and row.requests else ""
    return f"{row.errors}{part}"


def _load(row: Outcome, name: str) -> str:
    assert row.result is not None
    for server in row.result.servers:
        if server.name == name:
            return "gone" if row.gone == name else f"{server.picks}, {server.peak_load}"
    return "–"


def _as_json(rows: Sequence[Outcome]) -> list[dict[str, Any]]:
    return [
        {
            "label": row.label,
            "requests": row.requests,
            "errors": row.errors,
            "p50_s": None if math.isnan(row.p50) else row.p50,
            "p99_s": None if math.isnan(row.p99) else row.p99,
            "gone": row.gone or None,
            "simulation": None if row.result is None else row.result.as_dict(),
        }
        for row in rows
    ]
