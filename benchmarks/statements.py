"""What it costs to say where a statement goes: ``python -m benchmarks.statements``.

Statements of about 200 bytes as programs and ORMs send them, each asked about as if it had never been seen,
and once more as one that was; by the tokenizer alone, beside it, what the fast look saves. All cases take
turns; the empty loop's own time is taken off; the median counts.

Marks, missed with exit code 1: a plain statement at most 5 µs, a known one at most 0.3 µs.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter

import click
from rich.console import Console
from rich.table import Table

from lbkit.mysql.statements import Statement, _by_tokens, _classify, classify

__all__ = ["main"]

MOST_NEW, MOST_KNOWN = 5.0, 0.3
CALLS = 500
STATEMENTS = {
    "an ORM's SELECT": (
        "SELECT `shop_order`.`id`, `shop_order`.`created`, `shop_order`.`total`, COUNT(`item`.`id`) AS `n` "
        "FROM `shop_order` LEFT JOIN `item` ON (`item`.`order_id` = `shop_order`.`id`) "
        "WHERE `shop_order`.`user_id` = %s"
    ),
    "SELECT": (
        "SELECT o.id, o.created, o.total, u.name, COALESCE(u.mail, '-') AS mail FROM orders o JOIN users u "
        "ON u.id = o.user_id WHERE o.state IN ('open', 'paid') AND o.created > NOW() "
        "ORDER BY o.created DESC LIMIT 50"
    ),
    "SELECT with a comment": (
        "SELECT o.id, o.created, o.total, u.name FROM orders o JOIN users u ON u.id = o.user_id "
        "WHERE o.state IN ('open', 'paid') AND o.total > 100 ORDER BY o.id "
        "/*controller='index',framework='django%%3A5'*/"
    ),
    "SELECT … FOR UPDATE": (
        "SELECT o.id, o.created, o.total, u.name FROM orders o JOIN users u ON u.id = o.user_id "
        "WHERE o.state IN ('open', 'paid') AND u.country = 'DE' AND o.total > 100 "
        "ORDER BY o.created DESC LIMIT 50 FOR UPDATE"
    ),
    "INSERT": (
        "INSERT INTO `shop_order` (`user_id`, `created`, `total`, `state`, `note`, `address`, `country`, "
        "`currency`) VALUES (%s, %s, %s, %s, %s, %s, %s, %s) "
        "ON DUPLICATE KEY UPDATE total = VALUES(total), note = ''"
    ),
    "UPDATE": (
        "UPDATE accounts SET balance = balance - 100, changed = NOW() WHERE id = 7 AND balance >= 100 "
        "AND state = 'open' AND owner_id IN (SELECT id FROM owners WHERE country = 'CH') ORDER BY id LIMIT 1"
    ),
}


@dataclass(slots=True)
class Row:
    """One statement: its samples are microseconds."""

    case: str
    size: int
    new: list[float] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)
    known: list[float] = field(default_factory=list)


def timed(judge: Callable[[str], Statement], sql: str) -> float:
    """Microseconds a call, the loop's own taken off."""
    calls = range(CALLS)
    began = perf_counter()
    for _ in calls:
        judge(sql)
    ended = perf_counter()
    for _ in calls:
        pass
    return max(0.0, 2 * ended - began - perf_counter()) / CALLS * 1e6


def missed(rows: Sequence[Row]) -> list[str]:
    """One line for each mark that is missed."""
    problems = []
    for row in rows:
        for what, samples, most in (("new", row.new, MOST_NEW), ("known", row.known, MOST_KNOWN)):
            cost = statistics.median(samples)
            if cost > most:
                problems.append(f"{row.case}, {what}: {cost:.2f} µs, more than {most:g}")
    return problems


def show(rows: Sequence[Row]) -> Table:
    """The medians."""
    table = Table(title="where a statement goes, µs")
    for column in ("statement", "bytes", "new", "by tokens", "known"):
        table.add_column(column, justify="left" if column == "statement" else "right")
    for row in rows:
        medians = (statistics.median(samples) for samples in (row.new, row.tokens, row.known))
        table.add_row(row.case, str(row.size), *(f"{median:.2f}" for median in medians))
    return table


def conditions(rounds: int) -> str:
    """Where and how it was measured, in one line."""
    machine = f"{platform.system()} {platform.release()}, {os.cpu_count()} cores"
    method = f"median of {rounds} alternated rounds of {CALLS} calls"
    return f"{machine}, Python {platform.python_version()}; {method}"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all samples here, too.")
def main(rounds: int, json_file: Path | None) -> None:
    """Measure what the routing of a statement costs; exit code 1 when a mark is missed."""
    rows = [Row(name, len(sql.encode())) for name, sql in STATEMENTS.items()]
    for _ in range(rounds):
        for row in rows:
            sql = STATEMENTS[row.case]
            row.new.append(timed(_classify, sql))
            row.tokens.append(timed(_by_tokens, sql))
            row.known.append(timed(classify, sql))
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
