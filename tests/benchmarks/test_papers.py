from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.processes import ROOT


def test_papers_that_are_quick(tmp_path: Path) -> None:
    file = tmp_path / "o.json"
    command = [sys.executable, "-m", "benchmarks.papers", "maglev", "smooth-round-robin", "--json", str(file)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "21846/43691" in shown.stdout
    document = json.loads(file.read_text())
    assert [paper["rows"][0]["ok"] for paper in document.values()] == [True, True]
