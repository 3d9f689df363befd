from __future__ import annotations

import math

import pytest

from lbkit.simulation.papers import PAPERS, Report
from lbkit.simulation.papers.bins import inverse_gamma


def test_the_published_numbers_are_met() -> None:
    report = Report()
    PAPERS["balls-in-bins"].run(report, True)
    assert report.rows
    assert [row for row in report.rows if not row.ok] == []


def test_the_inverse_of_gamma() -> None:
    assert inverse_gamma(math.gamma(8.5)) == pytest.approx(8.5)
