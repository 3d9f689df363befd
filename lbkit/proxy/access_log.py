"""The access log: one line for each request, whether it was answered or not; see `log_lines` for the formats.

One that was refused before it could be read as a request, with a 400 for one, has empty strings for what is
not known of it.

Lines are collected and written by the ticker, at the latest after a tenth of a second, so that a request
does not wait for the disk. A disk that is full costs log lines and never requests: what could not be written
is dropped, counted, and said in the log of the program. A line that was cut is completed before the next.
A named pipe whose reader is slow counts as a full disk: nobody waits for it either.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from lbkit.errors import StartFailed
from lbkit.exchange import Exchange, Trail
from lbkit.proxy.clients import ClientReader
from lbkit.proxy.log_lines import FORMATS
from lbkit.proxy.ticker import Ticker

__all__ = ["AccessLog"]

logger = logging.getLogger("lbkit.access")

_FULL = 64 * 1024
_QUIET = 5.0


class AccessLog:
    """Appends to *path*; ``"-"`` is standard output. `close` when nobody logs any more.

    Raises StartFailed where the file cannot be opened.
    """

    def __init__(
        self,
        path: str,
        listener: str,
        ticker: Ticker,
        clock: Callable[[], float],
        *,
        format: str = "json",
        client_of: ClientReader | None = None,
    ) -> None:
        """*format* is one of `FORMATS`; *client_of* tells whose request it was."""
        self._line = FORMATS[format]
        self._client_of = client_of or ClientReader()
        self.lost = 0
        """Lines that could not be written."""
        self._listener = listener
        self._ticker = ticker
        self._clock = clock
        self._lines: list[bytes] = []
        self._rest = b""
        """Of a line that was cut."""
        self._size = 0
        self._quiet_until = 0.0
        self._is_ours = path != "-"
        try:
            self._descriptor = (
                os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o640)
                if self._is_ours
                else 1
            )
        except OSError as error:
            raise StartFailed(f"access log {path}: {(error.strerror or str(error)).lower()}") from None

    def __call__(self, exchange: Exchange, trail: Trail) -> None:
        """Log *exchange*, which is over."""
        line = self._line(exchange, trail, self._listener, self._client_of(exchange))
        self._lines.append(line)
        self._size += len(line)
        if self._size > _FULL:
            self.flush()
        else:
            self._ticker.wake(self._tick)

    def _tick(self, now: float) -> bool:
        self.flush()
        return False

    def flush(self) -> None:
        """Write what was collected."""
        lines, self._lines, self._size = self._lines, [], 0
        whole = b"".join([self._rest, *lines])
        written = 0
        try:
            while written < len(whole):
                written += os.write(self._descriptor, memoryview(whole)[written:])
            self._rest = b""
        except OSError as error:
            self._keep_rest(whole, written)
            now = self._clock()
            if now >= self._quiet_until:
                self._quiet_until = now + _QUIET
                logger.error("the access log lost %d lines so far: %s", self.lost, error.strerror)

    def _keep_rest(self, whole: bytes, written: int) -> None:
        """Keep what completes the line of *whole* that was cut after *written* bytes; the others are lost."""
        is_cut = written > 0 and whole[written - 1 : written] != b"\n"
        if not written and self._rest:
            is_cut = True
        end = whole.index(b"\n", written) + 1 if is_cut else written
        self._rest = whole[written:end]
        self.lost += whole.count(b"\n", end)

    def close(self) -> None:
        """Write the rest and close."""
        self.flush()
        if self._is_ours and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
