"""The app server beside other ones: what `lbkit bench app` measures.

The same application for all (`applications`), one process with one thread for Python each, nothing logged,
and the client and rounds of `relays`. `uvicorn` is the one with httptools and uvloop, which most sites run;
granian's own threads are Rust's.

``varied`` is the hello world with a browser's fields, other ones in each request: lbkit keeps with a
connection what follows from its fields, and must not be judged only by clients that never change them.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path

from lbkit import __version__
from lbkit.bench.contenders import Contender, Finders
from lbkit.bench.figures import Measure, median_of
from lbkit.bench.marks import Mark
from lbkit.bench.relays import Case
from lbkit.cluster.report import Report
from lbkit.errors import StartFailed
from lbkit.server import Address

__all__ = ["CASES", "LBKIT", "MARKS", "MEASURES", "REFERENCE", "finders", "package"]

LBKIT = "lbkit"
REFERENCE = "uvicorn"
_APP = "lbkit.bench.applications:app"

CASES = (
    Case("hello", "hello world: 64 connections", "/", 64),
    Case(
        "varied", "hello world with a browser's fields that change: 64 connections", "/", 64, script="varied"
    ),
    Case("json", "JSON of 10 KB in and out: 32 connections", "/json", 32, script="json"),
    Case("upload", "an upload of 1 MiB: 16 connections", "/upload", 16, script="upload"),
    Case("stream", "100 streamed pieces: 32 connections", "/stream", 32),
    Case("websocket", "WebSocket echo, messages: 32 connections", "/", 32, websocket=True),
)

MEASURES: dict[str, Measure] = {
    "hello": median_of("hello world: requests/s", "hello", "rate"),
    "varied": median_of("changing fields: requests/s", "varied", "rate"),
    "json": median_of("JSON in and out: requests/s", "json", "rate"),
    "upload": median_of("uploads of 1 MiB: requests/s", "upload", "rate"),
    "stream": median_of("100 pieces: requests/s", "stream", "rate"),
    "websocket": median_of("WebSocket: echoes/s", "websocket", "rate"),
    "cpu": median_of("hello world: own CPU a request", "hello", "own_us", less_is_better=True),
    "p99": median_of("hello world: p99", "hello", "p99_ms", less_is_better=True),
}
"""In the order in which they are shown."""

MARKS = (
    Mark(MEASURES["hello"], 1.1, LBKIT, REFERENCE),
    Mark(MEASURES["hello"], 4.0, LBKIT, "uvicorn-h11"),
    Mark(MEASURES["hello"], 5.0, LBKIT, "hypercorn"),
    Mark(MEASURES["hello"], 0.8, LBKIT, "granian"),
    Mark(MEASURES["json"], 1.0, LBKIT, REFERENCE),
    Mark(MEASURES["upload"], 1.0, LBKIT, REFERENCE),
    Mark(MEASURES["stream"], 1.0, LBKIT, REFERENCE),
    Mark(MEASURES["websocket"], 0.8, LBKIT, REFERENCE),
)


def finders(report: Report, fetch: bool) -> Finders:
    """Who there is; all of them are Python packages, so that nothing is fetched."""
    return {
        LBKIT: _lbkit,
        REFERENCE: lambda: _uvicorn(REFERENCE, "httptools"),
        "uvicorn-h11": lambda: _uvicorn("uvicorn-h11", "h11"),
        "hypercorn": _hypercorn,
        "granian": _granian,
    }


def package(name: str) -> str:
    """The version of an installed package; StartFailed where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise StartFailed(f"is not installed: pip install {name}") from None


def _module(*words: str) -> Callable[[Address, Address, Path], list[str]]:
    """The command of a module of Python's; HOST, PORT and ADDRESS stand for where to listen."""

    def command(listen: Address, server: Address, folder: Path) -> list[str]:
        values = {"HOST": listen.host, "PORT": str(listen.port), "ADDRESS": str(listen)}
        return [sys.executable, "-m", *(values.get(word, word) for word in words)]

    return command


def _lbkit() -> Contender:
    options = f"uvloop {package('uvloop')}, one process"
    command = _module("lbkit", "--log-level", "warning", "app", _APP, "--listen", "ADDRESS")
    return Contender(LBKIT, "lbkit", __version__, options, command)


def _uvicorn(key: str, parser: str) -> Contender:
    version = package("uvicorn")
    options = f"{parser} {package(parser)}, uvloop, websockets {package('websockets')}, no access log"
    command = _module(
        *("uvicorn", _APP, "--host", "HOST", "--port", "PORT", "--http", parser, "--loop", "uvloop"),
        *("--ws", "websockets", "--log-level", "critical", "--no-access-log"),
    )
    return Contender(key, f"uvicorn {parser}", version, options, command)


def _hypercorn() -> Contender:
    command = _module(
        *("hypercorn", _APP, "--bind", "ADDRESS", "--worker-class", "uvloop", "--workers", "1"),
        *("--log-level", "critical"),
    )
    return Contender("hypercorn", "hypercorn", package("hypercorn"), "uvloop, one worker", command)


def _granian() -> Contender:
    command = _module(
        *("granian", _APP, "--interface", "asgi", "--host", "HOST", "--port", "PORT", "--workers", "1"),
        *("--runtime-threads", "1", "--loop", "uvloop", "--log-level", "critical"),
    )
    options = "asgi, uvloop, 1 worker, 1 runtime thread"
    return Contender("granian", "granian", package("granian"), options, command)
