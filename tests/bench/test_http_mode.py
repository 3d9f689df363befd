from __future__ import annotations

from dataclasses import replace

import pytest

from lbkit.bench.clients import Ask, Measured, own_client, wrk_client
from lbkit.bench.contenders import find_program, select
from lbkit.bench.http_mode import CASES, LBKIT, MARKS, MEASURES, finders
from lbkit.bench.relays import Plan, run
from lbkit.cluster.report import Silent
from lbkit.errors import ConfigError
from lbkit.server import Address


def plan(*keys: str, **changes: object) -> Plan:
    contenders = select(Silent(), fetch=False, keys=keys, among=finders).contenders
    short = Plan(contenders, own_client, CASES[:1], rounds=1, seconds=0.3, idle_connections=0)
    return replace(short, **changes)  # type: ignore[arg-type]


def nothing(step: str) -> None:
    """Nobody wants to know."""


def test_the_marks_are_of_cases_that_there_are() -> None:
    cases = {case.key for case in CASES}
    assert {measure.case for measure in MEASURES.values()} <= cases
    assert {(mark.measure.case, mark.bound, mark.path, mark.reference) for mark in MARKS} == {
        ("small", 0.8, LBKIT, "haproxy"),
        ("small", 0.8, LBKIT, "nginx"),
        ("small", 5.0, LBKIT, "proxy.py"),
        ("handshake", 0.7, LBKIT, "haproxy"),
        ("tls-big", 0.8, LBKIT, "haproxy"),
    }


def test_a_short_real_run() -> None:
    result = run(plan("none", LBKIT, "proxy.py"), nothing)
    assert [one.key for one in result.contenders] == ["none", LBKIT, "proxy.py"]
    for (sample,) in result.figures.samples.values():
        assert sample.rate > 0 and sample.failures == 0


def test_over_tls_and_with_changing_fields() -> None:
    wrk = find_program("wrk", Silent())
    if wrk is None:
        pytest.skip("there is no wrk and none can be had")
    keys = ["none", LBKIT, *(key for key in ("haproxy", "nginx") if find_program(key, Silent(), fetch=False))]
    cases = [case for case in CASES if case.key in ("varied", "tls", "handshake")]
    wanted = plan(*keys, client=wrk_client(wrk, 1), cases=cases, seconds=1)
    result = run(wanted, nothing)
    measured = {
        case: {path for one, path in result.figures.samples if one == case} for case in ("varied", "tls")
    }
    assert measured == {"varied": set(keys), "tls": set(keys) - {"none"}}
    assert wanted.steps == len(result.figures.samples)
    for (sample,) in result.figures.samples.values():
        assert sample.rate > 0 and sample.failures == 0


def test_cases_over_tls_are_asked_for_where_tls_is_spoken() -> None:
    asked: list[tuple[Address, Ask]] = []

    def client(address: Address, ask: Ask) -> Measured:
        asked.append((address, ask))
        return Measured(1, 1, 1, 1, 0, 0)

    run(plan(LBKIT, cases=[CASES[0], CASES[-1]], client=client), nothing)
    (plain, small), (tls, big) = asked
    assert plain != tls and not small.tls
    assert big == Ask("/big", 4, 0.3, tls=True)


@pytest.mark.parametrize("ask", [Ask("/", 1, 1, tls=True), Ask("/", 1, 1, script="varied")])
def test_what_only_wrk_can(ask: Ask) -> None:
    with pytest.raises(ConfigError, match="install wrk"):
        own_client(Address("127.0.0.1", 1), ask)
