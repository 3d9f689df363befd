"""Published experiments at full size: ``python -m benchmarks.papers [NAME…]`` or ``make bench``.

The same as ``lbkit simulate --paper all``, one process for each paper at a time and as many as there are
processors. Exit 1 when a published number is not met within its tolerance.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from lbkit.simulation.papers import PAPERS, Report, Row

__all__ = ["main"]


def run(name: str, small: bool) -> tuple[list[Row], float]:
    """The rows of one paper, and the seconds that they took."""
    report = Report()
    began = time.perf_counter()
    PAPERS[name].run(report, small)
    return report.rows, time.perf_counter() - began


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, type=click.Choice(sorted(PAPERS)))
@click.option("--quick", is_flag=True, help="The small versions, as in the tests.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the rows here, too.")
def main(names: tuple[str, ...], quick: bool, file: Path | None) -> None:
    """Rerun published experiments."""
    wanted = names or tuple(PAPERS)
    with ProcessPoolExecutor() as workers:
        results = dict(zip(wanted, workers.map(run, wanted, [quick] * len(wanted)), strict=True))
    for name, (rows, seconds) in results.items():
        _print(name, rows, seconds)
    if file is not None:
        document = {
            name: {"source": PAPERS[name].source, "seconds": seconds, "rows": [asdict(row) for row in rows]}
            for name, (rows, seconds) in results.items()
        }
        file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    sys.exit(0 if all(row.ok for rows, _ in results.values() for row in rows) else 1)


def _print(name: str, rows: list[Row], seconds: float) -> None:
    title = f"{name}: {PAPERS[name].summary}\n{PAPERS[name].source} ({seconds:.1f} s)"
    table = Table(title=title, title_justify="left", title_style="")
    for column in ("what", "published", "measured", "tolerance", ""):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(row.what, row.published, row.measured, row.tolerance, "met" if row.ok else "missed")
    Console(highlight=False, width=130).print(table)


if __name__ == "__main__":
    main()
