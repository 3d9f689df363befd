"""The formats of the access log: one line for each request, whatever the client wrote.

- ``json``: one object; times are seconds, `served` is what the server itself took for its answer.
- ``combined``: that of Apache and nginx, which every log analyser reads. The time is that of the end, in UTC.
- ``combined_timed``: with the times behind it, named as nginx users name them: ``rt`` of the whole request,
``urt``
  of the server, ``qt`` in the queue, ``ct`` to connect, ``ht`` to the head of the answer, ``ua`` the server,
  ``retries``, ``rid`` the request's id, ``msec`` the end as seconds since 1970, and ``end`` why it ended as
  it did.

Nothing that a client sends can end a line or a field: JSON escapes by itself, and in the others whatever is
no visible ASCII, and quotes and backslashes, become ``\\xHH`` as in nginx.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from lbkit.exchange import Exchange, Trail
from lbkit.http.messages import Request

__all__ = ["FORMATS", "Line"]

Line: TypeAlias = "Callable[[Exchange, Trail, str, str], bytes]"
"""Makes the line of an exchange on a listener for a client's address."""

_UNSAFE = re.compile(rb'[^\x20-\x7e]|["\\]')
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def json_line(exchange: Exchange, trail: Trail, listener: str, client: str) -> bytes:
    """See the file's beginning."""
    request, changes = exchange.request, exchange.changes
    record = {
        "time": trail.time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "listener": listener,
        "client": client,
        "method": request.method,
        "target": request.target.origin_form.decode("latin-1"),
        "host": request.host or "",
        "status": exchange.status,
        "bytes": exchange.bytes_out,
        "referer": _field(request, b"referer").decode("latin-1"),
        "user_agent": _field(request, b"user-agent").decode("latin-1"),
        "request_id": "" if changes is None else changes.request_id.decode("ascii"),
        "trace": "" if changes is None else changes.trace.decode("ascii"),
        "pool": trail.pool,
        "server": trail.server,
        "retries": trail.retries,
        "queue": round(trail.queue, 6),
        "connect": round(trail.connect, 6),
        "response": round(trail.response, 6),
        "served": round(trail.served, 6),
        "duration": round(trail.duration, 6),
        "end": trail.end,
    }
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def combined_line(exchange: Exchange, trail: Trail, listener: str, client: str) -> bytes:
    """See the file's beginning."""
    return _combined(exchange, trail, client) + b"\n"


def timed_line(exchange: Exchange, trail: Trail, listener: str, client: str) -> bytes:
    """See the file's beginning."""
    server = f"{trail.pool}/{trail.server}" if trail.server else "-"
    times = (
        f"rt={trail.duration:.6f} urt={trail.served:.6f} qt={trail.queue:.6f} ct={trail.connect:.6f} "
        f"ht={trail.response:.6f} "
    )
    changes = exchange.changes
    return b'%b %bua="%b" retries=%d rid=%b msec=%.3f end="%b"\n' % (
        _combined(exchange, trail, client),
        times.encode("ascii"),
        _safe(server.encode()),
        trail.retries,
        (b"" if changes is None else changes.request_id) or b"-",
        _ended(trail).timestamp(),
        _safe(trail.end.encode()),
    )


def _combined(exchange: Exchange, trail: Trail, client: str) -> bytes:
    request, time = exchange.request, _ended(trail)
    line = b"-"
    if request.method:
        line = b"%b %b HTTP/%b" % (
            request.method.encode("latin-1"),
            request.target.origin_form,
            request.version.encode("ascii"),
        )
    stamp = f"{time.day:02}/{_MONTHS[time.month - 1]}/{time.year:04}:{time:%H:%M:%S} +0000"
    return b'%b - - [%b] "%b" %03d %d "%b" "%b"' % (
        client.encode("latin-1", "replace") or b"-",
        stamp.encode("ascii"),
        _safe(line),
        exchange.status or 499,  # nginx's for a client that left before there was an answer
        exchange.bytes_out,
        _safe(_field(request, b"referer")) or b"-",
        _safe(_field(request, b"user-agent")) or b"-",
    )


def _ended(trail: Trail) -> datetime:
    return (trail.time + timedelta(seconds=trail.duration)).astimezone(UTC)


def _field(request: Request, name: bytes) -> bytes:
    return request.get(name) or b""


def _safe(text: bytes) -> bytes:
    return _UNSAFE.sub(lambda match: b"\\x%02X" % match[0][0], text)


FORMATS: Mapping[str, Line] = {
    "json": json_line,
    "combined": combined_line,
    "combined_timed": timed_line,
}
