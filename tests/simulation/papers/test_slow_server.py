from __future__ import annotations

from lbkit.simulation.papers import PAPERS, Report


def test_the_published_numbers_are_met() -> None:
    report = Report()
    PAPERS["slow-server"].run(report, True)
    assert report.rows
    assert [row for row in report.rows if not row.ok] == []
