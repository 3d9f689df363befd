"""``make fuzz ARGS="[TARGET …] [--seconds N]"``: made-up bytes for every parser, each for a bounded time.

Each target runs in a process of its own under atheris, which follows the code's branches, and begins with
what the tests have and what earlier runs have kept in ``.fuzz/``. Exit code 1 when an input was found for
which something does not hold, with the path of that input; ``--input`` runs it again, without atheris and
with a traceback.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from importlib.util import find_spec
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from fuzz.target import Target
from fuzz.targets import TARGETS

__all__ = ["main"]

FOLDER = Path(".fuzz")
SLOW = 10
"""Seconds after which one input is a finding, too."""
MEMORY = 2048
"""MB, likewise."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one target."""

    target: Target
    runs: int
    kept: int
    """Inputs that each reach something that no other one does."""
    found: Path | None
    """An input for which something does not hold."""
    said: str
    """All that the process wrote."""
    status: int

    @property
    def is_good(self) -> bool:
        return self.status == 0 and self.found is None


def run(target: Target, seconds: int, folder: Path) -> Outcome:
    """Fuzz *target* for *seconds*."""
    kept, found = folder / "kept" / target.name, folder / "found"
    for place in (kept, found):
        place.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds:
        (kept / sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    prefix = found / f"{target.name}-"
    before = set(found.iterdir())
    options = [f"-max_total_time={seconds}", "-max_len=4096", f"-timeout={SLOW}", f"-rss_limit_mb={MEMORY}"]
    done = subprocess.run(
        [sys.executable, "-m", "fuzz.child", target.name, *options, f"-artifact_prefix={prefix}", str(kept)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=seconds + 300,
        check=False,
    )
    said = done.stdout.decode("utf-8", "replace")
    runs = [
        int(number)
        for number in re.findall(r"(?m)^Done (\d+) runs|^#(\d+)\s", said)
        for number in number
        if number
    ]
    new = sorted(set(found.iterdir()) - before)
    return Outcome(
        target,
        max(runs, default=0),
        len(list(kept.iterdir())),
        new[0] if new else None,
        said,
        done.returncode,
    )


def show(outcomes: Sequence[Outcome], seconds: int) -> Table:
    table = Table(title=f"{seconds} s each")
    for column in ("target", "runs", "runs/s", "inputs kept", ""):
        table.add_column(column, justify="right" if column else "left")
    for one in outcomes:
        verdict = "" if one.is_good else f"[red]{'found' if one.found else 'ended'}[/red]"
        table.add_row(one.target.name, str(one.runs), f"{one.runs / seconds:.0f}", str(one.kept), verdict)
    return table


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, metavar="[TARGET]...", type=click.Choice(list(TARGETS)))
@click.option("--seconds", type=click.IntRange(1), default=60, show_default=True, help="For each target.")
@click.option(
    "--input", "given", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Run this one."
)
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default=FOLDER, show_default=True)
def main(names: Sequence[str], seconds: int, given: Path | None, folder: Path) -> None:
    """Fuzz all targets, or those named; exit code 1 when something was found.

    With --input run one input again, for the one target that is named.
    """
    chosen = [TARGETS[name] for name in names or TARGETS]
    if given is not None:
        if len(chosen) != 1:
            raise click.UsageError("--input goes with the name of one target")
        chosen[0].check(given.read_bytes())
        return
    if find_spec("atheris") is None:
        raise click.ClickException(
            "atheris is not installed: sh setup.sh fuzz (it has wheels for Linux on x86-64)"
        )
    output = Console(highlight=False, soft_wrap=True)
    outcomes = []
    for target in chosen:
        outcome = run(target, seconds, folder)
        outcomes.append(outcome)
        if not outcome.is_good:
            output.print(outcome.said[-5000:], markup=False)
    output.print(show(outcomes, seconds))
    for one in outcomes:
        if one.found is not None:
            output.print(f"found: python -m fuzz {one.target} --input {one.found}")
    sys.exit(0 if all(one.is_good for one in outcomes) else 1)


if __name__ == "__main__":
    main()
