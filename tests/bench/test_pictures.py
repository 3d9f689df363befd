from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lbkit.bench.contenders import Contender
from lbkit.bench.figures import Figures, Sample
from lbkit.bench.pictures import figure, write_picture
from lbkit.errors import StartFailed

KEYS = ("none", "auto", "sockmap", "splice", "stream", "haproxy", "nginx", "proxy.py", "naive")
CONTENDERS = [Contender(key, key) for key in KEYS]


def figures(*cases: str) -> Figures:
    found = Figures()
    for case in cases:
        for place, key in enumerate(KEYS):
            rate = 100.0 * (place + 1)
            found.samples[case, key] = [Sample(rate, rate, 1.0 + place, 1.0, 0, 10 / rate, 10 / rate)]
    found.idle["auto"] = found.idle["haproxy"] = [1000]
    return found


def test_two_panels_with_at_most_six_paths_and_the_marks() -> None:
    drawn = figure(figures("small", "big"), CONTENDERS, "title")
    upper, lower = drawn.axes
    assert [label.get_text() for label in upper.get_xticklabels()] == [
        "small, keep-alive:\nrequests/s",
        "10 MB:\nbytes/s",
    ]
    assert "less is better" in lower.get_ylabel()
    _, labels = upper.get_legend_handles_labels()
    assert sorted(labels) == sorted(["mark", "auto", "sockmap", "splice", "nginx", "proxy.py", "naive"])


def test_one_panel_where_there_is_one_kind() -> None:
    assert len(figure(figures(), CONTENDERS, "").axes) == 1


def test_a_picture_is_written(tmp_path: Path) -> None:
    file = tmp_path / "new" / "a.png"
    write_picture(figures("small"), CONTENDERS[:3] + CONTENDERS[5:6], file, "title")
    assert file.read_bytes().startswith(b"\x89PNG")
    write_picture(Figures(), [], file, "nothing was measured")
    (tmp_path / "file").touch()
    with pytest.raises(StartFailed, match="a.png: cannot be written: "):
        write_picture(figures("small"), CONTENDERS, tmp_path / "file" / "a.png", "")


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(StartFailed, match="pictures need matplotlib"):
        figure(Figures(), [], "")
