"""Other people's programs for tests: those of this machine, or fetched as any user's would be."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lbkit.bench.contenders import find_program
from lbkit.cluster import packages
from lbkit.cluster.report import LineReport
from lbkit.errors import StartFailed

__all__ = ["free_port", "free_ports", "program", "started"]


def program(name: str, package: str = "") -> str:
    """Its path; skips the test where it cannot be had. *package* is what it comes in where that has another name."""
    found = find_program(name, LineReport(), fetch=not package)
    if found is None and package:
        wanted = packages.Wanted(package, (package,), (name,))
        with contextlib.suppress(StartFailed):
            found = str(packages.fetch(wanted, LineReport()).program(name))
    if found is None:
        pytest.skip(f"{name} is neither installed nor to be had from the distribution's packages")
    return found


def free_port(host: str) -> int:
    """One that nobody listens on now."""
    return free_ports(host, 1)[0]


def free_ports(host: str, count: int) -> list[int]:
    """So many different ones."""
    with contextlib.ExitStack() as held:
        return [held.enter_context(socket.create_server((host, 0))).getsockname()[1] for _ in range(count)]


@contextlib.contextmanager
def started(command: Sequence[str], address: tuple[str, int], log: Path) -> Iterator[None]:
    """*command* runs until the block's end; it listens on *address* at its beginning."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(address, timeout=1):
                break
            assert process.poll() is None, log.read_text("utf-8", "replace")
            assert time.monotonic() < deadline, log.read_text("utf-8", "replace")
            time.sleep(0.02)
        yield
    finally:
        process.terminate()  # a master that is killed leaves its workers behind
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
