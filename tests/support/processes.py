"""lbkit as a user runs it: a real process, its output, its signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["Lbkit", "children_of", "fetch_json", "run_lbkit"]

ROOT = Path(__file__).resolve().parents[2]


def run_lbkit(*arguments: str, timeout: float = 30, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run to the end; output as text."""
    return subprocess.run(
        [sys.executable, "-m", "lbkit", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        **options,
    )


class Lbkit:
    """A running ``lbkit …``; leaving the block ends it with SIGTERM, and with SIGKILL after a while."""

    def __init__(self, *arguments: str, log: Path, env: dict[str, str] | None = None) -> None:
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lbkit", *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "COLUMNS": "200", **(env or {})},
            )

    @property
    def output(self) -> str:
        """Everything printed so far."""
        return self._log.read_text("utf-8", "replace")

    def wait_for(self, pattern: str, timeout: float = 30) -> re.Match[str]:
        """The first match of *pattern* in the output; AssertionError when it ends or takes too long."""
        deadline = time.monotonic() + timeout
        while not (match := re.search(pattern, self.output)):
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.output}"
            assert time.monotonic() < deadline, f"no {pattern!r} within {timeout} s:\n{self.output}"
            time.sleep(0.02)
        return match

    def listens(self, name: str) -> tuple[str, int]:
        """Host and port of the listener called *name*, from the log."""
        match = self.wait_for(rf"{re.escape(name)} listens on ([0-9.]+):([0-9]+) \(")
        return match[1], int(match[2])

    def address_of(self, name: str) -> str:
        """``host:port`` of the listener called *name*."""
        host, port = self.listens(name)
        return f"{host}:{port}"

    def stop(self, number: int = signal.SIGTERM, timeout: float = 30) -> int:
        """Send a signal and wait; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def __enter__(self) -> Lbkit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def children_of(pid: int) -> dict[int, str]:
    """The direct children of a process: pid → command line."""
    found: dict[int, str] = {}
    shown = subprocess.run(
        ["ps", "-ww", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    for line in shown.splitlines():
        child, parent, command = line.split(None, 2)
        if int(parent) == pid:
            found[int(child)] = command
    return found


def fetch_json(address: str, path: str = "/status") -> Any:
    """A JSON document over HTTP."""
    with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as response:
        return json.load(response)


def wait_until(condition: Any, timeout: float = 20, what: str = "it") -> None:
    """Poll *condition* until it is true; AssertionError when that takes too long."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout} s"
        time.sleep(0.02)


def write_config(file: Path, sections: Sequence[str]) -> Path:
    """A configuration file of these sections."""
    file.write_text("\n".join(sections), "utf-8")
    return file
