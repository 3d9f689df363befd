from __future__ import annotations

import pytest

from lbkit.mysql.options import PoolLimits, RouterOptions


def test_the_defaults_are_valid() -> None:
    assert RouterOptions().pool.size == 10


@pytest.mark.parametrize(
    "wrong",
    [
        {"connect_timeout": 0},
        {"monitor_interval": -1},
        {"monitor_timeout": 0},
        {"pool": PoolLimits(size=0)},
        {"pool": PoolLimits(wait=0)},
    ],
)
def test_what_can_never_work_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        RouterOptions(**wrong)  # type: ignore[arg-type]  # wrong values are the point


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"max_lag": -1}, "not below 0"),
        ({"wait_for_primary": -1}, "not below 0"),
        ({"pool": PoolLimits(size=2, warm=3)}, "from 0 to pool.size"),
        ({"consistency": "causal"}, 'one of eventual, session, strong, not "causal"'),
        ({"wait_for_writes": 0}, "above 0"),
    ],
)
def test_each_has_its_range(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        RouterOptions(**wrong)  # type: ignore[arg-type]  # wrong values are the point
