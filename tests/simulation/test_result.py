from __future__ import annotations

import json
import math
from array import array

from lbkit.simulation.record import Histogram, Window
from lbkit.simulation.result import Result, server_results


def make_result(
    latencies: list[float], errors: dict[str, int] | None = None, algorithm: str = "random"
) -> Result:
    latency, failed = Histogram(), Histogram()
    latency.fold(array("f", latencies))
    failed.fold(array("f", [5.0] * sum((errors or {}).values())))
    windows = [Window(0.0, 1.0, loads=array("I", [1, 3])), Window(1.0, 2.0, loads=array("I", [1, 1]))]
    windows[0].latency.fold(array("f", latencies))
    return Result(
        algorithm=algorithm,
        requests=len(latencies) + failed.count,
        errors=errors or {},
        latency=latency,
        failed=failed,
        retries=0,
        duration=2.0,
        windows=windows,
        servers=server_results(["a", "b"], [10, 30], windows),
    )


def test_what_is_worked_out() -> None:
    result = make_result([1.0, 1.0, 1.0], {"timeout": 1})
    assert (result.error_count, result.success, result.imbalance) == (1, 0.75, 1.5)
    assert result.percentile(1.0) < result.percentile_of_all(1.0)
    assert [(server.mean_load, server.peak_load) for server in result.servers] == [(1, 1), (2, 3)]


def test_json_has_no_numbers_that_are_none() -> None:
    document = make_result([]).as_dict()
    assert json.loads(json.dumps(document, allow_nan=False))["latency_s"]["p99"] is None
    assert math.isnan(make_result([]).success)
    full = make_result([0.5]).as_dict()
    assert list(full["latency_s"]) == ["mean", "p50", "p95", "p99", "p99.9", "max"]
    assert full["windows"][0]["load_max"] == 3
