"""Each example runs as its reader would run it."""

from __future__ import annotations

import subprocess
import sys

from tests.support.processes import ROOT


def run(example: str) -> list[str]:
    file = ROOT / "examples" / example / "main.py"
    shown = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=30)
    assert (shown.returncode, shown.stderr) == (0, "")
    return shown.stdout.splitlines()


def test_pick() -> None:
    picks, without, nobody = run("pick")
    assert picks == "picks: a a b a a a b a"
    assert without == "without a: b"
    assert nobody.startswith('no server available in pool "api": a down (connection refused)')


def test_embed() -> None:
    first, second, picks = run("embed")
    assert first.startswith("hello through 127.0.0.1:")
    assert second.startswith("again through 127.0.0.1:")
    assert picks == "picks: {'one': 2, 'two': 1}"


def test_every_example_has_its_test() -> None:
    examples = {path.name for path in (ROOT / "examples").iterdir() if path.is_dir()}
    assert examples == {"pick", "embed", "guestbook"}, "the guestbook's tests are those of the stack"
