"""A state directory: owned by one live process at a time, and it knows its owner's children.

The promise: nothing is left running. An owner that is killed with -9 can't keep it, so every child is
written down before it may do anything (see `child`), and the next owner ends what is still there. A
process id alone could name an innocent process by then; so the start time is kept with it, and only
an exact match is ended.

The lock is flock(2): the kernel drops it when the owner dies, however it dies. A pid file alone was
rejected because it outlives its process. Children must not inherit the descriptor (Python opens files
close-on-exec), or they would hold the lock on.

Layout: lock (holds the owner's pid), children/PID (one JSON object each).
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from lbkit.errors import StartFailed

__all__ = ["Recorded", "StateDir", "process_start"]

POLL = 0.02  # seconds between two looks at a process that is ending
GRACE = 10.0  # seconds from SIGTERM to SIGKILL; a database server needs about two
KILLED = 5.0  # seconds that a SIGKILL may take to show; longer means a process stuck in the kernel


@dataclass(frozen=True, slots=True)
class Recorded:
    """A child as it was written down; `started` is only good for comparing."""

    pid: int
    name: str
    started: str

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return process_start(self.pid) == self.started

    def signal(self, number: int, group: bool = False) -> None:
        """Send a signal if it is still this process; to all of its group where it leads one."""
        if not self.alive():
            return
        try:
            if group and os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return  # it ended in between, or the pid is another user's by now


class StateDir:
    """The directory *path*, made on first `lock`, readable by its owner only.

    Use as a context manager or call `lock` and `unlock`. All methods block, and briefly, except
    `end_leftovers`, which waits for processes to end.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).absolute()
        self._file: IO[str] | None = None

    def lock(self) -> None:
        """Take the directory; StartFailed when another live process has it or it can't be made."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._children.mkdir(exist_ok=True)
            file = self._open()
        except OSError as error:
            raise StartFailed(f"cannot use {self.path}: {error.strerror}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = file.read().strip()
            file.close()
            who = f"process {owner}" if owner else "another process"
            raise StartFailed(f"{self.path} is in use by {who}") from None
        self._file = file
        try:
            os.ftruncate(file.fileno(), 0)
            os.pwrite(file.fileno(), f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            self.unlock()
            raise StartFailed(f"cannot write to {self.path}: {error.strerror}") from None

    def unlock(self) -> None:
        """Give the directory up; harmless when it isn't held."""
        if self._file:
            self._file.close()
            self._file = None

    def __enter__(self) -> StateDir:
        self.lock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unlock()

    def record(self, pid: int, name: str) -> None:
        """Write a child down; it replaces an older record of the same pid.

        Raises StartFailed where that can't be done: such a child must not be let go on.
        """
        started = process_start(pid)
        if started is None:
            raise StartFailed(f"{name} (process {pid}) ended before it could be recorded")
        text = json.dumps(asdict(Recorded(pid, name, started)))
        new = self._children / f".{pid}.new"
        try:
            new.write_text(text)
            new.rename(self._children / str(pid))
        except OSError as error:
            raise StartFailed(f"cannot record {name} in {self._children}: {error.strerror}") from None

    def forget(self, pid: int) -> None:
        """Remove a child that has ended; harmless when it isn't recorded."""
        (self._children / str(pid)).unlink(missing_ok=True)

    def recorded(self) -> list[Recorded]:
        """All children written down, whether they still run or not."""
        found = []
        for file in sorted(self._children.glob("[0-9]*")):
            try:
                found.append(Recorded(**json.loads(file.read_text())))
            except (OSError, ValueError, TypeError):
                file.unlink(missing_ok=True)
        return found

    def end_leftovers(self, grace: float = GRACE) -> list[Recorded]:
        """End the children that an earlier owner left: SIGTERM, *grace* seconds, SIGKILL.

        Only for the holder of the lock, and before it starts children of its own. Returns those that
        were running. Raises StartFailed when one can't be ended.
        """
        running = [child for child in self.recorded() if child.alive()]
        for child in running:
            child.signal(signal.SIGTERM)
        for child in _still_alive(running, grace):
            child.signal(signal.SIGKILL, group=True)
        if stuck := _still_alive(running, KILLED):
            names = ", ".join(f"{child.name} (process {child.pid})" for child in stuck)
            raise StartFailed(f"left by an earlier run of {self.path} and can't be ended: {names}")
        for child in self.recorded():
            self.forget(child.pid)
        return running

    @property
    def _children(self) -> Path:
        return self.path / "children"

    def _open(self) -> IO[str]:
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return os.fdopen(descriptor, "r+")


def process_start(pid: int) -> str | None:
    """When a process started, as text that is only good for comparing; None when it does not run.

    A zombie does not run: it has ended, and only its parent has not looked yet.
    """
    return _start_in_proc(pid) if sys.platform == "linux" else _start_from_ps(pid)


def _start_in_proc(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # proc(5): the name in parentheses may hold anything, so fields are counted after the last ")".
    fields = stat.rpartition(")")[2].split()
    state, started = fields[0], fields[19]
    return None if state in "ZX" else f"{started}@{_boot_id()}"


def _boot_id() -> str:
    """Start times count from boot, so a record from before a reboot must match nothing."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _start_from_ps(pid: int) -> str | None:
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    shown = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"}
    )
    state, _, started = shown.stdout.strip().partition(" ")
    return started.strip() if started and "Z" not in state else None


def _still_alive(children: Iterable[Recorded], seconds: float) -> list[Recorded]:
    """Wait at most *seconds* for all to end; those that have not."""
    deadline = time.monotonic() + seconds
    while (left := [child for child in children if child.alive()]) and time.monotonic() < deadline:
        time.sleep(POLL)
    return left
