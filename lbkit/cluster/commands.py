"""Running the system's package tools: their output, or their own error lines as `StepFailed`."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

__all__ = ["StepFailed", "check", "run", "size_of"]

STEP_TIMEOUT = 900.0  # seconds for one run, on a slow line


class StepFailed(Exception):
    """One apt-get or dpkg-deb run failed; the text is its own error lines."""


def run(command: Sequence[str], env: dict[str, str] | None = None, stdin: IO[bytes] | None = None) -> str:
    with tempfile.TemporaryFile("w+") as output:
        try:
            done = subprocess.run(
                command,
                env=env,
                stdin=stdin or subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                timeout=STEP_TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise StepFailed(f"{command[0]} timed out after {STEP_TIMEOUT:.0f} s") from None
        check(command, done.returncode, output)
        return done.stdout


def check(command: Sequence[str], status: int, output: IO[str]) -> None:
    """Raise with the command's own error lines, the fewest that tell what is wrong."""
    if not status:
        return
    output.seek(0)
    lines = [line.strip() for line in output if line.strip()]
    errors = [line[2:].strip() for line in lines if line.startswith(("E:", "Err:"))] or lines[-1:]
    detail = "; ".join(dict.fromkeys(errors[:3])) or f"exit status {status}"
    raise StepFailed(f"{command[0]}: {detail}")


def size_of(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        # A download is renamed when complete, so a file may be gone by the time it is looked at.
        with contextlib.suppress(OSError):
            total += file.lstat().st_size
    return total
