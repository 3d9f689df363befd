from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lbkit.cluster import statedir
from lbkit.cluster.statedir import StateDir, process_start
from lbkit.errors import StartFailed

Run = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def run() -> Iterator[Run]:
    """Shell scripts that run until they are ended; ready when they have printed a line."""
    started: list[subprocess.Popen[bytes]] = []

    def start(script: str) -> subprocess.Popen[bytes]:
        command = ["/bin/sh", "-c", f"{script}\necho ready\nwhile :; do sleep 0.02; done"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout
        process.stdout.close()


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDir]:
    with StateDir(tmp_path / "state") as opened:
        yield opened


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    first = StateDir(tmp_path / "a" / "state")
    first.lock()
    with pytest.raises(StartFailed, match=rf"^{first.path} is in use by process {os.getpid()}$"):
        StateDir(first.path).lock()
    first.unlock()
    first.unlock()
    with StateDir(first.path):
        pass
    assert first.path.stat().st_mode & 0o777 == 0o700


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    script = f"""
import os, signal
from lbkit.cluster.statedir import StateDir
StateDir({str(tmp_path)!r}).lock()
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", script], check=False)
    assert killed.returncode == -signal.SIGKILL
    with StateDir(tmp_path):
        pass


def test_a_child_does_not_hold_the_lock(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.lock()
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        state.unlock()
        with StateDir(tmp_path):
            pass
        child.kill()


def test_a_directory_that_cannot_be_used() -> None:
    with pytest.raises(StartFailed, match="cannot use /proc/nothing"):
        StateDir("/proc/nothing").lock()


def test_records(state: StateDir, run: Run) -> None:
    process = run("")
    state.record(process.pid, "web1")
    (child,) = state.recorded()
    assert (child.pid, child.name) == (process.pid, "web1")
    assert child.alive()
    state.forget(process.pid)
    state.forget(process.pid)
    assert state.recorded() == []


def test_what_has_ended_cannot_be_recorded(state: StateDir) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    with pytest.raises(StartFailed, match="ended before"):
        state.record(process.pid, "gone")


def test_leftovers_are_ended(state: StateDir, run: Run) -> None:
    process = run("")
    state.record(process.pid, "web1")
    assert [child.name for child in state.end_leftovers()] == ["web1"]
    assert process.wait(5) == -signal.SIGTERM
    assert state.recorded() == []
    assert state.end_leftovers() == []


def test_one_that_ignores_sigterm_is_killed_with_its_group(state: StateDir, run: Run) -> None:
    process = run("trap '' TERM")
    state.record(process.pid, "stubborn")
    assert state.end_leftovers(grace=0.1)
    assert process.wait(5) == -signal.SIGKILL


def test_a_stopped_one_is_killed(state: StateDir, run: Run) -> None:
    process = run("")
    state.record(process.pid, "stopped")
    process.send_signal(signal.SIGSTOP)
    assert state.end_leftovers(grace=0.1)
    assert process.wait(5) in (-signal.SIGKILL, -signal.SIGTERM)


def test_another_process_with_the_same_pid_is_let_be(state: StateDir, run: Run) -> None:
    process = run("")
    state.record(process.pid, "web1")
    file = state.path / "children" / str(process.pid)
    fields = json.loads(file.read_text())
    file.write_text(json.dumps({**fields, "started": "another time"}))
    assert state.end_leftovers() == []
    assert process.poll() is None
    assert state.recorded() == []


def test_a_damaged_record_harms_nobody(state: StateDir) -> None:
    (state.path / "children" / "123").write_text("{")
    (state.path / "children" / "456").write_text('{"pid": 456}')
    assert state.recorded() == []
    assert state.end_leftovers() == []


def test_a_zombie_does_not_run() -> None:
    process = subprocess.Popen(["sleep", "60"])
    started = process_start(process.pid)
    assert started
    assert process_start(process.pid) == started
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert process_start(process.pid) is None
    process.wait()


def seconds(shown: str | None) -> float:
    assert shown is not None
    return time.mktime(time.strptime(shown, "%a %b %d %H:%M:%S %Y"))


def test_start_times_differ_and_the_portable_way_agrees() -> None:
    own = os.getpid()
    assert process_start(own) != process_start(os.getppid())
    one, two = (seconds(statedir._start_from_ps(own)) for _ in range(2))
    # Linux' ps works it out from the time since boot and may be a second off; there it is not used.
    assert abs(one - two) <= (1 if sys.platform == "linux" else 0)
    with subprocess.Popen(["sleep", "60"]) as process:
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert statedir._start_from_ps(process.pid) is None
    assert statedir._start_from_ps(process.pid) is None


def test_a_full_disk_is_one_line_and_the_directory_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(statedir.os, "pwrite", full)
    with pytest.raises(StartFailed, match=f"cannot write to {tmp_path}: No space left on device"):
        StateDir(tmp_path).lock()
    monkeypatch.undo()
    with StateDir(tmp_path):
        pass
