"""Health check at layer 7: one GET, judged by its status."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from lbkit.checks.base import CHECKS, HealthCheck
from lbkit.errors import CheckFailed
from lbkit.server import Address
from lbkit.sockets import connect

__all__ = ["HttpCheck", "HttpCheckOptions"]

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [^\r\n]*)?\r?\n")
_MAX_STATUS_LINE = 8192
_RANGE = re.compile(r"([1-5][0-9][0-9])(?:-([1-5][0-9][0-9]))?")


@dataclass(frozen=True, slots=True)
class HttpCheckOptions:
    """`path` is asked for with `host` as Host (the address where empty).

    `expect` lists the good statuses, such as ``"200-399"`` (HAProxy's default) or ``"200,204"``.
    """

    path: str = "/"
    host: str = ""
    expect: str = "200-399"

    def __post_init__(self) -> None:
        if not self.path.startswith("/") or not self.path.isprintable() or " " in self.path:
            raise ValueError(f'path: "{self.path}" must start with "/" and hold no blanks')
        if not self.host.isprintable() or " " in self.host:
            raise ValueError(f'host: "{self.host}" is not a host name')
        for part in self.expect.split(","):
            match = _RANGE.fullmatch(part.strip())
            if match is None or int(match[2] or match[1]) < int(match[1]):
                raise ValueError(f'expect: "{part}" is not a status or a range such as "200-399"')


@CHECKS.register("http", HttpCheckOptions)
class HttpCheck(HealthCheck):
    """A GET for `path` is answered with an expected status."""

    def __init__(self, options: HttpCheckOptions) -> None:
        super().__init__(options)
        ranges = [_RANGE.fullmatch(part.strip()) for part in options.expect.split(",")]
        self._good = [range(int(m[1]), int(m[2] or m[1]) + 1) for m in ranges if m is not None]

    async def probe(self, address: Address) -> str:
        sock = await connect(address, timeout=0)
        reader, writer = await asyncio.open_connection(sock=sock, limit=_MAX_STATUS_LINE)
        try:
            writer.write(self._request(address))
            line = await reader.readline()
        except OSError as error:
            raise CheckFailed(f"connection lost: {error.strerror}") from None
        except ValueError:
            raise CheckFailed("the answer is not HTTP") from None
        finally:
            writer.transport.abort()
        return self._judge(line)

    def _request(self, address: Address) -> bytes:
        host = self.options.host or ("localhost" if address.path else str(address))
        lines = (
            f"GET {self.options.path} HTTP/1.1",
            f"Host: {host}",
            "User-Agent: lbkit",
            "Connection: close",
            "",
            "",
        )
        return "\r\n".join(lines).encode()

    def _judge(self, line: bytes) -> str:
        match = _STATUS_LINE.fullmatch(line)
        if match is None:
            raise CheckFailed("the answer is not HTTP" if line else "closed without an answer")
        status = int(match[1])
        if not any(status in good for good in self._good):
            raise CheckFailed(f"status {status}, expected {self.options.expect}")
        return f"status {status}"
