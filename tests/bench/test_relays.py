from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from lbkit.bench.clients import Ask, Measured, own_client
from lbkit.bench.contenders import Contender, select
from lbkit.bench.relays import CASES, Plan, machine, run
from lbkit.cluster.report import Silent
from lbkit.errors import StartFailed
from lbkit.server import Address


def plan(*keys: str, **changes: object) -> Plan:
    contenders = select(Silent(), fetch=False, keys=keys).contenders
    short = Plan(contenders, own_client, CASES[:1], rounds=1, seconds=0.3, idle_connections=0)
    return replace(short, **changes)  # type: ignore[arg-type]


def nothing(step: str) -> None:
    """Nobody wants to know."""


def test_a_short_real_run() -> None:
    wanted = plan("none", "stream", "naive", cases=[CASES[3]])
    steps: list[str] = []
    result = run(wanted, steps.append)
    assert [one.key for one in result.contenders] == ["none", "stream", "naive"]
    assert len(steps) == wanted.steps == 3
    assert steps[0] == "one connection a request: no proxy"
    assert set(result.figures.samples) == {
        (case.key, key) for case in wanted.cases for key in ("none", "stream", "naive")
    }
    for (_, path), (sample,) in result.figures.samples.items():
        assert sample.rate > 0
        assert sample.bytes_rate > 612 * sample.rate
        assert sample.failures == 0
        assert sample.system_us > 0
        assert (sample.own_us > 0) == (path != "none")


def test_the_order_turns_and_every_case_is_asked_for_as_it_says() -> None:
    asked: list[tuple[Address, Ask]] = []

    def client(address: Address, ask: Ask) -> Measured:
        asked.append((address, ask))
        return Measured(1, 1, 1, 1, 0, 0)

    run(plan("none", "naive", rounds=2, cases=CASES, client=client), nothing)
    first, second = asked[0][0], asked[1][0]
    count = 2 * len(CASES)
    assert [address for address, _ in asked] == [first, second] * len(CASES) + [second, first] * len(CASES)
    assert [ask for _, ask in asked[:count:2]] == [
        Ask(case.resource, case.connections, 0.3, case.close) for case in CASES
    ]


def test_memory_is_measured_in_processes_of_its_own() -> None:
    wanted = plan("none", "naive", cases=[], idle_connections=100)
    steps: list[str] = []
    result = run(wanted, steps.append)
    assert steps == ["memory: naive asyncio"] * 3
    assert wanted.steps == 3
    assert len(result.figures.idle["naive"]) == 3
    assert set(result.figures.idle) == {"naive"}


def broken(name: str) -> Contender:
    return Contender("x", name, command=lambda *_: [sys.executable, "-c", "raise SystemExit('broken')"])


def test_a_rival_that_does_not_start_is_passed_over_and_lbkit_is_not() -> None:
    result = run(plan(contenders=[*plan("none").contenders, broken("Rival")]), nothing)
    assert result.passed_over == {"x": "Rival did not start: broken"}
    assert [one.key for one in result.contenders] == ["none"]
    with pytest.raises(StartFailed, match="lbkit x did not start: broken"):
        run(plan(contenders=[broken("lbkit x")]), nothing)


def test_the_machine_is_named() -> None:
    assert "Python 3." in machine()
    assert "cores" in machine()
