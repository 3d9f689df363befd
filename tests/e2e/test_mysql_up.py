"""``lbkit mysql up --failover`` as a person uses it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from lbkit.cli import cli
from lbkit.cluster.database import Flavour
from lbkit.cluster.statedir import StateDir


def status(file: Path) -> dict[str, Any]:
    result = CliRunner().invoke(cli, ["mysql", "status", str(file), "--json"])
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def test_a_killed_primary_is_replaced_and_comes_back_as_a_replica(tmp_path: Path, flavour: Flavour) -> None:
    folder = tmp_path / "state"
    command = [
        sys.executable,
        "-m",
        "lbkit",
        "mysql",
        "up",
        "--failover",
        "--flavour",
        flavour,
        "--dir",
        str(folder),
    ]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        assert [line.split()[:2] for line in lines[:2]] == [["mysql1", "primary"], ["mysql2", "replica"]]
        file = folder / "lbkit.toml"
        assert lines[2] == f"lbkit mysql status {file}\n"
        assert (folder / "admin.secret").stat().st_mode & 0o777 == 0o600
        until(lambda: bool(status(file)["healthy"]), "the pair never was healthy")
        before = status(file)["primary"]
        (pid,) = [child.pid for child in StateDir(folder).recorded() if child.name == "mysql1"]
        os.kill(pid, signal.SIGKILL)
        until(lambda: status(file)["primary"] not in (None, before), "nobody was promoted")
        until(lambda: bool(status(file)["healthy"]), "the old primary did not come back")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert "failover from" in (tmp_path / "log").read_text()
