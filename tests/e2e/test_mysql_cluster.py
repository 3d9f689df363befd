"""A database pair as a program runs it: in a process of its own that may be killed at any moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lbkit.cluster.database import Flavour, find_server
from lbkit.cluster.pair import DatabaseCluster
from lbkit.cluster.report import LineReport
from lbkit.cluster.statedir import StateDir, process_start
from lbkit.mysql import Router

# Prints one JSON line when all is up, then waits for SIGTERM.
OWNER = """
import asyncio, json, signal, sys, uvloop
from lbkit.cluster.pair import DatabaseCluster
from lbkit.errors import StartFailed
from lbkit.mysql import Router

async def main(folder, flavour):
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with DatabaseCluster(folder, flavour=flavour) as cluster:
        async with Router([server.dsn for server in cluster.servers]) as router:
            await router.execute("CREATE TABLE IF NOT EXISTS note (id INT AUTO_INCREMENT PRIMARY KEY, text TEXT)")
            await router.execute("INSERT INTO note (text) VALUES ('kept')")
        print(json.dumps({"pids": [server.pid for server in cluster.servers],
                          "ports": [server.port for server in cluster.servers]}), flush=True)
        await stop.wait()

try:
    uvloop.run(main(*sys.argv[1:]))
except StartFailed as error:
    sys.exit(str(error))
"""

Owner = Callable[[], "tuple[subprocess.Popen[str], dict[str, Any]]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def owner(folder: Path, flavour: Flavour) -> Iterator[Owner]:
    find_server(flavour, LineReport())
    started: list[subprocess.Popen[str]] = []

    def start() -> tuple[subprocess.Popen[str], dict[str, Any]]:
        command = [sys.executable, "-c", OWNER, str(folder), flavour]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout
        line = process.stdout.readline()
        return process, json.loads(line) if line else {}

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)
    with StateDir(folder) as state:
        state.end_leftovers()


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if process_start(pid)]


def test_stopping_leaves_no_process(owner: Owner) -> None:
    process, facts = owner()
    assert alive(facts["pids"]) == facts["pids"]
    process.terminate()
    assert process.wait(60) == 0
    assert alive(facts["pids"]) == []


async def test_after_kill_9_the_next_start_cleans_up_and_keeps_the_data(
    owner: Owner, folder: Path, flavour: Flavour
) -> None:
    process, facts = owner()
    process.kill()
    process.wait()
    assert alive(facts["pids"]) == facts["pids"]  # nobody has ended them yet

    lines: list[str] = []

    class Lines(LineReport):
        def say(self, text: str) -> None:
            lines.append(text)

    async with DatabaseCluster(folder, flavour=flavour, report=Lines()) as cluster:
        assert alive(facts["pids"]) == []
        assert sorted(line.split(" (")[0] for line in lines) == ["ended mysql1", "ended mysql2"]
        assert [server.port for server in cluster.servers] == facts["ports"]
        async with Router([server.dsn for server in cluster.servers]) as router:
            await router.execute("INSERT INTO note (text) VALUES ('more')")
            assert await router.catch_up(20)
            rows = await router.fetch_all("SELECT text FROM note ORDER BY id")
            assert [row["text"] for row in rows] == ["kept", "more"]
            assert rows.server == cluster.replicas[0].address


def test_a_directory_has_one_owner(owner: Owner, folder: Path) -> None:
    first, facts = owner()
    second, nothing = owner()
    assert nothing == {}
    assert second.wait(30) == 1
    assert second.stderr
    assert second.stderr.read() == f"{folder} is in use by process {first.pid}\n"
    assert alive(facts["pids"]) == facts["pids"]


def test_a_second_start_takes_seconds(owner: Owner) -> None:
    first, _ = owner()
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == 0
    started = time.monotonic()
    owner()
    assert time.monotonic() - started < 5


def test_ctrl_c_reaches_only_the_owner(owner: Owner) -> None:
    """The servers are in sessions of their own, so that the owner can stop them in order."""
    process, facts = owner()
    groups = {os.getpgid(pid) for pid in facts["pids"]}
    assert os.getpgid(process.pid) not in groups
    assert groups == set(facts["pids"])
