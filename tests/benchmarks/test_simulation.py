from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from benchmarks import simulation


def test_a_short_run(tmp_path: Path) -> None:
    """The marks themselves are for a quiet machine and the full size."""
    file = tmp_path / "o.json"
    args = ["--requests", "5000", "--rounds", "1", "--memory-requests", "5000", "--json", str(file)]
    result = CliRunner().invoke(simulation.main, args)
    document = json.loads(file.read_text())
    assert document["requests_per_second"]["two_choices"] > 0
    assert 10 << 20 < document["memory"]["bytes"] < simulation.MEMORY_MARK
    assert result.exit_code == (0 if all(document["met"].values()) else 1)
    assert "two_choices on 100 servers" in result.output
