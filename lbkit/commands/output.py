"""Where results go: tables on the terminal, JSON in a file, and progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from lbkit.balancing import ALGORITHMS
from lbkit.errors import ConfigError, StartFailed
from lbkit.registry import nearest

__all__ = ["chosen", "json_option", "progress_bars", "table_console", "wants_table", "write_json"]

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """``--json FILE``, as `json_file`."""
    return click.option(
        "--json",
        "json_file",
        metavar="FILE",
        type=click.Path(path_type=Path, allow_dash=True),
        help="Write everything as JSON; - is stdout, without tables.",
    )(command)


def wants_table(json_file: Path | None) -> bool:
    """Whether stdout is free for people."""
    return json_file is None or str(json_file) != "-"


def write_json(document: dict[str, Any], where: Path) -> None:
    """Write *document*, which must have no NaN. Raises StartFailed where that cannot be done."""
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    if str(where) == "-":
        click.echo(text, nl=False)
        return
    try:
        where.write_text(text, "utf-8")
    except OSError as error:
        raise StartFailed(f"{where}: cannot be written: {(error.strerror or str(error)).lower()}") from None


def table_console(markup: bool = True) -> Console:
    """For tables on stdout. A pipe or a file has no width of its own; rich would cut the table at 80.

    Without *markup* a text in brackets is one, as in an address or in what a server says.
    """
    return Console(highlight=False, markup=markup, width=None if sys.stdout.isatty() else 160)


def progress_bars(console: Console | None = None) -> Progress:
    """Bars on stderr, where that is a terminal."""
    console = console or Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"))
    return Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def chosen(algorithms: tuple[str, ...]) -> list[str]:
    """What ``--algorithm`` named, each once; raises ConfigError for an unknown one."""
    for name in algorithms:
        if name not in ALGORITHMS:
            known = nearest(name, ALGORITHMS, listed=True)
            raise ConfigError(f'--algorithm: unknown algorithm "{name}"{known}')
    return list(dict.fromkeys(algorithms))
