from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice, pairwise, takewhile

import pytest

from lbkit.config.values import Duration
from lbkit.simulation.arrivals import ARRIVALS, Arrivals, Bursts, Constant, Poisson, Steps

KINDS: list[Arrivals] = [
    Poisson(100),
    Constant(100),
    Bursts(50, Duration(0.5)),
    Bursts(50, Duration(0.5), Duration(0.2)),
    Steps((50, 150), Duration(5)),
]


def first(arrivals: Arrivals, count: int, seed: int = 1) -> Iterator[float]:
    return islice(arrivals.times(random.Random(seed)), count)


@pytest.mark.parametrize("arrivals", KINDS)
def test_times_never_fall_and_come_at_the_rate(arrivals: Arrivals) -> None:
    times = list(first(arrivals, 5000))
    assert times[0] >= 0
    assert all(later >= earlier for earlier, later in pairwise(times))
    assert times[-1] == pytest.approx(arrivals.expected_duration(5000), rel=0.05)


@pytest.mark.parametrize("arrivals", KINDS)
def test_one_seed_gives_the_same_times_again(arrivals: Arrivals) -> None:
    assert list(first(arrivals, 100)) == list(first(arrivals, 100))


def test_bursts_come_together() -> None:
    assert list(first(Bursts(2, Duration(1)), 5)) == [0, 0, 1, 1, 2]
    assert list(first(Bursts(2, Duration(1), Duration(0.5)), 4)) == [0, 0.25, 1, 1.25]


def test_constant_arrivals_do_not_drift() -> None:
    assert list(first(Constant(10), 100_001))[-1] == 10_000


def test_steps_change_the_rate() -> None:
    times = list(
        takewhile(lambda now: now < 30, Steps((100, 1000, 10), Duration(10)).times(random.Random(1)))
    )
    counts = [sum(10 * step <= now < 10 * step + 10 for now in times) for step in range(3)]
    assert counts == [pytest.approx(expected, rel=0.15, abs=40) for expected in (1000, 10_000, 100)]


def test_how_long_steps_will_take() -> None:
    steps = Steps((100, 1000), Duration(10))
    assert steps.expected_duration(500) == 5
    assert steps.expected_duration(2000) == 11


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (lambda: Poisson(0), "rate: 0 is not above 0"),
        (lambda: Constant(float("inf")), "rate: inf is not above 0"),
        (lambda: Bursts(0, Duration(1)), "size: 0"),
        (lambda: Bursts(1, Duration(1), Duration(2)), "spread: is longer than every"),
        (lambda: Steps((), Duration(1)), "rates: at least one"),
        (lambda: Steps((1, -1), Duration(1)), "rates: -1"),
    ],
)
def test_what_is_refused(kind: type, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind()


def test_every_kind_has_its_name() -> None:
    assert sorted(ARRIVALS) == ["bursts", "constant", "poisson", "steps"]
