from __future__ import annotations

import pytest

from lbkit.simulation.papers import PAPERS, Report


@pytest.mark.parametrize("name", ["smooth-round-robin", "maglev", "bounded-loads"])
def test_the_published_numbers_are_met(name: str) -> None:
    report = Report()
    PAPERS[name].run(report, True)
    assert report.rows
    assert [row for row in report.rows if not row.ok] == []
