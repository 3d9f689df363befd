from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.processes import run_lbkit

SHORT = ("--rounds", "1", "--seconds", "0.2", "--own-client", "--no-fetch")


@pytest.mark.parametrize(
    ("command", "case", "paths", "reference", "to"),
    [
        ("app", "hello", ("lbkit", "uvicorn"), "uvicorn", "to uvicorn"),
        ("static", "small", ("lbkit", "aiohttp"), "aiohttp", "to nginx"),
    ],
)
def test_a_short_run(
    command: str, case: str, paths: tuple[str, ...], reference: str, to: str, tmp_path: Path
) -> None:
    file, picture = tmp_path / "a.json", tmp_path / "a.png"
    wanted = [word for path in paths for word in ("--path", path)]
    shown = run_lbkit(
        *("bench", command, *SHORT, "--case", case, *wanted, "--json", str(file), "--plot", str(picture)),
        timeout=60,
    )
    assert shown.returncode == 0, shown.stderr
    assert to in shown.stdout and "HAProxy" not in shown.stdout
    assert picture.is_file()
    document = json.loads(file.read_text())
    assert [row["path"] for row in document["cases"]] == list(paths)
    (mark,) = [mark for mark in document["marks"] if mark["reference"] == reference and mark["bound"] != 4]
    rates = [row["requests_per_second"] for row in document["cases"]]
    assert mark["ratio"] == pytest.approx(rates[0] / rates[1])
    assert all(row["failures"] == 0 for row in document["cases"])


@pytest.mark.parametrize("command", ["app", "static"])
def test_wrong_usage(command: str) -> None:
    shown = run_lbkit("bench", command, "--no-fetch", "--path", "lbkitt")
    assert shown.returncode == 2
    assert 'lbkit: --path: unknown path "lbkitt" (did you mean "lbkit"?' in shown.stderr
