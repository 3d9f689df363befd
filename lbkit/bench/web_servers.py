"""The web server beside other ones: what `lbkit bench static` measures.

Each serves a folder of its own with the same three files; the client and rounds are those of `relays`, and
each server has one process with one thread that answers. nginx sends by sendfile and logs nothing; lbkit's
small files come from its memory, which it compares with the disk once a second.
"""

from __future__ import annotations

import getpass
import re
import sys
from collections.abc import Callable
from pathlib import Path

from lbkit import __version__
from lbkit.bench import FOLDER_VARIABLE
from lbkit.bench.answers import BODIES
from lbkit.bench.app_servers import package
from lbkit.bench.contenders import Contender, Finders, connections, fill, nginx, output_of
from lbkit.bench.figures import Measure, median_of
from lbkit.bench.marks import Mark
from lbkit.bench.relays import Case
from lbkit.cluster.report import Report
from lbkit.server import Address

__all__ = ["CASES", "LBKIT", "MARKS", "MEASURES", "REFERENCE", "finders"]

LBKIT = "lbkit"
REFERENCE = "nginx"

CASES = (
    Case("small", "612 bytes: 64 connections", "/small", 64),
    Case(
        "varied",
        "612 bytes with a browser's fields that change: 64 connections",
        "/small",
        64,
        script="varied",
    ),
    Case("medium", "64 KiB: 32 connections", "/medium", 32),
    Case("big", "10 MB: 4 connections", "/big", 4),
    Case("connect", "one connection a request: 612 bytes, 64 at a time", "/small", 64, close=True),
)

MEASURES: dict[str, Measure] = {
    "small": median_of("612 bytes: requests/s", "small", "rate"),
    "varied": median_of("changing fields: requests/s", "varied", "rate"),
    "medium": median_of("64 KiB: requests/s", "medium", "rate"),
    "big": median_of("10 MB: bytes/s", "big", "bytes_rate"),
    "connect": median_of("no keep-alive: requests/s", "connect", "rate"),
    "cpu": median_of("612 bytes: own CPU a request", "small", "own_us", less_is_better=True),
    "p99": median_of("612 bytes: p99", "small", "p99_ms", less_is_better=True),
}
"""In the order in which they are shown."""

MARKS = (
    Mark(MEASURES["small"], 0.6, LBKIT, REFERENCE),
    Mark(MEASURES["small"], 30.0, LBKIT, "starlette"),
    Mark(MEASURES["small"], 15.0, LBKIT, "aiohttp"),
    Mark(MEASURES["big"], 0.95, LBKIT, REFERENCE),
)


def finders(report: Report, fetch: bool) -> Finders:
    """Who there is."""
    return {
        LBKIT: _lbkit,
        REFERENCE: lambda: _nginx(report, fetch),
        "starlette": _starlette,
        "aiohttp": _aiohttp,
    }


def _site(folder: Path) -> Path:
    """The files, in a folder below *folder*."""
    site = folder / "site"
    site.mkdir(exist_ok=True)
    for path, body in BODIES.items():
        (site / path.decode("ascii").lstrip("/")).write_bytes(body)
    return site


def _serving(*words: str) -> Callable[[Address, Address, Path], list[str]]:
    """A command of Python's with the address in place of ADDRESS and so on, told the folder by a variable."""

    def command(listen: Address, server: Address, folder: Path) -> list[str]:
        site = str(_site(folder))
        values = {"ADDRESS": str(listen), "HOST": listen.host, "PORT": str(listen.port), "SITE": site}
        run = [sys.executable, "-m", *(values.get(word, word) for word in words)]
        return ["env", f"{FOLDER_VARIABLE}={site}", *run]

    return command


def _lbkit() -> Contender:
    command = _serving("lbkit", "--log-level", "warning", "static", "SITE", "--listen", "ADDRESS")
    return Contender(LBKIT, "lbkit", __version__, f"uvloop {package('uvloop')}, one process", command)


def _nginx(report: Report, fetch: bool) -> Contender:
    program = nginx(report, fetch)
    version = re.search(r"nginx/(\S+)", output_of(program, "-v"))

    def command(listen: Address, server: Address, folder: Path) -> list[str]:
        file = folder / "nginx.conf"
        sockets = connections()
        fill(
            "nginx-files.conf",
            file,
            user=getpass.getuser(),
            folder=folder,
            listen=listen,
            site=_site(folder),
            sockets=sockets,
        )
        return [program, "-p", str(folder), "-c", str(file)]

    options = "sendfile on, worker_processes 1, access_log off"
    return Contender(REFERENCE, "nginx", version[1] if version else "", options, command)


def _starlette() -> Contender:
    options = f"StaticFiles, uvicorn {package('uvicorn')}, httptools {package('httptools')}, uvloop"
    command = _serving(
        *("uvicorn", "--factory", "lbkit.bench.folders:starlette", "--host", "HOST", "--port", "PORT"),
        *("--http", "httptools", "--loop", "uvloop", "--log-level", "critical", "--no-access-log"),
    )
    return Contender("starlette", "Starlette", package("starlette"), options, command)


def _aiohttp() -> Contender:
    command = _serving("lbkit.bench.folders", "HOST", "PORT")
    return Contender("aiohttp", "aiohttp", package("aiohttp"), "add_static, uvloop", command)
