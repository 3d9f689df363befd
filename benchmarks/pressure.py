"""Many connections: held idle, held busy, and a million one after the other: ``make bench-pressure``.

Answers three questions about `relay = "auto"` or another one, beside HAProxy where that is installed: what
10 000 idle connections take of memory, each; whether 5 000 that all ask at once are answered; and whether
memory is flat while connections come and go. Memory is VmRSS; the kernel's own buffers are not in it.
"""

from __future__ import annotations

import contextlib
import resource
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console

from lbkit.bench.clients import Ask, Client, own_client, wrk_client
from lbkit.bench.contenders import Contender, Route, find_program, select, server, started
from lbkit.bench.idle import bytes_per_connection, raise_file_limit
from lbkit.bench.usage import resident_bytes
from lbkit.cluster.report import console
from lbkit.errors import ConfigError, LbkitError
from lbkit.server import Address

__all__ = ["main"]

_LOOK = 10  # seconds of short connections between two looks at the memory
_FILES = 65_536
_SPARE = 300
_GROWTH = 2 * 1024 * 1024  # bytes that may come after the first tenth, such as the allocator's


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except LbkitError as error:
        raise click.ClickException(str(error)) from None


def allow_files(connections: int) -> int:
    """As many of them as a process may have open files for, two each; root may raise its hard limit."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, _FILES))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = connections if hard == resource.RLIM_INFINITY else min(connections, (hard - _SPARE) // 2)
    raise_file_limit(most)
    if most < connections:
        click.echo(
            f"{most} connections instead of {connections}: open files are limited to {hard} here", err=True
        )
    return most


def hold_idle(contender: Contender, target: Address, count: int, folder: Path) -> str:
    """The memory of *count* idle connections, each."""
    with started(contender, target, folder) as route:
        each = bytes_per_connection(route, count)
        return f"{count} idle connections: {each / 1024:.2f} KiB each"


def hold_busy(route: Route, client: Client, count: int, seconds: int) -> tuple[str, bool]:
    """Whether all of *count* connections are served, and how fast."""
    seen = client(route.address, Ask("/small", count, seconds))
    route.require_alive()
    shown = (
        f"{count} busy connections: {seen.rate:.0f} requests/s, p50 {seen.p50_ms:.0f} ms, "
        f"p99 {seen.p99_ms:.0f} ms, {seen.failures} failed"
    )
    return shown, seen.failures == 0


def come_and_go(route: Route, client: Client, total: int) -> tuple[str, bool]:
    """Memory while *total* connections of one request each come and go."""
    done = failures = 0
    sizes: list[int] = []
    with Console(stderr=True).status("") as status:
        while done < total:
            seen = client(route.address, Ask("/small", 64, _LOOK, close=True))
            route.require_alive()
            done += seen.requests
            failures += seen.failures
            sizes.append(resident_bytes(route.group))
            status.update(f"{done} connections, {sizes[-1] / 2**20:.1f} MiB")
    first, last = sizes[0], sizes[-1]
    shown = (
        f"{done} connections one after the other: {first / 2**20:.1f} MiB after the first {_LOOK} s, "
        f"{last / 2**20:.1f} MiB at the end, {failures} failed"
    )
    return shown, failures == 0 and last - first <= _GROWTH


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--relay", default="auto", show_default=True, help="auto, or one of `lbkit list`.")
@click.option("--idle", type=click.IntRange(100, 25_000), default=10_000, show_default=True)
@click.option("--busy", type=click.IntRange(100, 10_000), default=5000, show_default=True)
@click.option("--connections", type=click.IntRange(1000), default=1_000_000, show_default=True)
def main(relay: str, idle: int, busy: int, connections: int) -> None:
    """Hold many connections, and let many come and go. Exit code 1 where one failed or memory grew."""
    with _one_line():
        sys.exit(0 if run(relay, idle, busy, connections) else 1)


def run(relay: str, idle: int, busy: int, connections: int) -> bool:
    """Print each finding; whether all were good."""
    report = console()
    idle, busy = allow_files(idle), allow_files(busy)
    chosen = select(report, fetch=False, keys=(relay, "haproxy"))
    program = find_program("wrk", report, fetch=True)
    client = wrk_client(program, _LOOK) if program else own_client
    mine = [contender for contender in chosen.contenders if contender.key == relay]
    if not mine:
        raise ConfigError(f"--relay {relay}: {chosen.passed_over.get(relay, 'cannot be measured here')}")
    with tempfile.TemporaryDirectory() as name, server() as target:
        folder = Path(name)
        for contender in chosen.contenders:
            print(f"{contender}: {hold_idle(contender, target, idle, folder / contender.key)}", flush=True)
        with started(mine[0], target, folder / "busy") as route:
            findings = [hold_busy(route, client, busy, _LOOK), come_and_go(route, client, connections)]
        for shown, _ in findings:
            print(f"{mine[0].name}: {shown}", flush=True)
    return all(good for _, good in findings)


if __name__ == "__main__":
    main()
