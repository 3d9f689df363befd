from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from lbkit.errors import StartFailed
from lbkit.simulation.plots import latency_figure, load_figure, write_plots
from tests.simulation.test_result import make_result

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

RESULTS = [make_result([0.01, 0.02, 0.03, 0.2]), make_result([0.01, 0.02], {"timeout": 2}, "round_robin")]


def test_all_algorithms_are_in_one_picture_with_units() -> None:
    figure = latency_figure(RESULTS, "a title")
    (axes,) = figure.axes
    assert axes.get_xlabel() == "Latency (ms)"
    assert [line.get_label() for line in axes.get_lines()] == ["random", "round robin"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["random", "round robin"]


def test_failed_requests_took_longer_than_any() -> None:
    (axes,) = latency_figure(RESULTS).axes
    assert axes.get_lines()[1].get_ydata()[-1] == 0.5


def test_load_over_time() -> None:
    figure = load_figure(RESULTS)
    assert [axes.get_ylabel().split("\n")[0] for axes in figure.axes] == [
        "Requests in the",
        "99th percentile of",
        "Failed requests",
    ]
    assert figure.axes[-1].get_xlabel() == "Time (s)"
    assert len(load_figure(RESULTS[:1]).axes) == 2


def test_pictures_are_written(tmp_path: Path) -> None:
    assert write_plots(RESULTS, tmp_path / "new" / "both.PNG") == [tmp_path / "new" / "both.PNG"]
    written = write_plots(RESULTS, tmp_path / "folder")
    assert [path.name for path in written] == ["latency.png", "load.png"]
    for path in [tmp_path / "new" / "both.PNG", *written]:
        assert path.read_bytes().startswith(b"\x89PNG")


def test_nothing_succeeded() -> None:
    write = make_result([], {"timeout": 3})
    assert latency_figure([write]).legends == []


@pytest.mark.parametrize("latency", [0.0, 0.01])
def test_all_requests_took_the_same(latency: float, tmp_path: Path) -> None:
    """Matplotlib's warning about an axis without anything above 0 would be an error here."""
    result = make_result([latency] * 5)
    write_plots([result], tmp_path)
    (line,) = latency_figure([result]).axes[0].get_lines()
    assert list(line.get_ydata()) == [1.0, 0.1]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartFailed, match="cannot be written"):
        write_plots(RESULTS, tmp_path / "file")


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *more: Any, **named: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *more, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(StartFailed, match=r"install lbkit\[plots\]"):
        latency_figure(RESULTS)
