from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lbkit.cluster.child import Child, describe_exit
from lbkit.cluster.statedir import StateDir, process_start
from lbkit.errors import StartFailed

MakeChild = Callable[..., Child]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDir]:
    with StateDir(tmp_path / "state") as opened:
        yield opened


@pytest.fixture
def make(state: StateDir, tmp_path: Path) -> MakeChild:
    def make_child(script: str, *args: str, env: dict[str, str] | None = None) -> Child:
        return Child(state, "child", ["/bin/sh", "-c", script, *args], tmp_path / "log", env)

    return make_child


async def until_log_has(child: Child, text: str) -> None:
    async with asyncio.timeout(10):
        while text not in "\n".join(child.new_log()):
            await asyncio.sleep(0.005)


async def test_it_is_recorded_while_it_runs(make: MakeChild, state: StateDir) -> None:
    child = make("echo up; exec sleep 60")
    assert child.pid == 0
    await child.start()
    await until_log_has(child, "up")
    assert [(recorded.pid, recorded.name) for recorded in state.recorded()] == [(child.pid, "child")]
    assert os.getpgid(child.pid) == child.pid
    await child.stop()
    assert child.pid == 0
    assert state.recorded() == []


async def test_arguments_environment_and_output(make: MakeChild) -> None:
    child = make('echo "$0|$1|$WORD"; echo error >&2; exit 3', "a b", "c'd", env={"WORD": "x y"})
    await child.start()
    assert await child.wait() == 3
    assert child.new_log() == ["a b|c'd|x y", "error"]


async def test_standard_input_is_empty(make: MakeChild) -> None:
    child = make("cat; echo end")
    await child.start()
    assert await child.wait() == 0
    assert child.new_log() == ["end"]


async def test_the_new_log_begins_with_the_last_start(make: MakeChild) -> None:
    child = make("echo line")
    for _ in range(2):
        await child.start()
        await child.wait()
        assert child.new_log() == ["line"]
    assert child.log.read_text() == "line\nline\n"


async def test_one_that_ignores_sigterm_is_killed(make: MakeChild) -> None:
    child = make("trap '' TERM; echo up; while :; do sleep 0.02; done")
    await child.start()
    await until_log_has(child, "up")
    await child.stop(grace=0.1)
    assert await child.wait() == -signal.SIGKILL


async def test_a_cancelled_stop_still_ends_it(make: MakeChild) -> None:
    child = make("trap '' TERM; echo up; while :; do sleep 0.02; done")
    await child.start()
    await until_log_has(child, "up")
    stopping = asyncio.create_task(child.stop(grace=60))
    await asyncio.sleep(0)
    stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)
    async with asyncio.timeout(5):
        assert await child.wait() == -signal.SIGKILL


async def test_a_program_that_is_not_there(state: StateDir, tmp_path: Path) -> None:
    child = Child(state, "absent", ["/no/such/program"], tmp_path / "log")
    await child.start()
    assert await child.wait() == 127
    assert "not found" in child.new_log()[0]


async def test_a_log_that_cannot_be_written(state: StateDir) -> None:
    with pytest.raises(StartFailed, match="cannot start child"):
        await Child(state, "child", ["true"], Path("/proc/nothing")).start()


async def test_never_started(make: MakeChild) -> None:
    child = make("true")
    assert await child.wait() == 0
    await child.stop()
    assert child.new_log() == []


def test_an_owner_killed_before_it_could_record_leaves_no_child(tmp_path: Path) -> None:
    """The owner dies between starting the child and writing it down; the child must never begin."""
    marker = tmp_path / "began"
    script = f"""
import asyncio, os, signal
from pathlib import Path
from lbkit.cluster.child import Child
from lbkit.cluster.statedir import StateDir

class Dying(StateDir):
    def record(self, pid, name):
        Path({str(tmp_path / "pid")!r}).write_text(str(pid))
        os.kill(os.getpid(), signal.SIGKILL)

state = Dying({str(tmp_path / "state")!r})
state.lock()
asyncio.run(Child(state, "c", ["/bin/touch", {str(marker)!r}], Path({str(tmp_path / "log")!r})).start())
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    pid = int((tmp_path / "pid").read_text())
    for _ in range(500):
        if process_start(pid) is None:
            break
        subprocess.run(["sleep", "0.01"], check=True)
    assert process_start(pid) is None
    assert not marker.exists()


def test_exits_in_words() -> None:
    assert describe_exit(3) == "exit status 3"
    assert describe_exit(-9) == "killed by SIGKILL"
    assert describe_exit(-200) == "killed by signal 200"
