from __future__ import annotations

from dataclasses import replace

import pytest

from lbkit.bench.app_servers import CASES, LBKIT, MARKS, MEASURES, REFERENCE, finders, package
from lbkit.bench.clients import own_client, wrk_client
from lbkit.bench.contenders import find_program, select
from lbkit.bench.relays import Case, Plan, run
from lbkit.cluster.report import Silent
from lbkit.errors import StartFailed

EVERYONE = [LBKIT, REFERENCE, "uvicorn-h11", "hypercorn", "granian"]


def nothing(step: str) -> None:
    """Nobody wants to know."""


def plan(*cases: Case, **changes: object) -> Plan:
    selection = select(Silent(), fetch=False, among=finders)
    assert selection.passed_over == {}
    short = Plan(selection.contenders, own_client, cases, rounds=1, seconds=0.2, idle_connections=0)
    return replace(short, **changes)  # type: ignore[arg-type]


def test_the_marks_are_of_cases_that_there_are() -> None:
    assert {measure.case for measure in MEASURES.values()} <= {case.key for case in CASES}
    assert {(mark.measure.case, mark.bound, mark.reference) for mark in MARKS} == {
        ("hello", 1.1, "uvicorn"),
        ("hello", 4.0, "uvicorn-h11"),
        ("hello", 5.0, "hypercorn"),
        ("hello", 0.8, "granian"),
        ("json", 1.0, "uvicorn"),
        ("upload", 1.0, "uvicorn"),
        ("stream", 1.0, "uvicorn"),
        ("websocket", 0.8, "uvicorn"),
    }


def test_each_is_measured_and_nobody_fails() -> None:
    cases = [case for case in CASES if not case.needs_wrk]
    assert [case.key for case in cases] == ["hello", "stream", "websocket"]
    result = run(plan(*cases), nothing)
    assert [one.key for one in result.contenders] == EVERYONE
    assert len(result.figures.samples) == len(cases) * len(EVERYONE)
    for (sample,) in result.figures.samples.values():
        assert sample.rate > 0 and sample.failures == 0 and sample.own_us > 0


def test_what_needs_wrk() -> None:
    wrk = find_program("wrk", Silent())
    if wrk is None:
        pytest.skip("there is no wrk and none can be had")
    cases = [case for case in CASES if case.needs_wrk]
    assert [case.key for case in cases] == ["varied", "json", "upload"]
    wanted = plan(*cases, client=wrk_client(wrk, 1), seconds=1)
    wanted = replace(wanted, contenders=wanted.contenders[:1])
    for (sample,) in run(wanted, nothing).figures.samples.values():
        assert sample.rate > 0 and sample.failures == 0


def test_a_package_that_is_not_installed() -> None:
    with pytest.raises(StartFailed, match="is not installed: pip install uvicorn-next"):
        package("uvicorn-next")
