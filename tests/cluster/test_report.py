from __future__ import annotations

import contextlib

import pytest

from lbkit.cluster.report import LineReport, RichReport, Silent, console


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    report = LineReport()
    report.say("begins")
    for done in range(0, 101, 10):
        report.progress("download", done * 1_000_000, 100_000_000)
    assert capsys.readouterr().err.splitlines() == [
        "lbkit: begins",
        *(f"lbkit: download: {percent} % of 100 MB" for percent in (20, 40, 60, 80, 100)),
    ]


def test_a_second_attempt_begins_again(capsys: pytest.CaptureFixture[str]) -> None:
    report = LineReport()
    for _ in range(2):
        report.progress("download", 5, 10)
        report.end("download")
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_nothing_to_download_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    LineReport().progress("download", 0, 0)
    assert "100 %" in capsys.readouterr().err


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    Silent().say("x")
    Silent().progress("x", 1, 2)
    Silent().end("x")
    assert capsys.readouterr() == ("", "")


def test_a_bar_ends_with_its_work() -> None:
    report = RichReport()
    report.progress("download", 1, 10)
    assert report._bars
    report.progress("download", 5, 10)
    report.end("download")
    report.end("download")
    assert not report._bars


def test_no_terminal_no_bar() -> None:
    assert type(console()) is LineReport


def test_nobody_there_to_read_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("sys.stderr", full)
        LineReport().say("something")
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            full.close()  # which tries once more
