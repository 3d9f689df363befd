from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.picks import RIVAL, SIZES, WEIGHTS, Row, beside, growth, has_rival, missed
from lbkit.balancing import ALGORITHMS
from tests.support.processes import ROOT


def rows(cost: float = 0.1, **most: float) -> list[Row]:
    """Every case at *cost* µs; *most* is what an algorithm costs on the most servers."""
    made = [Row("empty method", "equal", SIZES[0], [0.02])]
    for algorithm in ALGORITHMS:
        for weights in WEIGHTS:
            made += [Row(algorithm, weights, size, [cost]) for size in SIZES[:-1]]
            made.append(Row(algorithm, weights, SIZES[-1], [most.get(algorithm, cost)]))
    return made


def test_the_cost_is_a_median() -> None:
    assert Row("a", "equal", 10, [9.0, 1.0, 2.0]).cost == 2.0


def test_a_sample_too_short_to_measure_divides_nothing_by_zero() -> None:
    nothing = [Row(row.algorithm, row.weights, row.servers, [0.0]) for row in rows()]
    nothing.append(Row(RIVAL, "equal", 10, [0.0]))
    assert missed(nothing) == []
    assert beside(nothing).endswith("1.00 on 10")


def test_growth_is_from_the_fewest_servers_to_the_most() -> None:
    assert growth(rows(random=0.25), "random", "equal") == pytest.approx(2.5)


def test_no_mark_is_missed() -> None:
    assert missed(rows(rendezvous=99.0, random=0.3)) == []


def test_growing_with_the_servers_is_missed() -> None:
    lines = missed(rows(random=0.31))
    assert len(lines) == 2
    assert lines[0].startswith("random, weights equal: ")


def test_a_dear_round_robin_is_missed() -> None:
    lines = missed(rows(cost=0.53))
    assert [line.split(":")[0] for line in lines] == [
        f"round_robin, weights {weights}" for weights in WEIGHTS
    ]


def test_the_rival_beside() -> None:
    measured = [*rows(), Row(RIVAL, "equal", 10, [0.2]), Row(RIVAL, "equal", 100, [0.3])]
    assert beside(measured).endswith("2.00 on 10, 3.00 on 100")
    assert beside(rows()) == ""


def test_a_short_run(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.picks",
        "--rounds",
        "1",
        "--seconds",
        "0.0001",
        "--most",
        "100",
    ]
    shown = subprocess.run(
        [*command, "--json", str(file)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert file.exists(), shown.stderr
    document = json.loads(file.read_text())
    # On a busy machine a mark may be missed by such a short run: then it says so, and by its exit code, too.
    assert shown.returncode == (1 if document["missed"] else 0), shown.stderr
    assert ("missed" in shown.stdout) == bool(document["missed"])
    for algorithm in ALGORITHMS:
        assert algorithm in shown.stdout
    cases = {(row["algorithm"], row["weights"], row["servers"]) for row in document["results"]}
    assert cases >= {
        (name, weights, size) for name in ALGORITHMS for weights in WEIGHTS for size in (10, 100)
    }
    assert ((RIVAL, "equal", 10) in cases) == has_rival()
    for row in document["results"]:
        assert len(row["pick"]) == 1, row
        assert row["pick"][0] >= 0, row
