"""What lbkit is to reach beside HAProxy, and whether it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lbkit.bench.figures import LBKIT, MEASURES, REFERENCE, Figures, Measure

__all__ = ["MARKS", "Mark", "Verdict", "judge"]

_TOLERATED = 100
"""One failed request in so many is no reason to doubt a reference."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A bound for the ratio of lbkit's path to another: the least, or the most where less is better."""

    measure: Measure
    bound: float
    path: str = LBKIT
    reference: str = REFERENCE
    """The path of which it is a ratio."""

    @property
    def sign(self) -> str:
        """How the ratio is to stand to the bound."""
        return "≤" if self.measure.less_is_better else "≥"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A mark with what was measured: `met` is None where it could not be judged, and `reason` says why."""

    mark: Mark
    ratio: float | None
    met: bool | None
    reason: str = ""


MARKS = (
    Mark(MEASURES["small"], 1.15),
    Mark(MEASURES["medium"], 1.15),
    Mark(MEASURES["big"], 1.5),
    Mark(MEASURES["connect"], 0.75),
    Mark(MEASURES["cpu"], 0.05, "sockmap"),
    Mark(MEASURES["p99"], 1.0),
    Mark(MEASURES["added"], 1.3),
    Mark(MEASURES["idle"], 1.0),
)


def judge(figures: Figures, passed_over: Mapping[str, str], marks: Sequence[Mark] = MARKS) -> list[Verdict]:
    """Every one of *marks*. A rate at which requests failed meets none, and nothing is judged by a reference
    that fails."""
    return [_judge(mark, figures, passed_over) for mark in marks]


def _judge(mark: Mark, figures: Figures, passed_over: Mapping[str, str]) -> Verdict:
    ratio = mark.measure.ratio(figures, mark.path, mark.reference)
    if ratio is None:
        why = passed_over.get(mark.path) or passed_over.get(mark.reference)
        return Verdict(mark, None, None, why or "not measured")
    if failures := figures.failures(mark.measure.case, mark.path):
        return Verdict(mark, ratio, False, f"{failures} requests failed")
    theirs = figures.failures(mark.measure.case, mark.reference)
    if theirs * _TOLERATED > figures.answered(mark.measure.case, mark.reference):
        return Verdict(mark, ratio, None, f"{theirs} requests of {mark.reference} failed")
    met = ratio <= mark.bound if mark.measure.less_is_better else ratio >= mark.bound
    return Verdict(mark, ratio, met)
