from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from lbkit.commands import simulate as command
from lbkit.commands.simulate import simulate_command
from lbkit.errors import ConfigError, LbkitError, StartFailed
from lbkit.simulation.papers import PAPERS, Paper, Report
from tests.support.processes import ROOT

SMALL = """
requests = 500
[arrivals]
kind = "poisson"
rate = 100
[service]
kind = "exponential"
mean = "10ms"
[[servers]]
count = 2
"""


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    file = tmp_path / "scenario.toml"
    file.write_text(SMALL)
    return str(file)


def run(*args: str) -> Result:
    return CliRunner().invoke(simulate_command, args, catch_exceptions=False)


def test_the_table(scenario: str) -> None:
    output = run(scenario).output
    for word in ("algorithm", "mean", "p50", "p95", "p99", "p99.9", "errors", "imbalance"):
        assert word in output
    assert "round_robin" in output
    assert "two_choices" in output
    assert "2 servers, 500 requests in" in output


def test_flags_replace_what_the_file_says(scenario: str) -> None:
    shown = run(scenario, "--algorithm", "random", "--seed", "9", "--duration", "2s", "--json", "-")
    document = json.loads(shown.stdout)
    assert [result["algorithm"] for result in document["results"]] == ["random"]
    assert (document["scenario"]["seed"], document["scenario"]["duration_s"]) == (9, 2)
    assert document["results"][0]["requests"] == pytest.approx(200, abs=60)
    document = json.loads(run(scenario, "--requests", "50", "--json", "-").stdout)
    assert document["results"][0]["requests"] == 50


def test_the_same_seed_gives_the_same_output(scenario: str) -> None:
    assert run(scenario, "--json", "-").stdout == run(scenario, "--json", "-").stdout


def test_json_and_pictures_go_to_files(scenario: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    shown = run(scenario, "--json", str(tmp_path / "o.json"), "--plot", str(tmp_path / "pictures"))
    assert "round_robin" in shown.stdout
    assert f"wrote {tmp_path}/pictures/latency.png" in shown.stderr
    assert len(json.loads((tmp_path / "o.json").read_text())["results"]) == 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "give one of SCENARIO, --paper NAME and --example"),
        (("x.toml", "--example"), "give one of"),
        (("none.toml",), "none.toml: cannot be read: no such file"),
        (
            ("x.toml", "--algorithm", "randm"),
            '--algorithm: unknown algorithm "randm" (did you mean "random"?',
        ),
        (("x.toml", "--duration", "5"), '--duration: "5" is not a duration'),
        (("--paper", "maglv"), '--paper: unknown paper "maglv" (did you mean "maglev"?)'),
    ],
)
def test_wrong_usage(args: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run(*args)
    assert message in str(caught.value)


def test_a_file_that_cannot_be_written(scenario: str, tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="cannot be written: no such file"):
        run(scenario, "--json", str(tmp_path / "no" / "o.json"))


def test_skipped_lines_of_a_trace_are_told(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("0,0.1\nx\n1,0.1\n")
    file = tmp_path / "s.toml"
    file.write_text("[arrivals]\nkind = 'trace'\nfile = 't.csv'\n[[servers]]\n")
    shown = run(str(file))
    assert (
        f'lbkit: {tmp_path}/t.csv:2: "x" is no time\nlbkit: {tmp_path}/t.csv: 1 line was skipped'
        in shown.stderr
    )
    assert "2 requests" in shown.stdout


def test_nothing_but_warm_up(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text("warmup = '5s'\n" + SMALL)
    shown = run(str(file), "--requests", "3")
    assert "within the warm-up of 5 s: none was counted" in shown.stderr


def test_the_example_runs(tmp_path: Path) -> None:
    file = tmp_path / "example.toml"
    file.write_text(run("--example").stdout)
    document = json.loads(run(str(file), "--duration", "6s", "--json", "-").stdout)
    assert len(document["results"]) == 4


@pytest.mark.parametrize(
    "file", sorted((ROOT / "examples" / "simulate").glob("*.toml")), ids=lambda file: file.stem
)
def test_the_examples_run(file: Path) -> None:
    # Longer than the longest warm-up, if the example is that long.
    shown = run(str(file), "--duration", "6s", "--json", "-")
    assert all(result["requests"] for result in json.loads(shown.stdout)["results"])
    assert shown.stderr == ""


def test_a_paper() -> None:
    shown = run("--paper", "smooth-round-robin", "--quick")
    assert "a a b a c a a" in shown.stdout
    assert "met" in shown.stdout


@pytest.fixture
def missed() -> Iterator[str]:
    def miss(report: Report, small: bool) -> None:
        """Never met."""
        report.compare("x", 1.0, 2.0, 0.1)

    PAPERS["never"] = Paper("never", "nobody", miss)
    yield "never"
    del PAPERS["never"]


def test_a_published_number_that_is_not_met(missed: str, tmp_path: Path) -> None:
    with pytest.raises(LbkitError, match="1 published number was not met") as caught:
        run("--paper", missed, "--json", str(tmp_path / "o.json"))
    assert not isinstance(caught.value, ConfigError)
    assert json.loads((tmp_path / "o.json").read_text())["papers"]["never"]["rows"][0]["ok"] is False


def test_the_progress_bar_comes_only_after_a_while(scenario: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, _ = command.load_scenario(Path(scenario))
    with command._Bar(loaded) as bar:
        bar.advance("round_robin", 100, 1.0)
        assert bar._progress is None
        monkeypatch.setattr(command, "_PATIENCE", 0.0)
        monkeypatch.setattr(type(bar._console), "is_terminal", True)
        bar.advance("two_choices", 250, 1.0)
        assert bar._progress is not None
        assert [task.completed for task in bar._progress.tasks] == [1.0, 0.5]


def test_the_result_does_not_depend_on_how_python_hashes(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text("balancers = 2\n" + SMALL.replace("count = 2", "count = 6\nmax_connections = 1"))
    command_line = [sys.executable, "-m", "lbkit", "simulate", str(file), "--json", "-"]
    shown = [
        subprocess.run(
            command_line,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            cwd=ROOT,
        ).stdout
        for seed in ("1", "2")
    ]
    assert shown[0] == shown[1]


def test_a_terminal_of_80_columns_has_room_for_the_table(
    scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "table_console", lambda: Console(width=80, highlight=False))
    dead = '[[servers]]\nname = "dead"\n[[events]]\nat = "0s"\nserver = "dead"\ndown = "refuse"\n'
    Path(scenario).write_text("retries = 0\n" + SMALL + dead)
    lines = run(scenario, "--algorithm", "least_connections").output.splitlines()
    (row,) = [line for line in lines if line.lstrip().startswith("least_connections ")]
    assert row.count(" ms ") == 5, "no unit is cut off"
    assert row.count(" % ") == 1
    assert "imbalance" in "".join(lines)
    assert any(line.startswith("errors with least_connections: ") for line in lines)
    assert max(map(len, lines)) <= 80
