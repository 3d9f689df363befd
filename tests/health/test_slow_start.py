from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.health.slow_start import STEPS, next_step, sixteenths


@pytest.mark.parametrize(
    ("now", "share"), [(100, 1), (100.9, 1), (101, 2), (108, 9), (115.99, 16), (116, 16), (1000, 16), (99, 1)]
)
def test_the_share_grows_linearly(now: float, share: int) -> None:
    assert sixteenths(100, 16, now) == share


def test_without_a_duration_all_at_once() -> None:
    assert sixteenths(100, 0, 100) == STEPS
    assert next_step(100, 0, 100) == math.inf


@given(st.floats(0, 1e6), st.floats(0.001, 1e5))
def test_following_the_steps_leads_to_the_whole_share_in_time(since: float, duration: float) -> None:
    now, shares = since, []
    while now < math.inf:
        shares.append(sixteenths(since, duration, now))
        assert len(shares) <= STEPS + 1
        now = next_step(since, duration, now)
    assert shares == sorted(shares)
    assert shares[0] == 1
    assert shares[-1] == STEPS
    assert sixteenths(since, duration, since + duration) == STEPS
