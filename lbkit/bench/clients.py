"""The clients of the benchmarks: wrk on one thread, `closed` where there is no wrk, `echoes` for WebSockets.

All keep a number of connections busy with one request or message each (closed loop).
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import uvloop

from lbkit.bench.closed import ClosedLoad
from lbkit.errors import ConfigError, StartFailed
from lbkit.server import Address

__all__ = ["Ask", "Client", "Measured", "own_client", "read_wrk", "websocket_client", "wrk_client"]

_SCRIPTS = Path(__file__).parent
_PATIENCE = 30.0
"""Seconds that wrk may take longer than it was told."""
_MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0, "h": 3_600_000.0}
_BYTES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True, slots=True)
class Ask:
    """What to ask for, over how many connections, for how many seconds; *close*: one connection a request.

    *tls*: over https, each connection with a handshake of its own. *script*: the name of one of the .lua
    files here that makes the requests. Both only wrk can.
    """

    resource: str
    connections: int
    seconds: float
    close: bool = False
    tls: bool = False
    script: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a client saw: requests and bytes a second, latencies in ms, answers, and failed requests."""

    rate: float
    bytes_rate: float
    p50_ms: float
    p99_ms: float
    requests: int
    failures: int


Client: TypeAlias = Callable[[Address, Ask], Measured]


def wrk_client(program: str, seconds: float) -> Client:
    """wrk, which takes whole *seconds*: ConfigError for others."""
    if seconds != int(seconds):
        raise ConfigError(f"--seconds {seconds:g}: wrk takes whole seconds; round it, or add --own-client")
    return partial(_wrk, program)


def _wrk(program: str, address: Address, ask: Ask) -> Measured:
    command = [program, "-t1", f"-c{ask.connections}", f"-d{ask.seconds:.0f}s", "--latency"]
    command += ["-H", "Connection: close"] if ask.close else []
    command += ["-s", str(_SCRIPTS / f"{ask.script}.lua")] if ask.script else []
    command.append(f"{'https' if ask.tls else 'http'}://{address}{ask.resource}")
    try:
        shown = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=ask.seconds + _PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StartFailed(f"wrk failed: {error}") from None
    # It gives up before the first request where the first connection is refused.
    if "unable to connect" in shown.stdout + shown.stderr:
        return Measured(0.0, 0.0, 0.0, 0.0, 0, ask.connections)
    try:
        return read_wrk(shown.stdout)
    except ValueError as error:
        raise StartFailed(f"{error} {shown.stderr}".strip()) from None


def read_wrk(shown: str) -> Measured:
    """What wrk printed; ValueError where it is not that."""
    rate = re.search(r"Requests/sec: +([0-9.]+)", shown)
    transfer = re.search(r"Transfer/sec: +([0-9.]+)([KMGT]?)B", shown)
    p50, p99 = (re.search(rf"\b{part}% +([0-9.]+)(us|ms|s|m|h)\b", shown) for part in (50, 99))
    requests = re.search(r"([0-9]+) requests in", shown)
    if not (rate and transfer and p50 and p99 and requests):
        raise ValueError(f"not wrk's output: {shown.strip() or 'nothing'}")
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", shown)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", shown)
    return Measured(
        float(rate[1]),
        float(transfer[1]) * _BYTES[transfer[2]],
        float(p50[1]) * _MILLISECONDS[p50[2]],
        float(p99[1]) * _MILLISECONDS[p99[2]],
        int(requests[1]),
        (sum(map(int, errors.groups())) if errors else 0) + (int(bad[1]) if bad else 0),
    )


def own_client(address: Address, ask: Ask) -> Measured:
    """The bundled client, in this process; its own speed is the limit sooner than wrk's.

    Raises ConfigError for what only wrk can ask.
    """
    if ask.tls or ask.script:
        raise ConfigError(
            "the bundled client speaks no TLS, sends no body and never changes its fields: install wrk"
        )

    async def run() -> Measured:
        load = ClosedLoad(
            address, ask.resource, connections=ask.connections, seconds=ask.seconds, close=ask.close
        )
        result = await load.run()
        p50, p99 = (result.percentile(part) * 1000 for part in (0.5, 0.99))
        speed = result.received / result.seconds
        return Measured(result.rate, speed, p50, p99, result.requests, len(result.failures))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


def websocket_client(address: Address, ask: Ask) -> Measured:
    """Messages echoed by the WebSocket at the resource, counted by `echoes` in a process of its own."""
    command = [sys.executable, "-m", "lbkit.bench.echoes", str(address), ask.resource]
    command += [str(ask.connections), str(ask.seconds)]
    try:
        shown = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=ask.seconds + _PATIENCE
        )
    except subprocess.TimeoutExpired as error:
        raise StartFailed(f"the WebSocket client failed: {error}") from None
    if shown.returncode:
        raise StartFailed(f"the WebSocket client failed: {shown.stderr.strip().rpartition(chr(10))[2]}")
    return Measured(**json.loads(shown.stdout))
