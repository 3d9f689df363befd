"""Each example runs as its reader would run it."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.support.processes import ROOT, run_lbkit


def run(example: str) -> list[str]:
    file = ROOT / "examples" / example / "main.py"
    shown = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=30)
    assert (shown.returncode, shown.stderr) == (0, "")
    return shown.stdout.splitlines()


def test_pick() -> None:
    picks, without, nobody = run("pick")
    assert picks == "picks: a b a a a b a a"
    assert without == "without a: b"
    assert nobody.startswith('no server available in pool "api": a down (connection refused)')


def test_client() -> None:
    fast, slow, broken, most, nobody = run("client")
    assert fast.startswith("fast: candidate: up, no check configured, score ")
    assert slow.startswith("slow: candidate: up, no check configured, score ")
    assert broken.startswith("broken: not a candidate: ejected, failed more than the others; back in ")
    assert most == "most went to: fast"
    assert nobody.startswith(
        'no server available in pool "api": fast already tried, slow already tried, broken'
    )


def test_an_algorithm_of_ones_own() -> None:
    folder = ROOT / "examples" / "algorithm"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder / "test_deck.py")]
    tested = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder)
    assert tested.returncode == 0, tested.stdout
    simulated = run_lbkit(
        "--load",
        str(folder / "deck.py"),
        "simulate",
        str(ROOT / "examples" / "simulate" / "unequal.toml"),
        *("--algorithm", "deck", "--algorithm", "random", "--requests", "2000", "--json", "-"),
    )
    results = json.loads(simulated.stdout)["results"]
    assert [result["algorithm"] for result in results] == ["deck", "random"]


def test_embed() -> None:
    first, second, picks = run("embed")
    assert first.startswith("hello through 127.0.0.1:")
    assert second.startswith("again through 127.0.0.1:")
    assert picks == "picks: {'one': 2, 'two': 1}"


def test_every_example_has_its_test() -> None:
    examples = {path.name for path in (ROOT / "examples").iterdir() if path.is_dir()}
    tested = {"pick", "client", "algorithm", "embed", "guestbook", "simulate"}
    assert examples == tested, (
        "the guestbook's tests are those of the stack, the scenarios' those of simulate"
    )
