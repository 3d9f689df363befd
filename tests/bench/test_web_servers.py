from __future__ import annotations

import urllib.request
from pathlib import Path

from lbkit.bench.answers import BODIES
from lbkit.bench.clients import own_client
from lbkit.bench.contenders import find_program, select, started
from lbkit.bench.relays import Plan, run
from lbkit.bench.web_servers import CASES, LBKIT, MARKS, MEASURES, finders
from lbkit.cluster.report import Silent
from lbkit.server import Address


def nothing(step: str) -> None:
    """Nobody wants to know."""


def keys() -> list[str]:
    nginx = ["nginx"] if find_program("nginx", Silent(), fetch=False) else []
    return [LBKIT, *nginx, "starlette", "aiohttp"]


def test_the_marks_are_of_cases_that_there_are() -> None:
    assert {measure.case for measure in MEASURES.values()} <= {case.key for case in CASES}
    assert {(mark.measure.case, mark.bound, mark.reference) for mark in MARKS} == {
        ("small", 0.6, "nginx"),
        ("small", 30.0, "starlette"),
        ("small", 15.0, "aiohttp"),
        ("big", 0.95, "nginx"),
    }


def test_a_short_real_run() -> None:
    contenders = select(Silent(), fetch=False, among=finders).contenders
    cases = [case for case in CASES if case.key in ("small", "big", "connect")]
    wanted = Plan(contenders, own_client, cases, rounds=1, seconds=0.2, idle_connections=0)
    result = run(wanted, nothing)
    assert [one.key for one in result.contenders] == keys()
    assert len(result.figures.samples) == len(cases) * len(keys())
    for (sample,) in result.figures.samples.values():
        assert sample.rate > 0 and sample.failures == 0


def test_each_has_the_same_files(tmp_path: Path) -> None:
    for contender in select(Silent(), fetch=False, among=finders).contenders:
        with started(contender, Address("127.0.0.1", 1), tmp_path / contender.key) as route:
            for path, body in BODIES.items():
                with urllib.request.urlopen(f"http://{route.address}{path.decode()}", timeout=10) as answer:
                    assert answer.read() == body, contender.name
