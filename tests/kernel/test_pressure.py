from __future__ import annotations

import time
from pathlib import Path

import pytest

from lbkit.kernel import pressure
from lbkit.kernel.pressure import Pressure, Usage, read_usage


class Readings:
    """Usage as a test wants it; time goes on by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.usage: list[Usage] = []
        monkeypatch.setattr(pressure.time, "monotonic", lambda: self.now)

    def read(self) -> Usage:
        return self.usage.pop(0)


@pytest.mark.parametrize(
    ("own", "idle", "whole", "high"),
    [
        (0.9, 100, 200, True),
        (0.9, 40, 200, False),  # nobody has time
        (0.5, 100, 200, False),  # this thread has some
        (0.9, 0, 0, False),  # nothing is known of the machine
    ],
)
def test_busy_here_and_idle_elsewhere(
    own: float, idle: float, whole: float, high: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = Readings(monkeypatch)
    found = Pressure(readings.read)
    readings.usage = [(100.0, 5.0, 1000, 5000), (101.0, 5.0 + own, 1000 + idle, 5000 + whole)]
    assert not found.is_high(), "one reading says nothing"
    readings.now = 101.0
    assert found.is_high() is high
    readings.now = 101.9
    assert found.is_high() is high, "an answer is good for a second"


def test_a_long_time_without_a_question_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = Readings(monkeypatch)
    found = Pressure(readings.read)
    readings.usage = [(100.0, 5.0, 1000, 5000), (160.0, 65.0, 9000, 9000)]
    assert not found.is_high()
    readings.now = 160.0
    assert not found.is_high()


def test_the_real_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    now, own, idle, whole = read_usage()
    assert abs(now - time.monotonic()) < 5
    assert 0 < own <= time.thread_time()
    assert 0 <= idle <= whole

    def fail(*_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "open", fail)
    assert read_usage()[2:] == (0.0, 0.0)
