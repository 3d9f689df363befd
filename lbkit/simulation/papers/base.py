"""`Paper`: a published experiment that is run again, and its rows of published against measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from lbkit.balancing import ALGORITHMS

__all__ = ["PAPERS", "Paper", "Report", "Row", "options_of", "paper"]


@dataclass(frozen=True, slots=True)
class Row:
    """One published statement: what it is about, both values and the tolerance in words, and the verdict."""

    what: str
    published: str
    measured: str
    tolerance: str
    ok: bool


@dataclass(slots=True)
class Report:
    """Collects rows. *told* hears of each as soon as it is there."""

    told: Callable[[Row], None] | None = None
    rows: list[Row] = field(default_factory=list)

    def add(self, what: str, published: str, measured: str, tolerance: str, ok: bool) -> None:
        """One row."""
        row = Row(what, published, measured, tolerance, ok)
        self.rows.append(row)
        if self.told is not None:
            self.told(row)

    def compare(self, what: str, published: float, measured: float, tolerance: float, unit: str = "") -> None:
        """A row of two numbers; *tolerance* is the part of *published* that they may differ by."""
        ok = abs(measured - published) <= tolerance * abs(published)
        shown = f"±{100 * tolerance:g} %"
        self.add(what, f"{published:.5g}{unit}", f"{measured:.5g}{unit}", shown, ok)


@dataclass(frozen=True, slots=True)
class Paper:
    """A published experiment. `run` takes the report to fill and whether a small version will do."""

    name: str
    source: str
    run: Callable[[Report, bool], None]

    @property
    def summary(self) -> str:
        """What it is, in a line."""
        return (self.run.__doc__ or "").strip().splitlines()[0]


PAPERS: Final[dict[str, Paper]] = {}


def paper(
    name: str, source: str
) -> Callable[[Callable[[Report, bool], None]], Callable[[Report, bool], None]]:
    """Enter the decorated function into `PAPERS`."""

    def enter(run: Callable[[Report, bool], None]) -> Callable[[Report, bool], None]:
        PAPERS[name] = Paper(name, source, run)
        return run

    return enter


def options_of(algorithm: str, **options: Any) -> dict[str, Any]:
    """For `Scenario.options`: these options of one algorithm."""
    return {algorithm: ALGORITHMS[algorithm].options(**options)}
