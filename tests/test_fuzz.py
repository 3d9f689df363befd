"""The fuzzing targets over their seeds and some damage, so that they do not rot; and atheris for a moment."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.__main__ import Outcome, show
from fuzz.targets import TARGETS
from tests.support.processes import ROOT


@pytest.mark.parametrize("name", TARGETS)
def test_each_target_over_its_seeds(name: str) -> None:
    target = TARGETS[name]
    rng = random.Random(7)
    target.check(b"")
    for seed in target.seeds:
        target.check(seed)
        damaged = bytearray(seed)
        for _ in range(3):
            place = rng.randrange(len(damaged) + 1)
            damaged[place : place + rng.randrange(3)] = rng.choice(
                [b"", b"\r", b"\n", b"\0", b"0", b" ", b"\xff"]
            )
        target.check(bytes(damaged))


def fuzz(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fuzz", *arguments, "--folder", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_a_moment_of_atheris(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris has no wheel for this machine")
    shown = fuzz("cookies", "--seconds", "1", folder=tmp_path)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "cookies" in shown.stdout and len(list((tmp_path / "kept" / "cookies").iterdir())) >= 3


def test_an_input_is_run_again(tmp_path: Path) -> None:
    file = tmp_path / "input"
    file.write_bytes(b"a=b")
    assert fuzz("cookies", "--input", str(file), folder=tmp_path).returncode == 0
    assert "one target" in fuzz("--input", str(file), folder=tmp_path).stderr


def test_a_name_that_is_none(tmp_path: Path) -> None:
    assert "'cookie' is not one of" in fuzz("cookie", folder=tmp_path).stderr


def test_what_was_found_is_told() -> None:
    target = TARGETS["cookies"]
    good, ended = (Outcome(target, 100, 3, None, "", status) for status in (0, 1))
    found = Outcome(target, 100, 3, Path("x"), "", 77)
    assert (good.is_good, ended.is_good, found.is_good) == (True, False, False)
    table = show([good, ended, found], 10)
    assert list(table.columns[2].cells) == ["10"] * 3
    assert [re.sub(r"\[.*?\]", "", str(cell)) for cell in table.columns[4].cells] == ["", "ended", "found"]
