"""Who is measured beside whom: no proxy, lbkit with each relay, and rivals, each as one group of processes.

A `Contender` says how it is started; `started` starts it. Every one leads from a free port of 127.0.0.1 to
one server, on one thread, and logs nothing. Processes are ended with SIGKILL: they hold nothing that is worth
a graceful end, which takes proxy.py seconds.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.resources
import os
import re
import resource
import shutil
import signal
import socket
import string
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypeAlias

from lbkit import __version__
from lbkit.bench import SERVER_VARIABLE
from lbkit.cluster import packages
from lbkit.cluster.report import Report
from lbkit.errors import ConfigError, StartFailed
from lbkit.registry import nearest
from lbkit.relay import RELAYS
from lbkit.server import Address

__all__ = [
    "Contender",
    "Finders",
    "Route",
    "Selection",
    "connections",
    "fill",
    "find_program",
    "installed",
    "nginx",
    "output_of",
    "select",
    "server",
    "started",
]

NGINX = packages.Wanted("nginx", ("nginx", "libnginx-mod-stream"), ("nginx",))
_SYSTEM_FOLDERS = "/usr/sbin:/usr/local/sbin:/opt/homebrew/bin"
_START_TIMEOUT = 10.0
_MOST_CONNECTIONS = 20_000
_SPARE_FILES = 200


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to the server, and how it is started.

    `key` is its name on the command line. `options` says what it was told that is not its default. `command`
    gets the address to listen on, the server's, and a folder for its files; None is no proxy at all.
    """

    key: str
    name: str
    version: str = ""
    options: str = ""
    command: Callable[[Address, Address, Path], list[str]] | None = None
    tls_command: Callable[[Address, Address, Address, Path], list[str]] | None = None
    """In place of `command`, where it also speaks TLS: its second argument is the address to do so on."""

    def __str__(self) -> str:
        shown = f"{self.name} {self.version}".strip()
        return f"{shown} ({self.options})" if self.options else shown


@dataclass(frozen=True, slots=True)
class Route:
    """A contender that runs. `group` is its process group, 0 for none."""

    contender: Contender
    address: Address
    group: int = 0
    process: subprocess.Popen[bytes] | None = None
    tls: Address | None = None
    """Where it speaks TLS, if it does."""

    def require_alive(self) -> None:
        """Raises StartFailed where its process has ended: what was measured then says nothing."""
        if self.process is not None and (status := self.process.poll()) is not None:
            raise StartFailed(f"{self.contender.name} ended with status {status} while it was measured")


@dataclass(slots=True)
class Selection:
    """Who can be measured here, in the order of the tables, and by name why the others cannot."""

    contenders: list[Contender] = field(default_factory=list)
    passed_over: dict[str, str] = field(default_factory=dict)


# ----------------------------------------------------------------------------------------- selecting


Finders: TypeAlias = Mapping[str, Callable[[], Contender]]
"""By key; each raises StartFailed with the reason where there is none."""


def select(
    report: Report,
    *,
    fetch: bool = True,
    keys: Sequence[str] = (),
    among: Callable[[Report, bool], Finders] | None = None,
) -> Selection:
    """Those of *keys*, or all. With *fetch*, programs that are missing come from the distribution's packages.

    *among* gives those that there are, by default the tcp proxies. Raises ConfigError for an unknown key.
    """
    finders = (among or _finders)(report, fetch)
    for key in keys:
        if key not in finders:
            raise ConfigError(f'--path: unknown path "{key}"{nearest(key, finders, listed=True)}')
    selection = Selection()
    for key, find in finders.items():
        if keys and key not in keys:
            continue
        try:
            selection.contenders.append(find())
        except StartFailed as reason:
            selection.passed_over[key] = str(reason)
    return selection


def _finders(report: Report, fetch: bool) -> Finders:
    return {
        "none": lambda: Contender("none", "no proxy"),
        "auto": lambda: _lbkit("auto"),
        **{name: _relay_finder(name) for name in RELAYS},
        "haproxy": lambda: _haproxy(report, fetch),
        "nginx": lambda: _nginx(report, fetch),
        "proxy.py": _proxy_py,
        "naive": _naive,
    }


def _relay_finder(name: str) -> Callable[[], Contender]:
    def find() -> Contender:
        if reason := RELAYS[name].factory.unsupported():
            raise StartFailed(reason)
        return _lbkit(name)

    return find


def find_program(name: str, report: Report, *, fetch: bool = True) -> str | None:
    """A program on this machine or, with *fetch*, from the distribution's packages; None where neither is."""
    found = installed(name)
    if found is not None or not fetch:
        return found
    try:
        return str(packages.fetch_tool(name, report))
    except StartFailed as error:
        report.say(f"without {name}: {error}")
        return None


def installed(name: str) -> str | None:
    """Where the program is on this machine, also where PATH does not lead; None where it is not."""
    return shutil.which(name) or shutil.which(name, path=_SYSTEM_FOLDERS)


def nginx(report: Report, fetch: bool) -> str:
    """nginx here or, with *fetch*, from the distribution's packages; StartFailed where neither is."""
    program = installed("nginx") or (str(packages.fetch_tool("nginx", report)) if fetch else None)
    if program is None:
        raise StartFailed("is not installed: apt-get install nginx")
    return program


def output_of(*command: str) -> str:
    """What a program says of itself, on whichever stream."""
    try:
        shown = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StartFailed(f"{command[0]} cannot be run: {error}") from None
    return shown.stdout + shown.stderr


# ------------------------------------------------------------------------------------ the contenders


def connections() -> int:
    """Sessions that every proxy takes at a time; each has two sockets, and HAProxy wants room for all."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return min(_MOST_CONNECTIONS, (files - _SPARE_FILES) // 2)


def _lbkit(relay: str) -> Contender:
    def command(listen: Address, server: Address, folder: Path) -> list[str]:
        file = folder / "lbkit.toml"
        file.write_text(
            f'[listeners.bench]\nlisten = "{listen}"\nmode = "tcp"\npool = "bench"\nrelay = "{relay}"\n'
            f"max_connections = {connections()}\n"
            f'[[pools.bench.servers]]\nname = "server"\naddress = "{server}"\n',
            "utf-8",
        )
        return [sys.executable, "-m", "lbkit", "--log-level", "warning", "run", str(file)]

    options = f'uvloop {importlib.metadata.version("uvloop")}, relay = "{relay}", one process'
    return Contender(relay, f"lbkit {relay}", __version__, options, command)


def _haproxy(report: Report, fetch: bool) -> Contender:
    program = installed("haproxy") or (str(packages.fetch_tool("haproxy", report)) if fetch else None)
    if program is None:
        raise StartFailed("is not installed: apt-get install haproxy")
    version = re.search(r"version (\S+?)[-+ ]", output_of(program, "-v"))

    def command(listen: Address, server: Address, folder: Path) -> list[str]:
        file = folder / "haproxy.cfg"
        fill("haproxy.cfg", file, listen=listen, server=server, connections=connections())
        # -db: in the foreground, one process.
        return [program, "-db", "-f", str(file)]

    return Contender("haproxy", "HAProxy", version[1] if version else "", "mode tcp, nbthread 1", command)


def _nginx(report: Report, fetch: bool) -> Contender:
    program, module = _nginx_with_stream(report, fetch)
    version = re.search(r"nginx/(\S+)", output_of(program, "-v"))

    def command(listen: Address, server: Address, folder: Path) -> list[str]:
        file = folder / "nginx.conf"
        load = f"load_module {module};" if module else ""
        sockets = 2 * connections()
        fill("nginx.conf", file, module=load, folder=folder, listen=listen, server=server, sockets=sockets)
        return [program, "-p", str(folder), "-c", str(file)]

    return Contender(
        "nginx", "nginx stream", version[1] if version else "", "worker_processes 1, access_log off", command
    )


def _nginx_with_stream(report: Report, fetch: bool) -> tuple[str, str]:
    """nginx, and its stream module where that is not built in; StartFailed where there is no such pair."""
    if program := installed("nginx"):
        built = output_of(program, "-V")
        if re.search(r"--with-stream(\s|$)", built):
            return program, ""
        folder = re.search(r"--modules-path=(\S+)", built)
        module = Path(folder[1]) / "ngx_stream_module.so" if folder else Path()
        if module.is_file():
            return program, str(module)
    if not fetch:
        raise StartFailed("is not here with its stream module: apt-get install nginx libnginx-mod-stream")
    prefix = packages.fetch(NGINX, report)
    return str(prefix.program("nginx")), str(prefix.root / "usr/lib/nginx/modules/ngx_stream_module.so")


def _proxy_py() -> Contender:
    try:
        version = importlib.metadata.version("proxy.py")
    except importlib.metadata.PackageNotFoundError:
        raise StartFailed("is not installed: pip install proxy.py") from None

    def command(listen: Address, server: Address, folder: Path) -> list[str]:
        options = {
            "hostname": listen.host,
            "port": listen.port,
            "num-workers": 1,
            "num-acceptors": 1,
            "backlog": 4096,
            "open-file-limit": 2 * connections(),
            "log-level": "ERROR",
            "data-dir": folder,
            "work-klass": "lbkit.bench.tunnel.Tunnel",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return ["env", f"{SERVER_VARIABLE}={server}", sys.executable, "-m", "proxy", "--threadless", *words]

    return Contender("proxy.py", "proxy.py", version, "as a tcp tunnel, threadless, 1 acceptor", command)


def _naive() -> Contender:
    def command(listen: Address, server: Address, folder: Path) -> list[str]:
        return [sys.executable, "-m", "lbkit.bench.naive", str(listen), str(server)]

    return Contender("naive", "naive asyncio", "", "streams on asyncio's own loop", command)


def fill(rival: str, file: Path, **values: object) -> None:
    """The rival's configuration with its values filled in."""
    text = importlib.resources.files("lbkit.bench").joinpath("rivals", rival).read_text("utf-8")
    file.write_text(string.Template(text).substitute(values), "utf-8")


# ----------------------------------------------------------------------------------------- processes


@contextlib.contextmanager
def server() -> Iterator[Address]:
    """The server behind all of them, see `answers`."""
    with _running([sys.executable, "-m", "lbkit.bench.answers"], subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise StartFailed("the benchmark's server did not start")
        yield Address("127.0.0.1", int(line))


@contextlib.contextmanager
def started(contender: Contender, server: Address, folder: Path) -> Iterator[Route]:
    """It runs for the length of a block, with its files in *folder*. Raises StartFailed where it does not."""
    address, tls = _free_address(), None
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    if contender.tls_command is not None:
        tls = _free_address()
        command = contender.tls_command(address, tls, server, folder)
    elif contender.command is not None:
        command = contender.command(address, server, folder)
    else:
        yield Route(contender, server)
        return
    with log.open("wb") as output, _running(command, output) as process:
        for one in filter(None, (address, tls)):
            _wait_for(one, process, contender, log)
        yield Route(contender, address, process.pid, process, tls)


@contextlib.contextmanager
def _running(command: Sequence[str], output: IO[bytes] | int) -> Iterator[subprocess.Popen[bytes]]:
    """A process group for the length of a block; Ctrl-C on the terminal reaches only its parent."""
    errors = subprocess.DEVNULL if output == subprocess.PIPE else subprocess.STDOUT
    process: subprocess.Popen[bytes] | None = None
    try:
        with _undivided():
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        yield process
    finally:
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


@contextlib.contextmanager
def _undivided() -> Iterator[None]:
    """A Ctrl-C comes when the block is over: a process that nobody knows yet would be left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)


def _free_address() -> Address:
    """A loopback address where nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return Address("127.0.0.1", sock.getsockname()[1])


def _wait_for(address: Address, process: subprocess.Popen[bytes], contender: Contender, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection((address.host, address.port), timeout=1).close()
            return
        time.sleep(0.02)
    said = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    raise StartFailed(f"{contender.name} did not start: {said[-1].strip() if said else 'it said nothing'}")
