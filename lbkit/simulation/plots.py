"""Pictures for a paper: the distribution of latencies and load over time, all algorithms together.

matplotlib is an extra that only these functions import. Figures are made without pyplot, which would look for
a screen and keep state of its own. Colours are those of Okabe and Ito (2008), which colour-blind readers can
tell apart, with line styles besides, for print without colour.

The distribution is drawn as the part of requests that took longer, both axes logarithmic: there the 99th and
the 99.99th percentile are as far apart as they matter, where a density would end in a flat line. Failed
requests were never answered and count as longer than any, or an algorithm would look the faster for what it
loses.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lbkit.errors import StartFailed
from lbkit.simulation.record import Window
from lbkit.simulation.report import unit_of
from lbkit.simulation.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["latency_figure", "load_figure", "overview_figure", "write_plots"]

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
_STYLES = ("-", "--", "-.", ":")
_DPI = 200
_POINTS = 70
"""Of a line over time that shows percentiles or rates."""


def write_plots(results: Sequence[Result], where: Path, title: str = "") -> list[Path]:
    """Write PNG files and return their names: all in one where *where* ends in .png, else into that folder.

    Raises StartFailed where matplotlib is missing or a file cannot be written.
    """
    figures = (
        {where: overview_figure(results, title)}
        if where.suffix.lower() == ".png"
        else {
            where / "latency.png": latency_figure(results, title),
            where / "load.png": load_figure(results, title),
        }
    )
    try:
        for path, figure in figures.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=_DPI)
    except OSError as error:
        raise StartFailed(f"{where}: cannot be written: {(error.strerror or str(error)).lower()}") from None
    return list(figures)


def latency_figure(results: Sequence[Result], title: str = "") -> Figure:
    """The part of the requests that took longer or failed, over latency."""
    figure = _figure(6.4, 4.6)
    axes = figure.subplots()
    _draw_latency(axes, results)
    return _finished(figure, axes, title)


def load_figure(results: Sequence[Result], title: str = "") -> Figure:
    """Over time: requests in the fullest server, the 99th percentile of latency, and failed requests."""
    count = _panels(results)
    figure = _figure(6.4, 1 + 2 * count)
    panels = list(figure.subplots(count, 1, sharex=True))
    _draw_over_time(panels, results)
    return _finished(figure, panels[0], title)


def overview_figure(results: Sequence[Result], title: str = "") -> Figure:
    """Both in one picture."""
    names = [f"panel {number}" for number in range(_panels(results))]
    figure = _figure(11, 5)
    axes = figure.subplot_mosaic([["latency", name] for name in names])
    panels = [axes[name] for name in names]
    for upper in panels[:-1]:
        upper.sharex(panels[-1])
        upper.tick_params(labelbottom=False)
    _draw_latency(axes["latency"], results)
    _draw_over_time(panels, results)
    return _finished(figure, panels[0], title)


def _panels(results: Sequence[Result]) -> int:
    return 3 if any(result.error_count for result in results) else 2


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise StartFailed("pictures need matplotlib: install lbkit[plots], or matplotlib itself") from None
    return Figure(figsize=(width, height), layout="constrained")


def _finished(figure: Figure, lines: Axes, title: str) -> Figure:
    """With a title, and below everything a legend of the *lines*: inside it would hide some of them."""
    if title:
        figure.suptitle(title, fontsize=10)
    handles, labels = lines.get_legend_handles_labels()
    if handles:
        columns = min(len(labels), max(3, round(figure.get_figwidth() / 1.7)))
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8)
    return figure


def _looks() -> Iterator[dict[str, Any]]:
    """A line's look for each algorithm, in order."""
    for place in itertools.count():
        yield {
            "color": _COLOURS[place % len(_COLOURS)],
            "linestyle": _STYLES[place % len(_STYLES)],
            "linewidth": 1.5,
        }


def _draw_latency(axes: Axes, results: Sequence[Result]) -> None:
    scale, unit = unit_of(results)
    for result, look in zip(results, _looks(), strict=False):
        if not result.latency.count:
            continue
        times, parts = _tail(result)
        axes.plot([seconds * scale for seconds in times], parts, label=_name(result), **look)
    # A logarithmic axis needs something above 0.
    if axes.dataLim.xmax > 0:
        axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(top=1.2)
    axes.set_xlabel(f"Latency ({unit})")
    axes.set_ylabel("Part of requests that took longer or failed")
    axes.grid(True, which="major", alpha=0.3)


def _tail(result: Result) -> tuple[list[float], list[float]]:
    """Seconds, and the part of all requests that had no answer until then; without the flat beginning."""
    count, failed = result.latency.count, result.error_count
    points = [
        (seconds, (part * count + failed) / (count + failed)) for seconds, part in result.latency.exceeded()
    ]
    # The last one, than which nobody took longer, has no place on a logarithmic axis.
    lowest = 0.5 / (count + failed)
    shown = [point for point in points if lowest < point[1] < 0.98]
    if not shown:  # all took the same: a step
        at, left = points[-1]
        shown = [(at, 1.0), (at, max(left, lowest))]
    return [seconds for seconds, _ in shown], [part for _, part in shown]


def _draw_over_time(panels: list[Axes], results: Sequence[Result]) -> None:
    scale, unit = unit_of(results)
    for result, look in zip(results, _looks(), strict=False):
        windows, name = result.windows, _name(result)
        # Until the last arrivals: then the servers run empty.
        busy = windows[: next((i for i in range(len(windows), 0, -1) if windows[i - 1].arrivals), 0)]
        panels[0].plot(
            [window.end for window in busy], [max(window.loads) for window in busy], label=name, **look
        )
        merged = _merged(windows)
        ends = [window.end for window in merged]
        panels[1].plot(ends, [window.latency.percentile(0.99) * scale for window in merged], **look)
        if len(panels) > 2:
            panels[2].plot(ends, [window.errors / (window.end - window.start) for window in merged], **look)
    panels[0].set_ylabel("Requests in the\nfullest server")
    panels[1].set_ylabel(f"99th percentile of\nlatency ({unit})")
    if panels[1].dataLim.ymax > 0:
        panels[1].set_yscale("log")
        _plain_labels(panels[1])
    if len(panels) > 2:
        panels[2].set_ylabel("Failed requests\n(1/s)")
    for axes in panels:
        axes.grid(True, alpha=0.3)
        axes.margins(x=0.01)
    panels[0].set_ylim(bottom=0)
    panels[-1].set_xlabel("Time (s)")


def _merged(windows: Sequence[Window]) -> list[Window]:
    """Fewer and longer windows: a percentile needs some hundred requests to mean something."""
    size = math.ceil(len(windows) / _POINTS) or 1
    merged = []
    for place in range(0, len(windows), size):
        group = windows[place : place + size]
        window = Window(group[0].start, group[-1].end, errors=sum(part.errors for part in group))
        for part in group:
            window.latency.merge(part.latency)
        merged.append(window)
    return merged


def _plain_labels(axes: Axes) -> None:
    """1, 2, 5, 10 … on a logarithmic axis that may span less than a decade."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _name(result: Result) -> str:
    return result.algorithm.replace("_", " ")
