from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from lbkit.config.decoder import INVALID, Problems, decode, key_path
from lbkit.config.values import Duration, Size
from lbkit.server import Address


@dataclass(frozen=True)
class Inner:
    name: str
    size: Size = Size(1)


@dataclass(frozen=True)
class Options:
    level: int = 1

    def __post_init__(self) -> None:
        if self.level > 9:
            raise ValueError("level: more than 9")


@dataclass(frozen=True)
class Outer:
    address: Address
    wait: Duration = Duration(1)
    mode: Literal["tcp", "http"] = "tcp"
    limit: int | None = None
    share: float = 0.5
    on: bool = False
    inners: tuple[Inner, ...] = ()
    named: Mapping[str, Inner] = field(default_factory=dict)


def run(kind: type, value: Any) -> tuple[Any, list[str]]:
    problems = Problems()
    return decode(kind, value, "top", problems), problems.lines


def test_everything_right() -> None:
    value = {
        "address": "[::1]:80",
        "wait": "5s",
        "mode": "http",
        "limit": 3,
        "share": 1,
        "on": True,
        "inners": [{"name": "a"}, {"name": "b", "size": "1KiB"}],
        "named": {"x": {"name": "c"}},
    }
    decoded, problems = run(Outer, value)
    assert not problems
    assert decoded == Outer(
        Address("::1", 80),
        Duration(5),
        "http",
        3,
        1.0,
        True,
        (Inner("a"), Inner("b", Size(1024))),
        {"x": Inner("c")},
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"adress": 1}, 'top.adress: unknown key (did you mean "address"?)'),
        ({"wait": 5}, 'top.wait: expected a duration such as "2s", got a whole number'),
        ({"wait": "5"}, 'top.wait: "5" is not a duration: write a number and ms, s, m, h or d, such as "2s"'),
        ({"mode": "htp"}, 'top.mode: "htp" is not one of tcp, http (did you mean "http"?)'),
        ({"mode": 1}, "top.mode: expected tcp or http, got a whole number"),
        ({"limit": "3"}, 'top.limit: expected a whole number, got the string "3"'),
        ({"limit": True}, "top.limit: expected a whole number, got a boolean"),
        ({"limit": 1.5}, "top.limit: expected a whole number, got a number"),
        ({"on": 1}, "top.on: expected true or false, got a whole number"),
        ({"inners": {}}, "top.inners: expected an array, got a table"),
        ({"inners": [3]}, "top.inners[1]: expected a table, got a whole number"),
        ({"inners": [{"name": "a"}, {}]}, 'top.inners[2]: missing key "name"'),
        ({"named": 3}, "top.named: expected tables [top.named.NAME], got a whole number"),
        ({"named": {"a b": {"name": 1}}}, 'top.named."a b".name: expected a string, got a whole number'),
    ],
)
def test_one_problem_is_said_once(change: dict[str, Any], problem: str) -> None:
    decoded, problems = run(Outer, {"address": "a:1", **change})
    assert problems == [problem]
    assert decoded.address == Address("a", 1), "the rest is still decoded"


def test_all_problems_at_once_and_stand_ins_differ() -> None:
    decoded, problems = run(Outer, {"wait": 1, "inners": [{"name": 1}, {"name": 2}]})
    assert len(problems) == 4
    assert len({inner.name for inner in decoded.inners}) == 2


def test_options_that_check_themselves() -> None:
    decoded, problems = run(Options, {"level": 10})
    assert decoded is INVALID
    assert problems == ["top.level: more than 9"]


@pytest.mark.parametrize(
    ("parent", "key", "path"),
    [("", "a", "a"), ("a", "b-c_d", "a.b-c_d"), ("a", 0, "a[1]"), ("a", "x.y", 'a."x.y"'), ("", "", '""')],
)
def test_key_path(parent: str, key: str | int, path: str) -> None:
    assert key_path(parent, key) == path
