from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.processes import Lbkit, children_of, run_lbkit


def test_the_example_is_a_scenario(tmp_path: Path) -> None:
    example = run_lbkit("bench", "algorithms", "--example").stdout
    file = tmp_path / "s.toml"
    file.write_text(example)
    result = run_lbkit("simulate", str(file), "--duration", "2s", "--json", "-")
    assert result.returncode == 0, result.stderr
    assert len(json.loads(result.stdout)["results"]) == 6


def test_live_beside_simulated() -> None:
    result = run_lbkit(
        "bench", "algorithms", "--duration", "2s", "--algorithm", "two_choices", "--json", "-", timeout=90
    )
    assert result.returncode == 0, result.stderr
    (row,) = json.loads(result.stdout)["algorithms"]
    assert row["live"]["requests"] == row["simulated"]["requests"] > 100
    assert row["live"]["errors"] == {}


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("lbkit run", "a balancer of the benchmark ended while it ran ("),
        ("lbkit.bench.backends", "the benchmark's servers ended with status -9 while it ran"),
    ],
)
def test_a_process_that_dies(command: str, problem: str, tmp_path: Path) -> None:
    arguments = ("bench", "algorithms", "--algorithm", "random", "--duration", "3s")
    with Lbkit(*arguments, log=tmp_path / "log") as bench:
        deadline = time.monotonic() + 20
        while len(children := children_of(bench.process.pid)) < 2:
            assert time.monotonic() < deadline, f"did not start: {bench.output}"
            time.sleep(0.05)
        time.sleep(1.5)
        (child,) = [pid for pid, shown in children.items() if command in shown]
        os.kill(child, signal.SIGKILL)
        assert bench.process.wait(60) == 1
        assert bench.output.startswith(f"lbkit: {problem}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_leaves_no_process_behind(number: signal.Signals, tmp_path: Path) -> None:
    with Lbkit("bench", "algorithms", "--duration", "60s", log=tmp_path / "log") as bench:
        deadline = time.monotonic() + 20
        while len(children := children_of(bench.process.pid)) < 2:
            assert time.monotonic() < deadline, f"did not start: {bench.output}"
            time.sleep(0.05)
        bench.process.send_signal(number)
        assert bench.process.wait(20) == 1
        assert bench.output.strip() == "Aborted!"
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            ("--algorithm", "two_choses"),
            '--algorithm: unknown algorithm "two_choses" (did you mean "two_choices"?',
        ),
        (("--duration", "soon"), 'duration: "soon" is not a duration'),
        (("none.toml",), "none.toml: cannot be read: no such file or directory"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], problem: str) -> None:
    result = run_lbkit("bench", "algorithms", *arguments)
    assert result.returncode == 2
    assert problem in result.stderr
