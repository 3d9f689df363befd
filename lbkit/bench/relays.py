"""lbkit's relays beside no proxy and beside other proxies: what `lbkit bench relays` runs.

Every figure is a median over rounds in which the paths take turns, because one machine's speed moves from
minute to minute: only figures of one run may be compared, and the ratio to HAProxy is the result. Server and
client are the same for all; each proxy has one thread.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lbkit.bench.clients import Ask, Client, websocket_client
from lbkit.bench.contenders import Contender, Route, server, started
from lbkit.bench.figures import NO_PROXY, Figures, Sample
from lbkit.bench.idle import bytes_per_connection
from lbkit.bench.usage import busy_seconds, cpu_seconds
from lbkit.errors import StartFailed
from lbkit.server import Address

__all__ = ["CASES", "FEWEST_ROUNDS", "IDLE", "Case", "Plan", "Run", "machine", "run"]

FEWEST_ROUNDS = 3
"""A median of fewer is no figure to quote."""
IDLE = "idle"
"""The key of the case that measures memory, not time."""
_IDLE_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Case:
    """One question: which resource, over how many connections, and whether each request has its own.

    *script* and *tls* are as in `Ask`; with *websocket* the resource is one, and echoed messages count.
    """

    key: str
    name: str
    resource: str
    connections: int
    close: bool = False
    tls: bool = False
    script: str = ""
    websocket: bool = False

    @property
    def needs_wrk(self) -> bool:
        """Whether the bundled client cannot ask it."""
        return self.tls or bool(self.script)


CASES = (
    Case("small", "small keep-alive: 612 bytes, 64 connections", "/small", 64),
    Case("medium", "64 KiB: 32 connections", "/medium", 32),
    Case("big", "10 MB: 4 connections", "/big", 4),
    Case("connect", "one connection a request: 612 bytes, 64 at a time", "/small", 64, close=True),
    Case("low", "low load: 612 bytes, one connection", "/small", 1),
    Case("many", "1 000 connections: 612 bytes", "/small", 1000),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure; `idle_connections` of 0 leaves memory out."""

    contenders: Sequence[Contender]
    client: Client
    cases: Sequence[Case] = CASES
    rounds: int = 5
    seconds: float = 2.0
    idle_connections: int = 2000

    @property
    def steps(self) -> int:
        """How often `run` tells of progress."""
        idle = _IDLE_ROUNDS * len(self._measured_for_memory()) if self.idle_connections else 0
        pairs = sum(
            not case.tls or one.tls_command is not None for case in self.cases for one in self.contenders
        )
        return self.rounds * pairs + idle

    def _measured_for_memory(self) -> list[Contender]:
        return [one for one in self.contenders if one.key != NO_PROXY]


@dataclass(slots=True)
class Run:
    """Figures, who was measured, and by key why others that were to be measured were not."""

    figures: Figures = field(default_factory=Figures)
    contenders: list[Contender] = field(default_factory=list)
    passed_over: dict[str, str] = field(default_factory=dict)


def run(plan: Plan, progress: Callable[[str], None]) -> Run:
    """Measure; *progress* is told before each step what it is.

    A rival that does not start is passed over. Raises StartFailed where lbkit does not start, and where a
    proxy ends while it is measured.
    """
    result = Run()
    with (
        tempfile.TemporaryDirectory(prefix="lbkit-bench-") as folder,
        server() as address,
        contextlib.ExitStack() as stack,
    ):
        routes = list(_routes(plan.contenders, address, Path(folder), stack, result))
        _rounds(plan, routes, result.figures, progress)
        stack.close()
        if plan.idle_connections:
            _idle(plan, result, address, Path(folder), progress)
    return result


def _routes(
    contenders: Sequence[Contender], server: Address, folder: Path, stack: contextlib.ExitStack, result: Run
) -> Iterator[Route]:
    for one in contenders:
        try:
            route = stack.enter_context(started(one, server, folder / one.key))
        except StartFailed as error:
            if one.name.startswith("lbkit"):
                raise
            result.passed_over[one.key] = str(error)
            continue
        result.contenders.append(one)
        yield route


def _rounds(plan: Plan, routes: list[Route], figures: Figures, progress: Callable[[str], None]) -> None:
    """The paths take turns within each round, in a turning order."""
    for number in range(plan.rounds):
        for case in plan.cases:
            turn = number % len(routes)
            for route in routes[turn:] + routes[:turn]:
                name = route.contender
                if case.tls and route.tls is None:
                    continue
                progress(f"{case.name.partition(':')[0]}: {name.name}")
                figures.samples[case.key, name.key].append(_measure(plan, case, route))


def _measure(plan: Plan, case: Case, route: Route) -> Sample:
    """One round of one path."""
    own, system = cpu_seconds(route.group) if route.group else 0.0, busy_seconds()
    ask = Ask(case.resource, case.connections, plan.seconds, case.close, case.tls, case.script)
    client = websocket_client if case.websocket else plan.client
    seen = client(route.tls if case.tls and route.tls is not None else route.address, ask)
    system = busy_seconds() - system
    own = cpu_seconds(route.group) - own if route.group else 0.0
    route.require_alive()
    each = 1e6 / seen.requests if seen.requests else 0.0
    return Sample(
        seen.rate, seen.bytes_rate, seen.p50_ms, seen.p99_ms, seen.failures, own * each, system * each
    )


def _idle(plan: Plan, result: Run, server: Address, folder: Path, progress: Callable[[str], None]) -> None:
    for number in range(_IDLE_ROUNDS):
        for one in result.contenders:
            if one.key == NO_PROXY or one.key in result.passed_over:
                continue
            progress(f"memory: {one.name}")
            try:
                with started(one, server, folder / f"{one.key}-idle{number}") as route:
                    result.figures.idle[one.key].append(bytes_per_connection(route, plan.idle_connections))
            except StartFailed as error:
                if one.name.startswith("lbkit"):
                    raise
                result.passed_over[one.key] = str(error)


def machine() -> str:
    """Where it was measured: kernel, CPU, cores, Python."""
    parts = [f"{platform.system()} {platform.release()}", _processor(), f"{os.cpu_count()} cores"]
    return ", ".join([*filter(None, parts), f"Python {platform.python_version()}"])


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.processor()
    found = re.search(r"^(?:model name|Model)\s*: (.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()
