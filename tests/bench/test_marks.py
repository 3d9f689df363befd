from __future__ import annotations

from lbkit.bench.figures import MEASURES, Figures, Sample
from lbkit.bench.marks import MARKS, judge


def sample(rate: float, failures: int = 0) -> Sample:
    return Sample(rate, rate, 100 / rate, 100 / rate, failures, 100 / rate, 100 / rate)


def figures(rate: float, failures: int = 0) -> Figures:
    """lbkit at *rate*, HAProxy at 100, in every case."""
    found = Figures()
    for case in {mark.measure.case for mark in MARKS} - {"idle"}:
        found.samples[case, "auto"] = [sample(rate, failures)]
        found.samples[case, "sockmap"] = [sample(rate * 100, failures)]
        found.samples[case, "haproxy"] = [sample(100)]
        found.samples[case, "none"] = [sample(1000)]
    found.idle |= {"auto": [100 / rate], "haproxy": [1]}
    return found


def test_the_marks() -> None:
    shown = {(mark.measure.name, mark.sign, mark.bound, mark.path) for mark in MARKS}
    assert ("small, keep-alive: requests/s", "≥", 1.15, "auto") in shown
    assert ("small, keep-alive: own CPU a request", "≤", 0.05, "sockmap") in shown
    assert len(MARKS) == 8


def test_met_and_missed() -> None:
    assert all(verdict.met for verdict in judge(figures(160), {}))
    missed = {verdict.mark.measure.name for verdict in judge(figures(120), {}) if not verdict.met}
    assert missed == {MEASURES["big"].name}
    assert sum(verdict.met is False for verdict in judge(figures(50), {})) == 7, "all but sockmap's"


def test_failed_requests_meet_nothing() -> None:
    verdicts = judge(figures(160, failures=3), {})
    assert [verdict.met for verdict in verdicts] == [False] * 7 + [True], "memory has no failures"
    assert verdicts[0].reason == "3 requests failed"


def test_a_reference_that_fails_judges_nothing() -> None:
    found = figures(160)
    found.samples["small", "haproxy"] = [sample(100, failures=1)]
    assert judge(found, {})[0].met
    found.samples["small", "haproxy"] = [sample(100, failures=2)]
    verdict = judge(found, {})[0]
    assert (verdict.met, verdict.reason) == (None, "2 requests of haproxy failed")


def test_what_was_not_measured_is_not_judged() -> None:
    verdicts = judge(Figures(), {"sockmap": "no permission"})
    assert {verdict.met for verdict in verdicts} == {None}
    reasons = {verdict.mark.path: verdict.reason for verdict in verdicts}
    assert reasons == {"auto": "not measured", "sockmap": "no permission"}
