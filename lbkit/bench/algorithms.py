"""A scenario live: real slow servers, real balancers, real requests at the times that the simulator draws.

For each algorithm: one process with the servers (see `backends`), one ``lbkit run`` for each balancer, and
the load from here. Arrivals, work, keys and the choice of the balancer come from the scenario's seed, so that
the simulated run beside it met the very same requests.

Only what a simulation leaves out can differ: the balancer's own time and that of two loopback connections
(milliseconds), timers that are late on a busy machine, and health that is known a little later.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re
import sys
import tempfile
from array import array
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lbkit.bench.backends import as_json
from lbkit.bench.load import Call, Load
from lbkit.config.values import Duration, quoted
from lbkit.errors import ConfigError, StartFailed
from lbkit.server import Address
from lbkit.simulation import Result, Scenario, ServerResult, simulate
from lbkit.simulation.record import Histogram

__all__ = ["DEFAULT", "Comparison", "compare", "configuration"]

DEFAULT = """\
# Eight servers of which one is four times as slow: what `lbkit bench algorithms` runs without a file.
seed = 7
duration = "15s"
algorithms = ["round_robin", "random", "least_connections", "two_choices", "peak_ewma", "prequal"]

[arrivals]
kind = "poisson"
rate = 120

[service]
kind = "exponential"
mean = "30ms"

[[servers]]
name = "fast"
count = 7

[[servers]]
name = "slow"
speed = 0.25
"""

_LISTENS = re.compile(rb"(web|admin) listens on (127\.0\.0\.1:[0-9]+) ")
_START_TIMEOUT = 20.0
_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """One algorithm, live and simulated."""

    algorithm: str
    live: Result
    simulated: Result


async def compare(
    scenario: Scenario, progress: Callable[[str, float], None] | None = None
) -> AsyncIterator[Comparison]:
    """Run each of the scenario's algorithms live; *progress* is told the part that is done, 0–1.

    Raises ConfigError for a scenario that cannot be run live, and StartFailed.
    """
    _check(scenario)
    for algorithm in scenario.algorithms:
        told = partial(progress, algorithm) if progress is not None else _nothing
        live = await _run(scenario, algorithm, told)
        (simulated,) = await asyncio.to_thread(simulate, scenario, [algorithm])
        yield Comparison(algorithm, live, simulated)


def _nothing(part: float) -> None:
    """Nobody wants to know."""


def _check(scenario: Scenario) -> None:
    expected = scenario.expected_duration()
    if not 0 < expected <= 3600:
        raise ConfigError("duration: a live run needs an end, at most an hour; set duration or requests")
    if set(scenario.pool.retry_on) != {"connect"}:
        raise ConfigError('pool.retry_on: live balancers retry failed connections only: leave ["connect"]')
    if scenario.passive is not None and scenario.health is None:
        raise ConfigError("passive: live balancers count errors only beside checks: add [health]")


async def _run(scenario: Scenario, algorithm: str, progress: Callable[[float], None]) -> Result:
    async with contextlib.AsyncExitStack() as stack:
        backends, ports = await stack.enter_async_context(_backends(scenario))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        balancers = [
            await stack.enter_async_context(_balancer(scenario, algorithm, ports, number, folder))
            for number in range(scenario.balancers)
        ]
        recorder = _Recorder(scenario, progress)
        load = Load([web for web, _ in balancers], recorder.done)
        assert backends.stdin is not None
        backends.stdin.write(b"start\n")
        await load.run(_calls(scenario, recorder), _patience(scenario))
        if backends.returncode is not None:
            raise StartFailed(f"the benchmark's servers ended with status {backends.returncode} while it ran")
        try:
            picks, retries = await _picks([admin for _, admin in balancers])
        except (OSError, ValueError) as error:
            raise StartFailed(f"a balancer of the benchmark ended while it ran ({error})") from None
    return recorder.result(algorithm, picks, retries, scenario)


def _patience(scenario: Scenario) -> float:
    return float(scenario.timeout) + _PATIENCE


def _calls(scenario: Scenario, recorder: _Recorder) -> Iterator[Call]:
    """The scenario's requests, as the simulator's engine takes them."""
    end = float("inf") if scenario.duration is None else float(scenario.duration)
    limit = scenario.requests or float("inf")
    choose, count = scenario.rng("clients").random, scenario.balancers
    for now, work, key, _ in scenario.stream():
        if now >= end or recorder.sent >= limit:
            return
        recorder.sent += 1
        recorder.last = now
        recorder.counted += now >= scenario.warmup
        yield now, int(choose() * count) if count > 1 else 0, work, key


class _Recorder:
    def __init__(self, scenario: Scenario, progress: Callable[[float], None]) -> None:
        self.sent = self.counted = 0
        self.last = 0.0
        self._answered = 0
        self._warmup = float(scenario.warmup)
        self._expected = scenario.expected_duration()
        self._progress = progress
        self._good, self._bad = array("f"), array("f")
        self._errors: dict[str, int] = {}

    def done(self, when: float, seconds: float, status: int) -> None:
        """One request was answered."""
        self._answered += 1
        if not self._answered % 64:
            self._progress(min(1.0, when / self._expected))
        if when < self._warmup:
            return
        if status == 200:
            self._good.append(seconds)
        else:
            why = {0: "connection lost", 502: "connect", 503: "no server", 504: "timeout"}.get(
                status, str(status)
            )
            self._errors[why] = self._errors.get(why, 0) + 1
            self._bad.append(seconds)

    def result(self, algorithm: str, picks: dict[str, int], retries: int, scenario: Scenario) -> Result:
        good, bad = Histogram(), Histogram()
        good.fold(self._good)
        bad.fold(self._bad)
        # Not what the load says had no answer, which may have come within the warm-up.
        if unfinished := self.counted - len(self._good) - len(self._bad):
            self._errors["unfinished"] = unfinished
        names = [name for spec in scenario.servers for name in spec.names()]
        servers = [ServerResult(name, picks.get(name, 0), float("nan"), 0) for name in names]
        return Result(algorithm, self.counted, self._errors, good, bad, retries, self.last, [], servers)


# ------------------------------------------------------------------------------------ the processes


@contextlib.asynccontextmanager
async def _backends(
    scenario: Scenario,
) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, int]]]:
    process = await _start("-m", "lbkit.bench.backends", stdin=True)
    try:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(as_json(scenario.servers, scenario.events).encode() + b"\n")
        line = await _line(process, re.compile(rb"^(\{.*\})$"))
        yield process, json.loads(line[1])
    finally:
        await _end(process)


@contextlib.asynccontextmanager
async def _balancer(
    scenario: Scenario, algorithm: str, ports: dict[str, int], number: int, folder: Path
) -> AsyncIterator[tuple[Address, Address]]:
    file = folder / f"balancer{number}.toml"
    file.write_text(configuration(scenario, algorithm, ports, number), "utf-8")
    process = await _start("-m", "lbkit", "run", str(file))
    try:
        found: dict[bytes, Address] = {}
        while len(found) < 2:
            match = await _line(process, _LISTENS)
            found[match[1]] = Address.parse(match[2].decode())
        assert process.stdout is not None
        draining = asyncio.get_running_loop().create_task(process.stdout.read())
        try:
            yield found[b"web"], found[b"admin"]
        finally:
            draining.cancel()
    finally:
        await _end(process)


async def _start(*arguments: str, stdin: bool = False) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def _line(process: asyncio.subprocess.Process, pattern: re.Pattern[bytes]) -> re.Match[bytes]:
    """The next line of its output that matches."""
    assert process.stdout is not None
    said = b""
    try:
        async with asyncio.timeout(_START_TIMEOUT):
            while line := await process.stdout.readline():
                said += line
                if match := pattern.search(line.rstrip()):
                    return match
    except TimeoutError:
        pass
    raise StartFailed(f"a process of the benchmark did not start: {said.decode('utf-8', 'replace').strip()}")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _picks(admins: list[Address]) -> tuple[dict[str, int], int]:
    """By server, and retries, over all balancers."""
    picks: dict[str, int] = {}
    retries = 0
    for admin in admins:
        reader, writer = await asyncio.open_connection(admin.host, admin.port)
        writer.write(b"GET /status HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % str(admin).encode())
        answer = await reader.read()
        writer.close()
        facts = json.loads(answer.partition(b"\r\n\r\n")[2])
        for name, server in facts["pools"]["bench"]["servers"].items():
            picks[name] = picks.get(name, 0) + server["picks"]
            retries += server["retries"]
    return picks, retries


def configuration(scenario: Scenario, algorithm: str, ports: dict[str, int], number: int) -> str:
    """What balancer *number* runs; *ports* are the servers'."""
    timeout = f'server = "{float(scenario.timeout):.6f}s"\n' if scenario.timeout else 'server = "0"\n'
    pool = scenario.pool
    lines = [
        f"[global]\nseed = {scenario.seed * 1000 + number}",
        '[admin]\nlisten = "127.0.0.1:0"',
        '[listeners.web]\nlisten = "127.0.0.1:0"\nmode = "http"\npool = "bench"',
        f'[listeners.web.timeouts]\n{timeout}queue = "{float(pool.queue_timeout):.6f}s"',
        f"[pools.bench]\nalgorithm = {quoted(algorithm)}\nretries = {scenario.retries}",
        'key = "header:X-Key"' if scenario.keys is not None else "",
        f"retry_percent = {pool.retry_percent}\nretry_minimum = {pool.retry_minimum}",
        f"max_queue = {pool.max_queue}\npanic_threshold = {pool.panic_threshold}",
    ]
    options = scenario.options.get(algorithm)
    if options is not None:
        lines += ["[pools.bench.options]", *_values(options)]
    if scenario.health is not None:
        health = scenario.health
        lines.append(
            f'[pools.bench.health]\ncheck = "tcp"\ninterval = "{float(health.interval):.6f}s"\n'
            f"rise = {health.rise}\nfall = {health.fall}"
        )
        if scenario.passive is not None:
            passive = scenario.passive
            lines.append(
                f"observe = {quoted(passive.layer)}\nerror_limit = {passive.error_limit}\n"
                f"on_error = {quoted(passive.on_error)}"
            )
    if scenario.outlier is not None:
        lines += ["[pools.bench.outlier]", *_values(scenario.outlier)]
    for spec in scenario.servers:
        for name in spec.names():
            lines.append(
                f'[[pools.bench.servers]]\nname = {quoted(name)}\naddress = "127.0.0.1:{ports[name]}"\n'
                f"weight = {spec.weight}\nbackup = {str(spec.backup).lower()}\n"
                f'max_connections = {spec.max_connections}\nslow_start = "{float(spec.slow_start):.6f}s"'
            )
    return "\n".join(line for line in lines if line) + "\n"


def _values(table: Any) -> list[str]:
    """The fields of a dataclass as lines of TOML."""
    return [f"{field.name} = {_value(getattr(table, field.name))}" for field in dataclasses.fields(table)]


def _value(value: Any) -> str:
    if isinstance(value, Duration):
        return f'"{float(value):.6f}s"'
    if isinstance(value, bool):
        return str(value).lower()
    return quoted(value) if isinstance(value, str) else repr(value)
