from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.router import Row, show
from tests.support.processes import ROOT


def test_a_missed_mark_is_said() -> None:
    rows = [
        Row("mysql", "cost", "router", "µs a read", [20.0, 30.0, 10.0], "at most 15", met=False),
        Row("mysql", "cost", "held", "µs a read", [1.0]),
    ]
    marks = list(show(rows).columns[-1].cells)
    assert marks == ["[red]missed: at most 15[/]", ""]
    assert list(show(rows).columns[3].cells) == ["20", "1"]


def test_a_short_run(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    arguments = ["--flavour", "mariadb", "--rounds", "1", "--checks", "100", "--seconds", "1"]
    command = [sys.executable, "-m", "benchmarks.router", *arguments, "--json", str(file)]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170)
    assert file.exists(), shown.stderr
    rows = {(row["case"], row["path"]): row for row in json.loads(file.read_text())["results"]}
    assert rows["stale", "router"]["met"] in (True, False)
    assert rows["stale", "router"]["samples"] == [0.0]
    assert rows["killed", "router"]["met"], rows
    assert ("missed" in shown.stdout) == bool(shown.returncode)
