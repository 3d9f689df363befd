from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.health import CheckSchedule, Health, Intervals

EXACT = Intervals(2.0, fast=0.5, down=5.0, jitter=0)


def schedule_of(intervals: Intervals, now: float = 0.0) -> CheckSchedule:
    return CheckSchedule(intervals, now, random.Random(7))


def health_after(*results: bool) -> Health:
    health = Health(rise=2, fall=3)
    for passed in results:
        health.observe(passed, "", 0)
    return health


def test_the_first_check_is_due_at_once() -> None:
    assert schedule_of(EXACT, 100.0).due == 100.0


@given(st.floats(0.01, 1000), st.floats(0, 0.5), st.integers())
def test_a_check_is_moved_only_earlier_and_within_the_jitter(
    interval: float, jitter: float, seed: int
) -> None:
    schedule = CheckSchedule(Intervals(interval, jitter=jitter), 0.0, random.Random(seed))
    schedule.started(10.0, Health())
    assert 10.0 + interval * (1 - jitter) - 1e-9 <= schedule.due <= 10.0 + interval + 1e-9


def test_jitter_spreads_the_checks() -> None:
    rng = random.Random(7)
    schedules = [CheckSchedule(Intervals(1.0, jitter=0.2), 0.0, rng) for _ in range(50)]
    for schedule in schedules:
        schedule.started(0.0, Health())
    assert len({schedule.due for schedule in schedules}) == 50


@pytest.mark.parametrize(
    ("results", "pause"),
    [
        ([True], 2.0),
        ([True, False], 0.5),
        ([True, False, True], 2.0),
        ([True, False, False, False], 5.0),
        ([False], 5.0),
        ([False, True], 0.5),
        ([False, True, True], 2.0),
    ],
)
def test_fast_while_changing_and_slow_while_down(results: list[bool], pause: float) -> None:
    schedule, health = schedule_of(EXACT), health_after(*results)
    schedule.started(10.0, health)
    assert schedule.due == 10.0 + pause
    assert Intervals(3.0, jitter=0).after(health) == 3.0, "both are the interval where they are not set"


def test_a_result_that_changes_the_state_changes_the_pause() -> None:
    schedule, health = schedule_of(EXACT), health_after(True)
    schedule.started(10.0, health)
    health.observe(False, "", 10.2)
    schedule.ended(health)
    assert schedule.due == 10.5


def test_hurry_brings_the_next_check_forward_and_never_back() -> None:
    schedule = schedule_of(EXACT)
    schedule.started(10.0, health_after(True))
    schedule.hurry()
    assert schedule.due == 10.5
    schedule.hurry()
    assert schedule.due == 10.5


@pytest.mark.parametrize(
    ("intervals", "message"),
    [
        ({"interval": 0}, "positive"),
        ({"interval": -1}, "positive"),
        ({"fast": -1}, "positive"),
        ({"down": -0.1}, "positive"),
        ({"jitter": 1}, "jitter"),
        ({"jitter": -0.1}, "jitter"),
    ],
)
def test_bounds(intervals: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Intervals(**intervals)
