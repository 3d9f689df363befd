"""What a pick costs, for each algorithm on 10 to 10 000 servers: ``python -m benchmarks.picks``.

Every figure is a median over rounds in which all cases take turns, because one machine's speed moves from
minute to minute. A pick is timed in a loop over different keys, of which the empty loop's own time is taken
off; what is left includes the call itself, whose cost is shown as an "empty method". Nothing is excluded,
and weights are all equal or 1 2 3 5 in turns.

The column "request" is a pick with all that a pool tells the balancer about it: probes where it wants some,
started, ended. "build" is a first `update`, "change" one by which a server leaves or returns.

Marks, missed with exit code 1: a pick on 10 000 servers costs at most 3 times one on 10, unless the
algorithm says that it looks at every server; one of round_robin on 10 servers at most 0.5 µs more than
an empty method.

uhashring, a consistent hash in Python with 160 points a server too (and no bounded loads), is measured beside
consistent_hash where it is installed.
"""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module, metadata
from pathlib import Path
from time import perf_counter

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from lbkit.balancing import ALGORITHMS, Balancer
from lbkit.server import Outcome, Server

__all__ = ["main"]

SIZES = (10, 100, 1000, 10_000)
WEIGHTS = {"equal": (1,), "1 2 3 5": (1, 2, 3, 5)}
SCANNING = {"rendezvous"}
GROWTH = 3.0
EXCESS_US = 0.5
KEYS = [b"client-%d" % number for number in range(5000)]
TEXT_KEYS = [key.decode() for key in KEYS]
RIVAL = "uhashring"


class Empty(Balancer):
    """Costs what calling any method does."""

    def update(self, candidates: Sequence[Server], now: float) -> None:
        pass

    def pick(self, now: float, key: bytes | None = None, exclude: Sequence[Server] = ()) -> Server | None:
        return None


@dataclass(slots=True)
class Row:
    """The samples of one algorithm on one set of servers, all in microseconds."""

    algorithm: str
    weights: str
    servers: int
    pick: list[float] = field(default_factory=list)
    request: list[float] = field(default_factory=list)
    build: list[float] = field(default_factory=list)
    change: list[float] = field(default_factory=list)

    @property
    def cost(self) -> float:
        """Median of a pick, µs."""
        # A very short sample may be no longer than the empty loop that is taken off: then a nanosecond.
        return max(0.001, statistics.median(self.pick))


class Case:
    """One algorithm on one set of servers, measured again in each round."""

    def __init__(self, algorithm: str, weights: str, count: int) -> None:
        self.row = Row(algorithm, weights, count)
        kinds = WEIGHTS[weights]
        self._servers = [
            Server(f"web{i}", f"127.0.0.1:{i % 65_535 + 1}", weight=kinds[i % len(kinds)])
            for i in range(count)
        ]
        if algorithm == "empty method":
            self._balancer: Balancer = Empty(None, random.Random(7))
        else:
            entry = ALGORITHMS[algorithm]
            self._balancer = entry.factory(entry.options(), random.Random(7))
        self.row.build.append(timed(lambda: self._balancer.update(self._servers, 0.0)))

    def measure(self, seconds: float) -> None:
        """One round of about *seconds* for each column."""
        balancer = self._balancer
        pick = balancer.pick
        self.row.pick.append(each(lambda keys: picks(pick, keys), KEYS, seconds))
        if self.row.algorithm == "empty method":
            return
        self.row.request.append(each(lambda keys: requests(balancer, keys), KEYS, seconds))
        self.row.change.append(timed(lambda: balancer.update(self._servers[1:], 0.0)))
        self.row.change.append(timed(lambda: balancer.update(self._servers, 0.0)))


class RivalCase:
    """The same of uhashring, whose nodes are names."""

    def __init__(self, count: int) -> None:
        self.row = Row(RIVAL, "equal", count)
        ring = import_module(RIVAL).HashRing
        names = [f"web{i}" for i in range(count)]
        began = perf_counter()
        self._ring = ring(nodes=names)
        self.row.build.append((perf_counter() - began) * 1e6)

    def measure(self, seconds: float) -> None:
        get_node = self._ring.get_node
        self.row.pick.append(each(lambda keys: lookups(get_node, keys), TEXT_KEYS, seconds))


def picks(pick: Callable[[float, bytes], object], keys: Sequence[bytes]) -> None:
    for key in keys:
        pick(1.0, key)


def lookups(get_node: Callable[[str], object], keys: Sequence[str]) -> None:
    for key in keys:
        get_node(key)


def requests(balancer: Balancer, keys: Sequence[bytes]) -> None:
    """Each is picked, started and ended, with what a pool does about probes."""
    pick, started, ended = balancer.pick, balancer.started, balancer.ended
    probing = balancer.probing
    for key in keys:
        server = pick(1.0, key)
        if server is None:
            continue
        if probing:
            for probed in balancer.take_probes():
                balancer.probed(probed, probed.open_sessions, None, 1.0)
        server.open_sessions += 1
        started(server, 1.0)
        server.open_sessions -= 1
        ended(server, 0.01, Outcome.DONE, 1.0)


def timed(act: Callable[[], None]) -> float:
    """Microseconds."""
    began = perf_counter()
    act()
    return (perf_counter() - began) * 1e6


def each(act: Callable[[Sequence[object]], None], keys: Sequence[object], seconds: float) -> float:
    """Microseconds of *act* for one key, over about *seconds*, without the loop's own."""
    few = keys[:10]
    count = int(min(len(keys), max(20, seconds * 1e6 / max(0.01, timed(lambda: act(few)) / len(few)))))
    some = keys[:count]
    act(some[: count // 5])  # what a round before has put out of the caches
    spent = timed(lambda: act(some))
    return max(0.0, spent - timed(lambda: idle(some))) / count


def idle(keys: Sequence[object]) -> None:
    for _ in keys:
        pass


# ---- what came of it ----


def find(rows: Sequence[Row], algorithm: str, weights: str, servers: int) -> Row:
    """The row of one case; KeyError where there is none."""
    for row in rows:
        if (row.algorithm, row.weights, row.servers) == (algorithm, weights, servers):
            return row
    raise KeyError(f"{algorithm}, {weights}, {servers}")


def growth(rows: Sequence[Row], algorithm: str, weights: str) -> float:
    """How many times the cost of a pick on the fewest servers one on the most has."""
    own = [row for row in rows if (row.algorithm, row.weights) == (algorithm, weights)]
    fewest, most = min(own, key=lambda row: row.servers), max(own, key=lambda row: row.servers)
    return most.cost / fewest.cost


def missed(rows: Sequence[Row]) -> list[str]:
    """One line for each mark that is missed."""
    lines = []
    for algorithm in sorted({row.algorithm for row in rows} & set(ALGORITHMS) - SCANNING):
        for weights in WEIGHTS:
            if (times := growth(rows, algorithm, weights)) > GROWTH:
                lines.append(
                    f"{algorithm}, weights {weights}: a pick on the most servers costs {times:.1f} times one"
                    f" on the fewest, more than {GROWTH:g}"
                )
    empty = find(rows, "empty method", "equal", SIZES[0]).cost
    for weights in WEIGHTS:
        if (excess := find(rows, "round_robin", weights, SIZES[0]).cost - empty) > EXCESS_US:
            lines.append(
                f"round_robin, weights {weights}: {excess:.2f} µs above an empty method, over {EXCESS_US:g}"
            )
    return lines


def show(rows: Sequence[Row]) -> Table:
    """Medians as a table, a line for each algorithm and kind of weights."""
    sizes = sorted({row.servers for row in rows if row.algorithm in ALGORITHMS})
    table = Table(title="a pick, µs")
    for column in ("algorithm", "weights"):
        table.add_column(column)
    for size in sizes:
        table.add_column(f"{size}", justify="right")
    for column in ("growth", "request", "build ms", "change ms"):
        table.add_column(column, justify="right")
    for algorithm in ("empty method", *ALGORITHMS, RIVAL):
        for weights in WEIGHTS:
            own = {row.servers: row for row in rows if (row.algorithm, row.weights) == (algorithm, weights)}
            if not own:
                continue
            largest = own[max(own)]
            times = growth(rows, algorithm, weights)
            table.add_row(
                algorithm,
                weights,
                *(f"{own[size].cost:.3f}" if size in own else "" for size in sizes),
                f"{times:.1f}" if len(own) > 1 else "",
                middle(largest.request),
                middle(largest.build, 1000) if algorithm != "empty method" else "",
                middle(largest.change, 1000),
            )
    return table


def middle(samples: Sequence[float], divisor: float = 1.0) -> str:
    return f"{statistics.median(samples) / divisor:.2f}" if samples else ""


def beside(rows: Sequence[Row]) -> str:
    """consistent_hash and uhashring in one line; empty where that is not installed."""
    parts = []
    for row in rows:
        if row.algorithm == RIVAL:
            ratio = row.cost / find(rows, "consistent_hash", "equal", row.servers).cost
            parts.append(f"{ratio:.2f} on {row.servers}")
    return f"{RIVAL}'s lookup to consistent_hash's pick: {', '.join(parts)}" if parts else ""


def conditions(rounds: int, seconds: float) -> str:
    """Where and how it was measured, in one line."""
    machine = f"{platform.system()} {platform.release()}, {os.cpu_count()} cores"
    rival = f"; {RIVAL} {metadata.version(RIVAL)}" if has_rival() else f"; {RIVAL} is not installed"
    method = f"median of {rounds} alternated rounds of {seconds:g} s"
    columns = "request, build and change on the most servers"
    return f"{machine}, Python {platform.python_version()}{rival}; {method}; {columns}"


def has_rival() -> bool:
    try:
        import_module(RIVAL)
    except ImportError:
        return False
    return True


def cases(sizes: Sequence[int], algorithms: Sequence[str]) -> list[Case | RivalCase]:
    """All that is measured; builds every balancer."""
    found: list[Case | RivalCase] = [Case("empty method", "equal", SIZES[0])]
    for algorithm in algorithms:
        found += [Case(algorithm, weights, size) for weights in WEIGHTS for size in sizes]
    if has_rival() and "consistent_hash" in algorithms:
        found += [RivalCase(size) for size in sizes]
    return found


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(0.0001, 10),
    default=0.01,
    show_default=True,
    help="Length of a sample.",
)
@click.option(
    "--most",
    type=click.IntRange(SIZES[0]),
    default=SIZES[-1],
    show_default=True,
    help="Leave out larger pools.",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all samples here, too.")
def main(rounds: int, seconds: float, most: int, json_file: Path | None) -> None:
    """Measure what a pick costs; exit code 1 when a mark is missed."""
    sizes = [size for size in SIZES if size <= most]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        progress.add_task("building", total=None)
        measured = cases(sizes, list(ALGORITHMS))
        task = progress.add_task("measuring", total=rounds * len(measured))
        for _ in range(rounds):
            for case in measured:
                case.measure(seconds)
                progress.advance(task)
    rows = [case.row for case in measured]
    output = Console(highlight=False)
    if not output.is_terminal:
        output = Console(highlight=False, width=120)
    output.print(show(rows))
    where = conditions(rounds, seconds)
    for line in (beside(rows), where):
        output.print(line, soft_wrap=True)
    problems = missed(rows)
    for line in problems:
        output.print(f"[red]missed[/red]: {line}", soft_wrap=True)
    if json_file is not None:
        results = [asdict(row) for row in rows]
        document = {"conditions": where, "missed": problems, "results": results}
        json_file.write_text(json.dumps(document, indent=1), "utf-8")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
