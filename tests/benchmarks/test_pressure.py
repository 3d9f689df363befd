from __future__ import annotations

import subprocess
import sys

from tests.support.processes import ROOT


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.pressure", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_an_unknown_relay() -> None:
    shown = run("--relay", "pipe")
    assert shown.returncode == 1
    assert "pipe" in shown.stderr


def test_help_says_what_it_does() -> None:
    assert "Hold many connections" in run("--help").stdout
