"""What a firewall's verdict costs: ``python -m benchmarks.firewall``.

A verdict is timed as a listener asks for it: from the text of the client's address, as accept(2) gives it, to
the answer; over many different addresses, half of them denied, in rounds in which all cases take turns. The
empty loop's own time is taken off; the median counts. "limits" is a verdict with every limit on: bans,
sessions, a rate.

Marks, missed with exit code 1: by a list of 10 000 networks a verdict takes at most 3 µs, for IPv4 and IPv6.
"""

from __future__ import annotations

import ipaddress
import json
import os
import platform
import random
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter

import click
from rich.console import Console
from rich.table import Table

from lbkit.firewall import Firewall, FirewallSettings, Network, NetworkTable, Rate, place_of

__all__ = ["main"]

NETWORKS = 10_000
MOST_US = 3.0
ADDRESSES = 2000


@dataclass(slots=True)
class Row:
    """One case: its samples are microseconds for each verdict."""

    case: str
    networks: int
    marked: bool
    verdicts: list[float] = field(default_factory=list)
    build_ms: float = 0.0

    @property
    def cost(self) -> float:
        """The median, µs."""
        return statistics.median(self.verdicts)


class Case:
    """A firewall and the addresses that it is asked about."""

    def __init__(
        self, name: str, version: int, networks: int, *, limits: bool = False, seed: int = 7
    ) -> None:
        rng = random.Random(seed)
        self.row = Row(name, networks, networks == NETWORKS and not limits)
        bits, prefix = (32, 24) if version == 4 else (128, 48)
        kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
        starts = rng.sample(range(1 << (prefix - 1)), networks)  # in half of the space
        denied = [Network.parse(f"{kind(start << (bits - prefix))}/{prefix}") for start in starts]
        inside = [str(kind((rng.choice(starts) << (bits - prefix)) + 1)) for _ in range(ADDRESSES // 2)]
        outside = [str(kind((1 << (bits - 1)) + rng.getrandbits(bits - 1))) for _ in range(ADDRESSES // 2)]
        self._addresses = [*inside, *outside]
        rng.shuffle(self._addresses)
        began = perf_counter()
        table = NetworkTable([], denied)
        self.row.build_ms = (perf_counter() - began) * 1e3
        settings = FirewallSettings(networks=table)
        if limits:
            settings = FirewallSettings(table, Rate.parse("1000/s"), None, 100, 10)
        self._firewall = Firewall(settings, rng)

    def measure(self) -> None:
        """One round."""
        addresses, firewall = self._addresses, self._firewall
        now = perf_counter()
        spent = verdicts(firewall, addresses, now)
        self.row.verdicts.append(max(0.0, spent - idle(addresses)) / len(addresses) * 1e6)


def verdicts(firewall: Firewall, addresses: Sequence[str], now: float) -> float:
    """Seconds for all."""
    judge = firewall.judge
    began = perf_counter()
    for address in addresses:
        judge(place_of(address), now)
    return perf_counter() - began


def idle(addresses: Sequence[str]) -> float:
    """Seconds of the loop alone."""
    began = perf_counter()
    for _ in addresses:
        pass
    return perf_counter() - began


def cases(networks: int) -> list[Case]:
    """All that is measured."""
    return [
        Case("IPv4", 4, networks),
        Case("IPv6", 6, networks),
        Case("IPv4, limits", 4, networks, limits=True),
        Case("IPv6, limits", 6, networks, limits=True),
    ]


def missed(rows: Sequence[Row]) -> list[str]:
    """One line for each mark that is missed."""
    return [
        f"{row.case}: a verdict by {row.networks} networks takes {row.cost:.2f} µs, more than {MOST_US:g}"
        for row in rows
        if row.marked and row.cost > MOST_US
    ]


def show(rows: Sequence[Row]) -> Table:
    """The medians."""
    table = Table(title="a firewall's verdict, µs")
    for column in ("case", "networks", "median", "best", "build ms"):
        table.add_column(column, justify="left" if column == "case" else "right")
    for row in rows:
        table.add_row(
            row.case, str(row.networks), f"{row.cost:.2f}", f"{min(row.verdicts):.2f}", f"{row.build_ms:.1f}"
        )
    return table


def conditions(rounds: int) -> str:
    """Where and how it was measured, in one line."""
    machine = f"{platform.system()} {platform.release()}, {os.cpu_count()} cores"
    method = f"median of {rounds} alternated rounds of {ADDRESSES} verdicts"
    return f"{machine}, Python {platform.python_version()}; {method}"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all samples here, too.")
def main(rounds: int, json_file: Path | None) -> None:
    """Measure what a firewall's verdict costs; exit code 1 when a mark is missed."""
    measured = [case for networks in (100, NETWORKS) for case in cases(networks)]
    for _ in range(rounds):
        for case in measured:
            case.measure()
    rows = [case.row for case in measured]
    output = Console(highlight=False)
    output.print(show(rows))
    where = conditions(rounds)
    output.print(where, soft_wrap=True)
    problems = missed(rows)
    for line in problems:
        output.print(f"[red]missed[/red]: {line}", soft_wrap=True)
    if json_file is not None:
        document = {"conditions": where, "missed": problems, "results": [asdict(row) for row in rows]}
        json_file.write_text(json.dumps(document, indent=1), "utf-8")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
