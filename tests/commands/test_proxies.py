from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from lbkit.bench.contenders import Contender, find_program
from lbkit.bench.figures import Sample
from lbkit.bench.marks import judge
from lbkit.bench.relays import CASES, Plan, Run
from lbkit.cluster.report import Silent
from lbkit.commands import proxies
from tests.support.processes import Lbkit, children_of, run_lbkit, wait_until

SHORT = ("--rounds", "1", "--seconds", "0.3", "--own-client", "--no-fetch")


def test_a_short_run(tmp_path: Path) -> None:
    file, picture = tmp_path / "a.json", tmp_path / "a.png"
    paths = [word for name in ("none", "stream", "naive") for word in ("--path", name)]
    shown = run_lbkit(
        "bench",
        "relays",
        *SHORT,
        "--case",
        "small",
        *paths,
        "--json",
        str(file),
        "--plot",
        str(picture),
        timeout=60,
    )
    assert shown.returncode == 0, shown.stderr
    for text in ("lbkit stream", "naive asyncio", "small keep-alive", "not judged: not measured"):
        assert text in shown.stdout
    assert "too few rounds to quote" in shown.stdout
    assert f"wrote {picture}" in shown.stderr
    document = json.loads(file.read_text())
    assert [row["path"] for row in document["cases"]] == ["none", "stream", "naive"]
    assert not document["enough_rounds"]
    for row in document["cases"]:
        assert row["requests_per_second"] > 0
        assert row["failures"] == 0
    assert {mark["met"] for mark in document["marks"]} == {None}
    assert len(document["marks"]) == 3, "only those of the case that was asked for"


@pytest.mark.parametrize(
    ("number", "client"),
    [(signal.SIGINT, "--own-client"), (signal.SIGHUP, "--own-client"), (signal.SIGTERM, "--no-fetch")],
)
def test_it_leaves_no_process_behind(number: signal.Signals, client: str, tmp_path: Path) -> None:
    # The server and two proxies; and wrk, where it is installed and may be taken.
    count = 4 if client == "--no-fetch" and find_program("wrk", Silent(), fetch=False) else 3
    paths = ("--path", "stream", "--path", "naive")
    arguments = ("bench", "relays", "--no-fetch", "--seconds", "60", *paths, client)
    with Lbkit(*arguments, log=tmp_path / "log") as bench:
        deadline = time.monotonic() + 20
        while len(children := children_of(bench.process.pid)) < count:
            assert time.monotonic() < deadline, f"did not start: {bench.output}"
            time.sleep(0.05)
        bench.process.send_signal(number)
        assert bench.process.wait(20) == 1
        assert bench.output.strip() == "Aborted!"
    wait_until(lambda: not any(map(is_there, children)), 5)


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            ("--case", "tiny"),
            "'tiny' is not one of 'small', 'medium', 'big', 'connect', 'low', 'many', 'idle'",
        ),
        (("--path", "nginks"), 'lbkit: --path: unknown path "nginks" (did you mean "nginx"?'),
        (("--rounds", "0"), "0 is not in the range 1<=x<=100"),
        (("--idle-connections", "9001"), "9001 is not in the range"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], problem: str) -> None:
    result = run_lbkit("bench", "relays", "--no-fetch", *arguments)
    assert result.returncode == 2
    assert problem in result.stderr


def result(keys: tuple[str, ...]) -> Run:
    run = Run(contenders=[Contender(key, f"lbkit {key}" if key == "auto" else key) for key in keys])
    for case in CASES:
        for place, key in enumerate(keys):
            rate = 50.0 * (place + 1)
            run.figures.samples[case.key, key] = [Sample(rate, 1e7, 1.0 + place, 9.5, place, 7.25, 99.0)]
    run.figures.idle["auto"], run.figures.idle["haproxy"] = [512.0], [1024.0]
    run.passed_over["sockmap"] = "no [permission]"
    return run


def test_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    run = result(("none", "auto", "haproxy"))
    plan = Plan(run.contenders, lambda address, ask: pytest.fail("is not asked"))
    proxies._print(
        proxies.RELAYS, plan, run, judge(run.figures, run.passed_over), ["here", "so", "with these"]
    )
    shown = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if "│" in line]
    assert ["lbkit auto", "100", "±0 %", "0.67", "2.000", "9.500", "7.2", "99.0", "1"] in rows
    assert ["lbkit auto", "100", "10", "±0 %", "0.67", "2.000", "9.500", "7.2", "99.0", "1"] in rows
    assert ["lbkit auto", "100", "±0 %", "0.67", "2.000", "9.500", "1000", "0.50", "7.2", "99.0", "1"] in rows
    assert ["lbkit auto", "0.50", "0.50"] in rows
    assert ["memory an idle connection", "haproxy", "≤ 1", "0.50", "met"] in rows
    assert ["64 KiB: requests/s", "haproxy", "≥ 1.15", "0.67", "missed: 1 requests failed"] in rows
    assert "without sockmap: no [permission]\nhere\nso\nwith these\n" in shown
    assert "too few" not in shown
