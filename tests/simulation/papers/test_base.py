from __future__ import annotations

from lbkit.simulation.papers.base import PAPERS, Report, Row, options_of


def test_every_row_of_the_reference_has_its_paper() -> None:
    assert sorted(PAPERS) == [
        "balls-in-bins",
        "bounded-loads",
        "maglev",
        "prequal",
        "slow-server",
        "smooth-round-robin",
        "supermarket",
        "two-hundred-servers",
    ]
    assert all(paper.summary and paper.source for paper in PAPERS.values())


def test_a_report_compares_and_tells() -> None:
    told: list[Row] = []
    report = Report(told.append)
    report.compare("a", 10.0, 10.2, 0.03)
    report.compare("b", 10.0, 10.4, 0.03, " s")
    assert report.rows == told
    assert told == [Row("a", "10", "10.2", "±3 %", True), Row("b", "10 s", "10.4 s", "±3 %", False)]


def test_options() -> None:
    assert options_of("two_choices", choices=3)["two_choices"].choices == 3
