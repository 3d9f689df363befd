"""A picture of a run for the README: ratios to HAProxy, or another reference, as bars, the marks beside them.

One panel for what is to be high and one for what is to be low, on logarithmic axes on which twice as much
and half as much are as far from 1. matplotlib is an extra that only these functions import.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lbkit.bench.contenders import Contender
from lbkit.bench.figures import LBKIT, MEASURES, NO_PROXY, REFERENCE, Figures, Measure
from lbkit.bench.marks import MARKS, Mark
from lbkit.errors import StartFailed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["figure", "write_picture"]

# Okabe and Ito's (2008), which colour-blind readers can tell apart.
_COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#CC79A7", "#999999")
_MOST = 6
"""Paths: with more of them nobody finds a bar."""
_WANTED = (LBKIT, "sockmap", "splice", "nginx", "proxy.py", "naive", "stream")
"""Which they are where there are more."""
_WIDTH = 0.8
"""Of a group of bars, of the distance between two."""
_LOWEST = 0.01
"""Ratios below it are drawn as this: their bars would push all others together."""
_DPI = 200


def write_picture(
    figures: Figures,
    contenders: Sequence[Contender],
    where: Path,
    title: str,
    measures: Sequence[Measure] = tuple(MEASURES.values()),
    marks: Sequence[Mark] = MARKS,
    reference: str = REFERENCE,
) -> None:
    """Write a PNG file. Raises StartFailed where matplotlib is missing or it cannot be written."""
    drawn = figure(figures, contenders, title, measures, marks, reference)
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        drawn.savefig(where, dpi=_DPI, format="png")
    except OSError as error:
        raise StartFailed(f"{where}: cannot be written: {(error.strerror or str(error)).lower()}") from None


def figure(
    figures: Figures,
    contenders: Sequence[Contender],
    title: str,
    measures: Sequence[Measure] = tuple(MEASURES.values()),
    marks: Sequence[Mark] = MARKS,
    reference: str = REFERENCE,
) -> Figure:
    """The picture, of ratios to the path *reference*. Raises StartFailed where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise StartFailed("pictures need matplotlib: install lbkit[plots], or matplotlib itself") from None
    shown = _shown(contenders, reference)
    to = next((one.name for one in contenders if one.key == reference), reference)
    panels = [
        (
            heading,
            [one for one in measures if one.less_is_better is less and _has(one, figures, shown, reference)],
        )
        for less, heading in ((False, "more is better"), (True, "less is better"))
    ]
    panels = [panel for panel in panels if panel[1]]
    drawn = Figure(figsize=(10, 1.2 + 3 * max(1, len(panels))), layout="constrained")
    if panels:
        axes = drawn.subplots(len(panels), 1, squeeze=False)[:, 0]
        for one, (heading, of_panel) in zip(axes, panels, strict=True):
            _draw(one, figures, shown, of_panel, f"to {to} ({heading})", marks, reference)
        handles, labels = axes[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
    drawn.suptitle(title, fontsize=9)
    return drawn


def _shown(contenders: Sequence[Contender], reference: str) -> list[Contender]:
    """At most `_MOST`, in their own order: without the reference, which is the line, and without no proxy."""
    drawn = [one for one in contenders if one.key not in (NO_PROXY, reference)]
    known = [key for key in _WANTED if any(one.key == key for one in drawn)]
    others = [one.key for one in drawn if one.key not in _WANTED]
    chosen = (known + others)[:_MOST]
    return [one for one in drawn if one.key in chosen]


def _has(measure: Measure, figures: Figures, shown: Sequence[Contender], reference: str) -> bool:
    return any(measure.ratio(figures, one.key, reference) is not None for one in shown)


def _draw(
    axes: Axes,
    figures: Figures,
    shown: Sequence[Contender],
    measures: Sequence[Measure],
    label: str,
    marks: Sequence[Mark],
    reference: str,
) -> None:
    width = _WIDTH / len(shown)
    for place, one in enumerate(shown):
        ratios = [measure.ratio(figures, one.key, reference) for measure in measures]
        lefts = [group - _WIDTH / 2 + (place + 0.5) * width for group in range(len(measures))]
        heights = [_LOWEST if ratio is None else max(ratio, _LOWEST) for ratio in ratios]
        # From 1, up or down: on a logarithmic axis there is no 0 to start at.
        axes.bar(
            lefts,
            [height - 1 if ratio is not None else 0 for height, ratio in zip(heights, ratios, strict=True)],
            width * 0.92,
            bottom=1,
            label=one.name,
            color=_COLOURS[place % len(_COLOURS)],
        )
        for left, height, ratio in zip(lefts, heights, ratios, strict=True):
            if ratio is not None:
                above = height >= 1
                axes.annotate(
                    f"{ratio:.2g}" if ratio < 0.1 else f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}",
                    (left, height),
                    xytext=(0, 2 if above else -2),
                    textcoords="offset points",
                    ha="center",
                    va="bottom" if above else "top",
                    fontsize=6,
                )
    _draw_marks(axes, shown, measures, width, [mark for mark in marks if mark.reference == reference])
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_yscale("log")
    axes.margins(y=0.12)
    _plain_labels(axes)
    axes.set_xlim(-0.5, len(measures) - 0.5)
    axes.set_xticks(range(len(measures)), [one.name.replace(": ", ":\n") for one in measures], fontsize=8)
    axes.set_ylabel(label, fontsize=8)
    axes.grid(True, axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def _draw_marks(
    axes: Axes, shown: Sequence[Contender], measures: Sequence[Measure], width: float, marks: Sequence[Mark]
) -> None:
    """A tick at each bound, over the bar that it is for."""
    places = {one.key: place for place, one in enumerate(shown)}
    label = "mark"
    for mark in marks:
        if mark.measure in measures and mark.path in places:
            middle = measures.index(mark.measure) - _WIDTH / 2 + (places[mark.path] + 0.5) * width
            ends = (middle - width * 0.6, middle + width * 0.6)
            axes.plot(ends, (mark.bound, mark.bound), color="#D55E00", linewidth=2, label=label)
            label = "_"  # once in the legend


def _plain_labels(axes: Axes) -> None:
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="y", labelsize=8)
