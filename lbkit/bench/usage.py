"""CPU time and memory of a group of processes, and of the whole machine, from Linux's /proc.

Each proxy of a benchmark is started as the leader of a process group of its own: nginx and proxy.py do their
work in child processes, which belong to it. Where /proc does not tell, everything is 0.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["busy_seconds", "cpu_seconds", "members", "resident_bytes"]

_PROC = Path("/proc")
_GROUP, _USER, _SYSTEM = 2, 11, 12
"""Places in /proc/PID/stat, counted from the field behind the command (see proc_pid_stat(5))."""
_BUSY = (0, 1, 2, 5, 6)
"""User, nice, system, irq and softirq of /proc/stat. Guests are in user; steal is what others had."""


def members(group: int, proc: Path = _PROC) -> list[int]:
    """The processes of a group."""
    found = []
    for folder in proc.glob("[0-9]*"):
        fields = _stat(folder)
        if fields and int(fields[_GROUP]) == group:
            found.append(int(folder.name))
    return found


def cpu_seconds(group: int, proc: Path = _PROC) -> float:
    """User and system time of a group's processes so far.

    From the scheduler's own account in nanoseconds, where there is one: the clock ticks of /proc/PID/stat
    are 10 ms.
    """
    return sum(_cpu_of(proc / str(pid)) for pid in members(group, proc))


def _cpu_of(folder: Path) -> float:
    nanoseconds = 0
    for file in folder.glob("task/*/schedstat"):
        try:
            nanoseconds += int(file.read_text().split()[0])
        except (OSError, IndexError):
            continue  # a thread that has just ended
    if nanoseconds:
        return nanoseconds / 1e9
    fields = _stat(folder)
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / _ticks() if fields else 0.0


def busy_seconds(proc: Path = _PROC) -> float:
    """What all cores together have worked, interrupts included."""
    try:
        fields = (proc / "stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    return sum(int(fields[place]) for place in _BUSY) / _ticks()


def resident_bytes(group: int, proc: Path = _PROC) -> int:
    """Memory of a group's processes (VmRSS); the kernel's socket buffers are not in it."""
    total = 0
    for pid in members(group, proc):
        try:
            lines = (proc / str(pid) / "status").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))
    return total


def _stat(folder: Path) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty for a process that has ended."""
    try:
        # The command is in parentheses and may have any character.
        return (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _ticks() -> int:
    return os.sysconf("SC_CLK_TCK")
