"""What a benchmark measures: processes that lead from a free port to the backend, started and ended."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lbkit import __version__
from lbkit.cluster.packages import fetch_tool
from lbkit.cluster.report import Report
from lbkit.errors import StartFailed
from lbkit.server import Address

__all__ = ["Route", "backend", "find_program", "paths"]

RIVALS = Path(__file__).parent / "rivals"
_START_TIMEOUT = 10.0
_SYSTEM_FOLDERS = "/usr/sbin:/usr/local/sbin:/opt/homebrew/bin"


@dataclass(frozen=True, slots=True)
class Route:
    """One way to the backend. `pid` is the proxy's, 0 for none."""

    name: str
    version: str
    address: Address
    pid: int = 0


def find_program(name: str, report: Report, *, fetch: bool = True) -> str | None:
    """A program on this machine or, with *fetch*, from the distribution's packages; None where neither is."""
    found = shutil.which(name) or shutil.which(name, path=_SYSTEM_FOLDERS)
    if found is not None or not fetch:
        return found
    try:
        return str(fetch_tool(name, report))
    except StartFailed as error:
        report.say(f"without {name}: {error}")
        return None


@contextlib.contextmanager
def running(command: Sequence[str], **options: object) -> Iterator[subprocess.Popen[str]]:
    """A process for the length of a block."""
    process = subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **options
    )  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@contextlib.contextmanager
def backend() -> Iterator[Address]:
    """The bundled backend."""
    with running([sys.executable, "-m", "benchmarks.backend"]) as process:
        assert process.stdout is not None
        yield Address("127.0.0.1", int(process.stdout.readline()))


def free_address() -> Address:
    """A loopback address where nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return Address("127.0.0.1", sock.getsockname()[1])


def wait_for(address: Address, process: subprocess.Popen[str]) -> None:
    """Until *process* accepts on *address*; StartFailed when it does not."""
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection((address.host, address.port), timeout=1).close()
            return
        time.sleep(0.02)
    raise StartFailed(f"{process.args!r} does not listen on {address}")


@contextlib.contextmanager
def paths(server: Address, folder: Path, report: Report, *, fetch: bool) -> Iterator[list[Route]]:
    """No proxy, lbkit, and HAProxy where it can be had, all leading to *server*."""
    with contextlib.ExitStack() as stack:
        found = [Route("no proxy", "", server), _lbkit(server, stack)]
        if haproxy := find_program("haproxy", report, fetch=fetch):
            found.append(_haproxy(haproxy, server, folder, stack))
        yield found


def _lbkit(server: Address, stack: contextlib.ExitStack) -> Route:
    address = free_address()
    command = [sys.executable, "-m", "lbkit", "run", "--listen", str(address), "--server", str(server)]
    process = stack.enter_context(running(command))
    wait_for(address, process)
    return Route("lbkit stream", __version__, address, process.pid)


def _haproxy(program: str, server: Address, folder: Path, stack: contextlib.ExitStack) -> Route:
    address = free_address()
    config = folder / "haproxy.cfg"
    config.write_text(
        (RIVALS / "haproxy.cfg").read_text("utf-8").format(listen=address, server=server), "utf-8"
    )
    # -db: in the foreground, one process, so that its pid is the one that is measured and ended.
    process = stack.enter_context(running([program, "-db", "-f", str(config)]))
    wait_for(address, process)
    shown = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stdout
    return Route("HAProxy", shown.split()[2], address, process.pid)
