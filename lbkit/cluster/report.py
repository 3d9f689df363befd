"""Telling a person what is being done: one line per step, and how far a long step is.

Work that takes seconds (downloads, first starts) takes a `Report`; a program that wants silence passes
`Silent()`, and a command line passes `console()`, which draws a bar on a terminal and prints whole
lines elsewhere, so that a log file stays readable.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

__all__ = ["LineReport", "Report", "RichReport", "Silent", "console"]

PERCENT_STEP = 20


class Report(Protocol):
    """Receives what a person should read."""

    def say(self, text: str) -> None:
        """One finished line."""

    def progress(self, label: str, done: int, total: int) -> None:
        """*done* of *total* bytes; called often."""

    def end(self, label: str) -> None:
        """The work called *label* is over, done or not."""


class Silent:
    """Says nothing."""

    def say(self, text: str) -> None:
        """Ignored."""

    def progress(self, label: str, done: int, total: int) -> None:
        """Ignored."""

    def end(self, label: str) -> None:
        """Ignored."""


class LineReport:
    """Whole lines on standard error; progress as one line every 20 percent."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}

    def say(self, text: str) -> None:
        # Where nobody reads any more, or the disk is full, the work that is told of goes on all the same.
        with contextlib.suppress(OSError):
            print(f"lbkit: {text}", file=sys.stderr, flush=True)

    def progress(self, label: str, done: int, total: int) -> None:
        percent = min(100, done * 100 // total) if total else 100
        if percent >= self._next.get(label, PERCENT_STEP):
            self._next[label] = percent - percent % PERCENT_STEP + PERCENT_STEP
            self.say(f"{label}: {percent} % of {total / 1e6:.0f} MB")

    def end(self, label: str) -> None:
        self._next.pop(label, None)


class RichReport(LineReport):
    """Whole lines, and a bar while something is downloaded."""

    def __init__(self) -> None:
        super().__init__()
        self._bars: dict[str, tuple[Progress, TaskID]] = {}

    def progress(self, label: str, done: int, total: int) -> None:
        bar, task = self._bars.get(label) or self._open(label, total)
        bar.update(task, completed=min(done, total))

    def end(self, label: str) -> None:
        if label in self._bars:
            self._bars.pop(label)[0].stop()

    def _open(self, label: str, total: int) -> tuple[Progress, TaskID]:
        bar = Progress(
            TextColumn("lbkit: {task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        bar.start()
        self._bars[label] = bar, bar.add_task(label, total=total)
        return self._bars[label]


def console() -> Report:
    """The report for a command line: a bar on a terminal, lines elsewhere."""
    return RichReport() if sys.stderr.isatty() else LineReport()
