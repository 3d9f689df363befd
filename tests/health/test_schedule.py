from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.health import CheckSchedule


def test_the_first_check_is_due_at_once() -> None:
    assert CheckSchedule(2.0, 0.1, 100.0, random.Random(7)).due == 100.0


@given(st.floats(0.01, 1000), st.floats(0, 0.5), st.integers())
def test_a_check_is_moved_only_earlier_and_within_the_jitter(
    interval: float, jitter: float, seed: int
) -> None:
    schedule = CheckSchedule(interval, jitter, 0.0, random.Random(seed))
    schedule.started(10.0)
    assert 10.0 + interval * (1 - jitter) - 1e-9 <= schedule.due <= 10.0 + interval + 1e-9


def test_jitter_spreads_the_checks() -> None:
    rng = random.Random(7)
    schedules = [CheckSchedule(1.0, 0.2, 0.0, rng) for _ in range(50)]
    for schedule in schedules:
        schedule.started(0.0)
    assert len({schedule.due for schedule in schedules}) == 50


@pytest.mark.parametrize(("interval", "jitter"), [(0, 0.1), (-1, 0.1), (1, 1), (1, -0.1)])
def test_bounds(interval: float, jitter: float) -> None:
    with pytest.raises(ValueError, match="interval must be positive"):
        CheckSchedule(interval, jitter, 0.0, random.Random(7))
