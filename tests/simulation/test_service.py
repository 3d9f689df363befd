from __future__ import annotations

import random
import statistics
from itertools import islice

import pytest

from lbkit.config.values import Duration
from lbkit.simulation.service import (
    SERVICES,
    Constant,
    Exponential,
    LogNormal,
    Normal,
    Pareto,
    Recorded,
    Service,
)

KINDS: list[Service] = [
    Constant(Duration(0.01)),
    Exponential(Duration(0.01)),
    Normal(Duration(0.01), Duration(0.002)),
    LogNormal(Duration(0.01), 0.8),
    Pareto(Duration(0.01), 3.0),
]


def draws(service: Service, count: int) -> list[float]:
    return list(islice(service.works(random.Random(1)), count))


@pytest.mark.parametrize("service", KINDS)
def test_the_mean_is_the_mean(service: Service) -> None:
    works = draws(service, 50_000)
    assert min(works) >= 0
    assert statistics.fmean(works) == pytest.approx(0.01, rel=0.02)
    assert works == draws(service, 50_000)


def test_a_wide_normal_is_never_negative() -> None:
    assert min(draws(Normal(Duration(0.01), Duration(0.05)), 1000)) >= 0


def test_the_tails() -> None:
    """P(X > 10 means): e⁻¹⁰ for an exponential, far more for the others."""
    pareto = draws(Pareto(Duration(1), 1.5), 50_000)
    assert sum(work > 10 for work in pareto) / 50_000 == pytest.approx((1 / 30) ** 1.5, rel=0.2)
    assert sum(work > 10 for work in draws(Exponential(Duration(1)), 50_000)) < 20


def test_recorded_ones_come_again() -> None:
    assert draws(Recorded([1.0, 2.0]), 5) == [1, 2, 1, 2, 1]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (lambda: Exponential(Duration(0)), "mean: must be above 0"),
        (lambda: Pareto(Duration(1), 1.0), "shape: 1 is not above 1"),
        (lambda: LogNormal(Duration(1), -1), "sigma: -1"),
    ],
)
def test_what_is_refused(kind: type, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind()


def test_every_kind_has_its_name() -> None:
    assert sorted(SERVICES) == ["constant", "exponential", "log_normal", "normal", "pareto"]
