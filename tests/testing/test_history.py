"""The checker of histories finds each fault that is put into one, and none in a good one."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.testing.history import End, History


def test_what_was_acknowledged_and_is_not_there_is_lost() -> None:
    history = History()
    for value, end in enumerate((End.ACKNOWLEDGED, End.ACKNOWLEDGED, End.UNKNOWN, End.UNKNOWN, End.REFUSED)):
        history.ends(history.adds(value, 1.0), end, 2.0)
    verdict = history.judge([0, 2], {})
    assert (verdict.lost, verdict.phantom, verdict.acknowledged, verdict.unknown, verdict.refused) == (
        1,
        0,
        2,
        2,
        1,
    )
    assert not verdict.is_good and verdict.examples == ("set: 1 was acknowledged at 2.000 and is not there",)
    assert "1 lost" in str(verdict)


def test_what_nobody_added_or_did_not_happen_is_a_phantom() -> None:
    history = History()
    history.ends(history.adds(1, 0.0), End.REFUSED, 1.0)
    assert history.judge([1, 2], {}).phantom == 2


def test_a_register_ends_with_a_value_that_somebody_wrote() -> None:
    history = History()
    for end in (End.ACKNOWLEDGED, End.REFUSED, End.UNKNOWN):
        history.written(1, history.writes(1, 0.0), end, 1.0)
    assert [history.judge([], {1: value}).phantom for value in (1, 2, 3, 4)] == [0, 1, 0, 1]
    assert history.judge([], {1: 1, 2: 0}).is_good
    assert history.judge([], {1: 1, 2: 1}).phantom == 1


def test_an_element_is_added_once() -> None:
    history = History()
    history.adds(1, 0.0)
    with pytest.raises(ValueError, match="added before"):
        history.adds(1, 1.0)


def test_a_read_of_an_older_value_is_stale() -> None:
    history = History()
    assert history.least(7) == 0
    first = history.writes(7, 0.0)
    history.written(7, first, End.ACKNOWLEDGED, 1.0)
    second = history.writes(7, 2.0)  # it never ends: both answers are right
    least = history.least(7)
    history.reads(7, 1, least)
    history.reads(7, 2, least)
    assert history.judge([], {7: 2}).is_good
    history.reads(7, 0, least)
    history.reads(7, 3, least)
    history.written(7, second, End.REFUSED, 3.0)
    history.reads(7, 2, least)
    verdict = history.judge([], {7: 0})
    assert (verdict.stale, verdict.phantom, verdict.lost, verdict.reads) == (1, 2, 1, 5)


def test_money_that_is_under_way_is_torn() -> None:
    history = History(total=100)
    history.ends(history.transfers(0.0), End.ACKNOWLEDGED, 1.0)
    history.sums(100)
    assert history.judge([], {}).is_good
    history.sums(95)
    assert history.judge([], {}).torn == 1


def test_only_some_faults_are_told_one_by_one() -> None:
    history = History(most_examples=3)
    for _ in range(10):
        history.sums(1)
    verdict = history.judge([], {})
    assert verdict.torn == 10 and len(verdict.examples) == 3


class Database:
    """One that does as it should, at random, and may be told to lose what it acknowledged."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.elements: set[int] = set()
        self.registers: dict[int, int] = {}

    def does(self) -> tuple[bool, End]:
        """Whether a write happens, and what its client hears."""
        happens = self.rng.random() < 0.7
        if self.rng.random() < 0.3:
            return happens, End.UNKNOWN
        return happens, End.ACKNOWLEDGED if happens else End.REFUSED


@given(st.integers(), st.booleans())
def test_a_database_without_fault_is_found_so_and_one_with_a_fault_is_not(seed: int, loses: bool) -> None:
    rng = random.Random(seed)
    database, history = Database(rng), History(total=10)
    acknowledged: list[int] = []
    for step in range(rng.randrange(1, 80)):
        now = float(step)
        happens, end = database.does()
        if rng.random() < 0.5:
            attempt = history.adds(step, now)
            if happens:
                database.elements.add(step)
            history.ends(attempt, end, now + 0.5)
            if end is End.ACKNOWLEDGED:
                acknowledged.append(step)
            continue
        key = rng.randrange(3)
        attempt = history.writes(key, now)
        if happens:
            database.registers[key] = attempt.value
        history.written(key, attempt, end, now + 0.5)
        history.reads(key, database.registers.get(key, 0), history.least(key))
        history.sums(10)
    if loses and acknowledged:
        database.elements.discard(rng.choice(acknowledged))
        assert history.judge(database.elements, database.registers).lost == 1
    else:
        assert history.judge(database.elements, database.registers).is_good
