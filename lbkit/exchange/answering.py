"""What is the same on every connection: how a handler is run, and what every response has."""

from __future__ import annotations

import errno
import logging
from typing import Protocol

from lbkit.errors import (
    ClientError,
    DeadlineExceeded,
    Exhausted,
    NoServerAvailable,
    ServerError,
    ServerTimeout,
)
from lbkit.exchange.exchange import Exchange, Work
from lbkit.exchange.settings import HttpSettings
from lbkit.http.messages import Headers, get

__all__ = ["Serving", "answer", "completed", "status_for"]

_log = logging.getLogger("lbkit.http")
# The machine's trouble and no bug: it hits every request, and a traceback of each would fill the disk.
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC, errno.EIO)


class Serving(Protocol):
    """What this needs of an `HttpServer`."""

    settings: HttpSettings

    def date(self) -> bytes: ...

    def report(self, problem: str) -> None: ...


async def answer(http: Serving, exchange: Exchange, work: Work) -> int | None:
    """Run *work*, which is to answer. None where it has answered, else the status that its client is to get;
    0: none can be sent any more. Raises only asyncio.CancelledError."""
    try:
        await work()
    except Exception as error:  # noqa: BLE001 - a bug of the handler: logged whole, its client gets a 500
        return status_for(http, exchange, error)
    if exchange.ended:
        return None
    if exchange.disconnected:  # there is nobody to finish it for
        return 0
    _log.error("the handler of %s left its response unfinished", exchange.request.path)
    return 500


def status_for(http: Serving, exchange: Exchange, error: Exception) -> int:
    """What the client gets where there was *error* in place of an answer; it is logged."""
    if isinstance(error, ClientError | DeadlineExceeded | Exhausted | NoServerAvailable | ServerError):
        status = _status_of(error)
        if exchange.trail is not None:
            exchange.trail.end = str(error)
        if not isinstance(error, ClientError):
            http.report(f"{status} for {exchange.request.path!r}: {error}")
        return status
    if isinstance(error, OSError) and error.errno in _EXHAUSTED:
        http.report(f"500 for {exchange.request.path!r}: {error}")
    else:
        _log.error("the handler of %s failed", exchange.request.path, exc_info=error)
    return 500


def _status_of(
    error: ClientError | DeadlineExceeded | Exhausted | NoServerAvailable | ServerError,
) -> int:
    if isinstance(error, ClientError):
        return error.status
    if isinstance(error, NoServerAvailable | Exhausted):
        return 503
    return 504 if isinstance(error, ServerTimeout | DeadlineExceeded) else 502


def completed(http: Serving, headers: Headers, scheme: str) -> Headers:
    """*headers* of a response with Date, Server and Strict-Transport-Security where they are missing."""
    result = list(headers)
    settings = http.settings
    if get(headers, b"date") is None:
        result.append((b"Date", http.date()))
    if settings.server_header and get(headers, b"server") is None:
        result.append((b"Server", settings.server_header))
    if settings.hsts and scheme == "https" and get(headers, b"strict-transport-security") is None:
        result.append((b"Strict-Transport-Security", settings.hsts))
    return result
