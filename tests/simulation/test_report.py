from __future__ import annotations

import json

import pytest

from lbkit.simulation.report import COLUMNS, as_json, describe, rows, unit_of
from lbkit.simulation.scenario import Scenario, ServerSpec
from tests.simulation.test_result import make_result


@pytest.mark.parametrize(("mean", "unit"), [(0.0005, "µs"), (0.02, "ms"), (2.0, "s")])
def test_one_unit_for_all(mean: float, unit: str) -> None:
    assert unit_of([make_result([]), make_result([mean])])[1] == unit


def test_rows() -> None:
    (row,) = rows([make_result([0.0123, 0.0123], {"timeout": 1, "connect": 1})])
    assert dict(zip(COLUMNS, row, strict=True)) == {
        "algorithm": "random",
        "mean": "12.3 ms",
        "p50": "12.3 ms",
        "p95": "12.3 ms",
        "p99": "12.3 ms",
        "p99.9": "12.3 ms",
        "errors": "2 (50 %: connect 1, timeout 1)",
        "imbalance": "1.500",
    }
    assert rows([make_result([])])[0][1:7] == ("–", "–", "–", "–", "–", "0")


def test_the_line_above_the_table() -> None:
    scenario = Scenario((ServerSpec(count=2),), balancers=3)
    assert describe(scenario, [make_result([1.0])]) == "2 servers, 3 balancers, 1 requests in 2 s, seed 1"


def test_json() -> None:
    document = as_json(Scenario((ServerSpec(count=2),)), [make_result([1.0])])
    assert json.loads(json.dumps(document, allow_nan=False))["scenario"]["servers"] == 2
    assert document["results"][0]["algorithm"] == "random"
