from __future__ import annotations

import pytest

from lbkit.simulation.papers import PAPERS, Report
from lbkit.simulation.papers.supermarket import mean_time


def test_the_published_numbers_are_met() -> None:
    report = Report()
    PAPERS["supermarket"].run(report, True)
    assert report.rows
    assert [row for row in report.rows if not row.ok] == []


@pytest.mark.parametrize(
    ("load", "published"),
    [
        (0.5, (2, 1.2657, 1.1252)),
        (0.7, (3.3333, 1.6145, 1.3568)),
        (0.9, (10, 2.6141, 2.0279)),
        (0.95, (20, 3.3830, 2.5351)),
    ],
)
def test_the_formula(load: float, published: tuple[float, ...]) -> None:
    assert [mean_time(load, choices) for choices in (1, 2, 3)] == pytest.approx(published, abs=6e-5)
