"""The tcp balancer beside no proxy and beside HAProxy: ``python -m benchmarks.tcp`` or ``make bench``.

Every figure is a median over rounds in which the paths take turns, because one machine's speed moves
from minute to minute: only figures of one run may be compared, and the ratio to HAProxy is the result.
Backend and client are the same for all; each proxy has one thread. CPU is the proxy process's own, user
and system, per request.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import re
import statistics
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import uvloop
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.load import Load
from benchmarks.paths import Route, backend, find_program, paths
from lbkit.cluster.report import console
from lbkit.errors import LbkitError

__all__ = ["main"]


@dataclass(frozen=True, slots=True)
class Case:
    """One question: which resource, over how many connections, and whether each request has its own."""

    name: str
    resource: str
    connections: int
    close: bool = False


CASES = (
    Case("small, keep-alive", "/small", 64),
    Case("small, one connection each", "/small", 64, close=True),
    Case("10 MB", "/big", 4),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one path: requests a second, their 99th percentile in ms, failures, CPU µs a request."""

    rate: float
    p99_ms: float
    failures: int
    cpu_us: float


def cpu_seconds(pid: int) -> float:
    """User and system time of a process; 0 where /proc does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(path: Route, case: Case, seconds: float, wrk: str | None) -> Sample:
    """One round."""
    before = cpu_seconds(path.pid)
    rate, p99_ms, failures, requests = (
        with_wrk(wrk, path, case, seconds) if wrk else with_own_client(path, case, seconds)
    )
    cpu = cpu_seconds(path.pid) - before
    return Sample(rate, p99_ms, failures, 1e6 * cpu / requests if path.pid and requests else 0.0)


def with_wrk(wrk: str, path: Route, case: Case, seconds: float) -> tuple[float, float, int, int]:
    """Rate, p99 in ms, failures and requests, by wrk on one thread."""
    command = [wrk, "-t1", f"-c{case.connections}", f"-d{seconds:g}s", "--latency"]
    command += ["-H", "Connection: close"] if case.close else []
    shown = subprocess.run(
        [*command, f"http://{path.address}{case.resource}"], capture_output=True, text=True, check=True
    ).stdout
    return read_wrk(shown)


def read_wrk(shown: str) -> tuple[float, float, int, int]:
    """The same from wrk's output; ValueError where it is not that."""
    rate = re.search(r"Requests/sec: +([0-9.]+)", shown)
    p99 = re.search(r"99% +([0-9.]+)(us|ms|s|m)\n", shown)
    requests = re.search(r"([0-9]+) requests in", shown)
    if rate is None or p99 is None or requests is None:
        raise ValueError(f"not wrk's output:\n{shown}")
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", shown)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", shown)
    failures = sum(map(int, errors.groups())) if errors else 0
    failures += int(bad[1]) if bad else 0
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}[p99[2]]
    return float(rate[1]), float(p99[1]) * scale, failures, int(requests[1])


def with_own_client(path: Route, case: Case, seconds: float) -> tuple[float, float, int, int]:
    """The same, by the bundled client; its own speed is the limit sooner than wrk's."""

    async def run() -> tuple[float, float, int, int]:
        load = Load(
            path.address, case.resource, connections=case.connections, seconds=seconds, close=case.close
        )
        result = await load.run()
        return result.rate, result.percentile(0.99) * 1000, len(result.failures), result.requests

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


Samples = dict[tuple[str, str], list[Sample]]


def run_rounds(found: list[Route], rounds: int, seconds: float, wrk: str | None) -> Samples:
    """All samples by case and path; the paths take turns within each round, in a turning order."""
    samples: Samples = defaultdict(list)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("measuring", total=rounds * len(CASES) * len(found))
        for number in range(rounds):
            for case in CASES:
                turn = number % len(found)
                for path in found[turn:] + found[:turn]:
                    progress.update(task, description=f"{case.name}: {path.name}")
                    samples[case.name, path.name].append(measure(path, case, seconds, wrk))
                    progress.advance(task)
    return samples


def show(samples: Samples, found: list[Route]) -> Table:
    """Medians, spread and ratios as a table."""
    table = Table(title="tcp balancer")
    for column in (
        "case",
        "path",
        "requests/s",
        "spread",
        "p99 ms",
        "CPU µs/request",
        "failed",
        "to HAProxy",
    ):
        table.add_column(column, justify="left" if column in ("case", "path") else "right")
    for case in CASES:
        reference = samples.get((case.name, "HAProxy"))
        for path in found:
            row = samples[case.name, path.name]
            rates = [sample.rate for sample in row]
            rate = statistics.median(rates)
            ratio = f"{rate / statistics.median(s.rate for s in reference):.2f}" if reference else "–"
            table.add_row(
                case.name if path is found[0] else "",
                path.name,
                f"{rate:.0f}",
                f"±{100 * (max(rates) - min(rates)) / 2 / rate:.0f} %" if rate else "–",
                f"{statistics.median(sample.p99_ms for sample in row):.1f}",
                f"{statistics.median(sample.cpu_us for sample in row):.0f}" if path.pid else "–",
                str(sum(sample.failures for sample in row)),
                ratio,
            )
        table.add_section()
    return table


def conditions(found: list[Route], rounds: int, seconds: float, wrk: str | None) -> str:
    """Where and how it was measured, in one line."""
    versions = ", ".join(f"{path.name} {path.version}" for path in found if path.version)
    client = "wrk -t1" if wrk else "the bundled asyncio client"
    machine = f"{platform.system()} {platform.release()}, {os.cpu_count()} cores"
    python = f"Python {platform.python_version()}"
    return f"{machine}, {python}; {versions}; {client}; median of {rounds} alternated rounds of {seconds:g} s"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(0.1, 600), default=3.0, show_default=True, help="Length of a round."
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all samples here, too.")
@click.option("--own-client", is_flag=True, help="Take the bundled client even where wrk is there.")
@click.option(
    "--fetch/--no-fetch", default=True, help="Get wrk and HAProxy where they are missing (no root needed)."
)
def main(rounds: int, seconds: float, json_file: Path | None, own_client: bool, fetch: bool) -> None:
    """Benchmark the tcp balancer beside no proxy and beside HAProxy."""
    with _one_line():
        _run(rounds, seconds, json_file, own_client, fetch)


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except LbkitError as error:
        raise click.ClickException(str(error)) from None


def _run(rounds: int, seconds: float, json_file: Path | None, own_client: bool, fetch: bool) -> None:
    report = console()
    wrk = None if own_client else find_program("wrk", report, fetch=fetch)
    with (
        tempfile.TemporaryDirectory() as folder,
        backend() as server,
        paths(server, Path(folder), report, fetch=fetch) as found,
    ):
        samples = run_rounds(found, rounds, seconds, wrk)
    where = conditions(found, rounds, seconds, wrk)
    output = Console(highlight=False)
    if not output.is_terminal:
        output = Console(highlight=False, width=120)
    output.print(show(samples, found))
    output.print(where, soft_wrap=True)
    if json_file is not None:
        rows = [
            {"case": case, "path": path, "samples": [asdict(sample) for sample in row]}
            for (case, path), row in samples.items()
        ]
        json_file.write_text(json.dumps({"conditions": where, "results": rows}, indent=1), "utf-8")


if __name__ == "__main__":
    main()
