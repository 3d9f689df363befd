"""Access logs as recorded traffic: lbkit's own JSON lines, and nginx's combined format with request times.

nginx needs the times at the end of its combined format, bare or named, in any order::

    log_format timed '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent '
                     '"$http_referer" "$http_user_agent" $request_time $upstream_response_time';
    …                'rt=$request_time urt=$upstream_response_time ua=$upstream_addr msec=$msec'

It writes a line when a request ends, with the second: requests that ended in the same second are
spread over it in the order of their lines, unless `$msec` is there. A request came its request time before.

A line that cannot be read is left out, counted, and the first few are told with file, line and reason.
"""

from __future__ import annotations

import calendar
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from lbkit.errors import ConfigError

__all__ = ["AccessLogTrace", "AccessRecord", "parse_access_log", "read_access_log"]

_TOLD = 5
_LONGEST = 1e6
_STRIDE = 1 << 14
"""Lines between two reports of progress."""


class AccessRecord(NamedTuple):
    """One request. `time` is when it came, in seconds since 1970; durations are seconds.

    `pool` and `server` are empty where the line does not say, or nobody was asked.
    """

    time: float
    served: float
    """What the server took; NaN where none answered."""
    duration: float
    status: int
    client: str
    host: str
    target: str
    pool: str = ""
    server: str = ""
    is_forwarded: bool = True
    """Whether it went to a server, or would have if there had been one; not a file, nor a redirect."""


@dataclass(slots=True)
class AccessLogTrace:
    """Requests in the order in which they came, and what was left out."""

    name: str
    records: list[AccessRecord] = field(default_factory=list)
    skipped: int = 0
    problems: list[str] = field(default_factory=list)
    """The first few lines that were left out: file:line: reason."""


_Once: TypeAlias = Callable[[str], str]
"""Gives the same object for equal texts: a log has few clients, targets and servers in many lines."""


class _Line(NamedTuple):
    """An nginx line: `second` is when it ended, exact where the line says."""

    second: float
    is_exact: bool
    record: AccessRecord


def read_access_log(path: Path, progress: Callable[[float], None] | None = None) -> AccessLogTrace:
    """The requests in a file. Raises ConfigError when it cannot be read or has no good line.

    *progress* is told the part that is read, 0–1, now and then.
    """
    try:
        # A byte that is no UTF-8 spoils its own line only.
        with path.open(encoding="utf-8", errors="replace") as file:
            lines = file if progress is None else _telling(file, path.stat().st_size, progress)
            trace = parse_access_log(lines, str(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    if not trace.records:
        raise ConfigError([f"{path}: has no request", *trace.problems])
    return trace


def _telling(lines: Iterable[str], size: int, progress: Callable[[float], None]) -> Iterator[str]:
    """*lines* of a file of *size* bytes, and now and then how far it is: a character is mostly a byte."""
    read = 0
    for number, line in enumerate(lines):
        if not number % _STRIDE and size:
            progress(min(1.0, read / size))
        read += len(line)
        yield line


def parse_access_log(lines: Iterable[str], name: str) -> AccessLogTrace:
    """The requests in *lines*, which may be of both formats; *name* is told with the lines left out."""
    trace = AccessLogTrace(name)
    ended: list[_Line] = []
    known: dict[str, str] = {}

    def once(text: str) -> str:
        return known.setdefault(text, text)

    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text:
            continue
        try:
            if text.startswith("{"):
                trace.records.append(_read_json(text, once))
            else:
                ended.append(_read_nginx(text, once))
        except ValueError as error:
            trace.skipped += 1
            if len(trace.problems) < _TOLD:
                trace.problems.append(f"{name}:{number}: {error}")
    trace.records.extend(_spread(ended))
    trace.records.sort(key=lambda record: record.time)
    return trace


# ------------------------------------------------------------------------------------ lbkit's JSON


def _read_json(text: str, once: _Once) -> AccessRecord:
    try:
        line: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    try:
        when = datetime.fromisoformat(_text(line, "time"))
    except ValueError as error:
        raise ValueError(f"time: {error}") from None
    if when.tzinfo is None:
        raise ValueError("time: has no time zone")
    pool, server = _text(line, "pool"), _text(line, "server")
    served = _seconds(line.get("served"), "served")
    return AccessRecord(
        when.timestamp(),
        served if server else math.nan,
        _seconds(line.get("duration"), "duration"),
        _whole(line, "status"),
        once(_text(line, "client")),
        once(_text(line, "host")),
        once(_text(line, "target")),
        once(pool),
        once(server),
        bool(pool),
    )


def _text(line: dict[str, Any], key: str) -> str:
    value = line.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key}: missing" if value is None else f"{key}: not a string")
    return value


def _whole(line: dict[str, Any], key: str) -> int:
    value = line.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{key}: missing" if value is None else f"{key}: not a whole number")
    return value


def _seconds(value: Any, key: str) -> float:
    if value is None:
        raise ValueError(f"{key}: missing")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _LONGEST:
        raise ValueError(f"{key}: {str(value)[:40]!r} is not a number of seconds")
    return float(value)


# ------------------------------------------------------------------------------ nginx's combined

_COMBINED = re.compile(
    r'(?P<client>\S+) \S+ .*?\[(?P<time>[^\]]+)\] "(?P<request>(?:[^"\\]|\\.)*)" (?P<status>[0-9]{3}) '
    r'(?:[0-9]+|-)(?: "(?:[^"\\]|\\.)*" "(?:[^"\\]|\\.)*")?(?P<rest>.*)'
)
_REQUEST = re.compile(r"[A-Z-]+ (\S+)(?: HTTP/[0-9.]+)?")
_DATE = re.compile(
    r"([0-9]{2})/([A-Z][a-z]{2})/([0-9]{4}):([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})"
)
_MONTHS = {name: number for number, name in enumerate(calendar.month_abbr) if number}
_NAMED = re.compile(r'(?<![a-z_])(?!unix:)([a-z_]+)[=:] ?"?([^",\s]+(?:, [^",\s]+)*)"?')
_ROLES = {
    **dict.fromkeys(("rt", "request_time"), "request"),
    **dict.fromkeys(("urt", "upstream_response_time"), "upstream"),
    **dict.fromkeys(("ua", "upstream", "upstream_addr"), "server"),
    "msec": "msec",
}
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_BARE = re.compile(r'[^",\s]+(?:, [^",\s]+)*')
_BARE_TIME = re.compile(r"[0-9]+\.[0-9]{3}")
_UPSTREAM = re.compile(r"(?:[0-9]+(?:\.[0-9]+){3}|\[[0-9a-f:.]+\]):[0-9]+|unix:/\S+")


def _read_nginx(text: str, once: _Once) -> _Line:
    match = _COMBINED.fullmatch(text)
    if match is None:
        raise ValueError("neither lbkit's JSON nor nginx's combined format")
    facts = _facts(match["rest"])
    if "request" not in facts:
        raise ValueError("no request time: add $request_time to nginx's log_format")
    duration = _time(facts["request"])
    # Where several servers were tried, the last one answered.
    upstream = facts.get("upstream", "-").split(", ")[-1]
    served = duration if upstream == "-" else _time(upstream)
    server = facts.get("server", "-").split(", ")[-1]
    request = _REQUEST.fullmatch(match["request"])
    exact = facts.get("msec")
    ended = float(exact) if exact else _epoch(match["time"])
    record = AccessRecord(
        0.0,
        served,
        duration,
        int(match["status"]),
        once(match["client"]),
        "",
        once(request[1]) if request else "",
        "",
        "" if server == "-" else once(server),
    )
    return _Line(ended, exact is not None, record)


def _facts(rest: str) -> dict[str, str]:
    """Times and server at the end of the line, by what they are.

    Much else may stand there bare: lengths, statuses, ratios, clients' addresses. But only times have three
    decimals, and only an upstream is an address with a port.
    """
    rest = rest.replace(" : ", ", ")  # between servers of two groups, after an internal redirect
    facts: dict[str, str] = {}
    for name, value in _NAMED.findall(rest):
        if name in _ROLES:
            facts[_ROLES[name]] = value
    for words in _BARE.findall(_NAMED.sub(" ", rest)):
        word = words.split(", ")[-1]  # of several servers that were tried, the last one answered
        if _UPSTREAM.fullmatch(word):
            facts.setdefault("server", word)
        elif not _BARE_TIME.fullmatch(word):
            continue
        elif float(word) > _LONGEST:
            facts.setdefault("msec", word)
        else:
            facts.setdefault("upstream" if "request" in facts else "request", word)
    return facts


def _time(text: str) -> float:
    if not _NUMBER.fullmatch(text) or float(text) > _LONGEST:
        raise ValueError(f"{text[:40]!r} is not a number of seconds")
    return float(text)


@lru_cache(maxsize=16)  # lines of one second follow each other
def _epoch(text: str) -> float:
    match = _DATE.fullmatch(text)
    if match is None or match[2] not in _MONTHS:
        raise ValueError(f"{text[:40]!r} is not a time such as 25/Nov/2026:10:11:12 +0000")
    day, _, year, hour, minute, second = match.group(1, 2, 3, 4, 5, 6)
    try:
        date = datetime(int(year), _MONTHS[match[2]], int(day), int(hour), int(minute), min(int(second), 59))
    except ValueError as error:
        raise ValueError(f"{text[:40]!r} is not a time: {error}") from None
    offset = int(match[8]) * 3600 + int(match[9]) * 60
    return calendar.timegm(date.timetuple()) - (offset if match[7] == "+" else -offset)


def _spread(ended: list[_Line]) -> Iterator[AccessRecord]:
    """When each request came; those that ended in one second, over that second."""
    for is_exact, group in groupby(ended, key=lambda line: line.is_exact):
        if is_exact:
            for line in group:
                yield line.record._replace(time=line.second - line.record.duration)
            continue
        for second, same in groupby(group, key=lambda line: line.second):
            lines = list(same)
            for place, line in enumerate(lines):
                end = second + (place + 0.5) / len(lines)
                yield line.record._replace(time=end - line.record.duration)
