from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.tcp import CASES, read_wrk
from tests.support.processes import ROOT

WRK = """Running 2s test @ http://127.0.0.1:1/small
  1 threads and 64 connections
  Latency Distribution
     50%    1.31ms
     99%    {p99}
  65536 requests in 2.00s, 40.00MB read
{errors}Requests/sec:  32768.50
Transfer/sec:     20.00MB
"""


@pytest.mark.parametrize(("p99", "ms"), [("5.90ms", 5.9), ("250.00us", 0.25), ("1.50s", 1500)])
def test_reading_wrk(p99: str, ms: float) -> None:
    assert read_wrk(WRK.format(p99=p99, errors="")) == (32768.5, pytest.approx(ms), 0, 65536)


def test_reading_wrks_errors() -> None:
    errors = "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 5\n"
    assert read_wrk(WRK.format(p99="1.00ms", errors=errors))[2] == 15


def test_what_is_not_wrks_output() -> None:
    with pytest.raises(ValueError, match="not wrk's output"):
        read_wrk("unable to connect")


def test_a_short_run_with_the_bundled_client(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.tcp",
        "--rounds",
        "1",
        "--seconds",
        "0.3",
        "--own-client",
        "--no-fetch",
    ]
    shown = subprocess.run(
        [*command, "--json", str(file)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert shown.returncode == 0, shown.stderr
    assert "lbkit stream" in shown.stdout
    rows = json.loads(file.read_text())["results"]
    assert {row["case"] for row in rows} == {case.name for case in CASES}
    for row in rows:
        (sample,) = row["samples"]
        assert sample["rate"] > 0, row
        assert sample["failures"] == 0, row
