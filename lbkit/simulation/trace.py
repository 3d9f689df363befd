"""Recorded traffic: one request a line, and what is done about lines that are none.

::

    time,service,key,server        a heading may be there
    0.000,0.012,alice,web1         seconds, or durations such as 12ms
    0.004,30ms                     key and server are optional, and so is service where the scenario has one

Times of a wall clock (seconds since 1970) count from the first one on.

Empty lines and those that begin with # are no requests. Any other line that cannot be read, or that goes back
in time, is left out, counted, and the first few are told with file, line and reason: a day's log must not be
useless for one broken line, and none may be lost silently.

Columns are arrays, 8 bytes a number, so that ten million requests fit in a few hundred megabytes.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TextIO

from lbkit.config.values import parse_duration
from lbkit.errors import ConfigError

__all__ = ["Trace", "TraceEntry", "parse_trace", "read_service", "read_trace"]

_TOLD = 5
_WALL_CLOCK = 1e8
"""Seconds from which on a first time can only be since 1970: three years."""
_LONGEST = 36_500 * 86_400.0
"""Seconds that a request may take, as in durations."""
_COLUMNS = ("time", "service", "key", "server")


class TraceEntry(NamedTuple):
    """One recorded request. `time` is when it came and `service` how long its server took, both in
    seconds.
    """

    time: float
    service: float | None = None
    key: bytes | None = None
    server: str | None = None
    """Where it went at the time."""


@dataclass(slots=True)
class Trace:
    """Requests in the order of their times, by column, and what was left out."""

    name: str = "trace"
    times: array[float] = field(default_factory=lambda: array("d"))
    works: array[float] = field(default_factory=lambda: array("d"))
    """Seconds of service; NaN where the line has none."""
    keys: list[bytes | None] = field(default_factory=list)
    servers: list[str | None] = field(default_factory=list)
    skipped: int = 0
    problems: list[str] = field(default_factory=list)
    """The first few lines that were left out: file:line: reason."""

    def __len__(self) -> int:
        return len(self.times)

    def append(self, entry: TraceEntry) -> None:
        """Add a request. Raises ValueError where it cannot be one, or comes before the last one."""
        if not 0 <= entry.time < math.inf:
            raise ValueError(f"the time {entry.time:g} is not a number of seconds from 0 on")
        if self.times and entry.time < self.times[-1]:
            raise ValueError(f"the time {entry.time:g} is before {self.times[-1]:g} of the request before")
        if entry.service is not None:
            _check_service(entry.service)
        self.times.append(entry.time)
        self.works.append(math.nan if entry.service is None else entry.service)
        self.keys.append(entry.key)
        self.servers.append(entry.server)

    def skip(self, line: int, reason: str) -> None:
        """Count a line that is left out."""
        self.skipped += 1
        if len(self.problems) < _TOLD:
            self.problems.append(f"{self.name}:{line}: {reason}")

    def requests(self, works: Iterator[float]) -> Iterator[tuple[float, float, bytes | None, str | None]]:
        """What the engine takes; *works* gives the service times that lines have not."""
        for now, work, key, server in zip(self.times, self.works, self.keys, self.servers, strict=True):
            drawn = next(works)  # for each request, so that a missing one shifts no other
            yield now, drawn if work != work else work, key, server

    @classmethod
    def of(cls, entries: Iterable[TraceEntry], name: str = "trace") -> Trace:
        """A trace of *entries*; those that are wrong are skipped and counted by their place, from 1 on."""
        trace = cls(name)
        for place, entry in enumerate(entries, 1):
            try:
                trace.append(entry)
            except ValueError as error:
                trace.skip(place, str(error))
        return trace


def read_trace(path: Path, *, needs_service: bool = False) -> Trace:
    """The trace in a file. Raises ConfigError when it cannot be read or has no good line."""
    with _opened(path) as lines:
        trace = parse_trace(lines, str(path), needs_service=needs_service)
    return _checked(trace)


def parse_trace(lines: Iterable[str], name: str, *, needs_service: bool = False) -> Trace:
    """The trace in *lines*; *name* is told with the lines left out."""
    trace = Trace(name)
    known: dict[str, str] = {}
    keys: dict[bytes, bytes] = {}
    start = 0.0
    for number, cells in _cells(lines):
        if number == 1 and cells[0].lower() == _COLUMNS[0]:
            continue
        try:
            entry = _entry(cells, known, keys, needs_service)
            if not trace and entry.time >= _WALL_CLOCK:
                start = entry.time
            trace.append(entry._replace(time=entry.time - start) if start else entry)
        except ValueError as error:
            trace.skip(number, str(error))
    return trace


def _cells(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text and not text.startswith("#"):
            yield number, [cell.strip() for cell in text.split(",")]


def _entry(
    cells: list[str], known: dict[str, str], keys: dict[bytes, bytes], needs_service: bool
) -> TraceEntry:
    if len(cells) > len(_COLUMNS):
        raise ValueError(f"{len(cells)} columns; at most {', '.join(_COLUMNS)} are known")
    time, service, key, server = cells + [""] * (len(_COLUMNS) - len(cells))
    when, name = _seconds(time, "time"), key.encode()
    if needs_service and not service:
        raise ValueError("no service time, and the scenario has no [service] to draw it from")
    return TraceEntry(
        when,
        _seconds(service, "service time") if service else None,
        keys.setdefault(name, name) if name else None,  # one object for all requests with a key
        known.setdefault(server, server) or None,
    )


def _check_service(seconds: float) -> None:
    if not 0 <= seconds < math.inf:
        raise ValueError(f"the service time {seconds:g} is not a number of seconds from 0 on")
    if seconds > _LONGEST:
        raise ValueError(f"the service time {seconds:g} is longer than 36500 days")


def _seconds(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return parse_duration(text)
    except ValueError:
        raise ValueError(f'"{text[:40]}" is no {what}') from None


def read_service(path: Path) -> tuple[array[float], Trace]:
    """Service times in seconds, one a line, and what was skipped. Raises ConfigError like `read_trace`."""
    values, report = array("d"), Trace(str(path))
    with _opened(path) as lines:
        for number, cells in _cells(lines):
            try:
                seconds = _seconds(cells[0], "service time")
                _check_service(seconds)
            except ValueError as error:
                report.skip(number, str(error))
            else:
                values.append(seconds)
    if not values:
        raise ConfigError([f"{path}: has no service time", *report.problems])
    return values, report


def _checked(trace: Trace) -> Trace:
    if not trace:
        raise ConfigError([f"{trace.name}: has no request", *trace.problems])
    return trace


def _opened(path: Path) -> TextIO:
    try:
        # A byte that is no UTF-8 spoils its own line only.
        return path.open(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
