"""Health check at layer 7: one GET, judged by its status, its fields and its body."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

from lbkit.checks.base import CHECKS, HealthCheck
from lbkit.checks.secured import open_secured
from lbkit.errors import BadResponse, CheckFailed
from lbkit.http.engine import ClientEngine, Limits
from lbkit.http.messages import Body, End, Headers, Response, get_all
from lbkit.server import Address

__all__ = ["HttpCheck", "HttpCheckOptions"]

_READ = 65_536
_MAX_BODY = 1024 * 1024
_RANGE = re.compile(r"([1-5][0-9][0-9])(?:-([1-5][0-9][0-9]))?")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*:\s*([^\x00-\x1f\x7f]*)")


@dataclass(frozen=True, slots=True)
class HttpCheckOptions:
    """`path` is asked for, with `host` as Host (the address where empty) and `headers` (``"Name: value"``).

    `expect` lists the good statuses, such as ``"200-399"`` (HAProxy's default) or ``"200,204"``. With
    `expect_body` a part of the answer's first MiB must match that regular expression, and each of
    `expect_headers` must be there with that value.
    """

    path: str = "/"
    host: str = ""
    headers: tuple[str, ...] = ()
    expect: str = "200-399"
    expect_body: str = ""
    expect_headers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.path.startswith("/") or not self.path.isprintable() or " " in self.path:
            raise ValueError(f'path: "{self.path}" must start with "/" and hold no blanks')
        if not self.host.isprintable() or " " in self.host:
            raise ValueError(f'host: "{self.host}" is not a host name')
        for part in self.expect.split(","):
            match = _RANGE.fullmatch(part.strip())
            if match is None or int(match[2] or match[1]) < int(match[1]):
                raise ValueError(f'expect: "{part}" is not a status or a range such as "200-399"')
        try:
            re.compile(self.expect_body.encode())
        except re.error as error:
            raise ValueError(
                f'expect_body: "{self.expect_body}" is not a regular expression: {error}'
            ) from None
        for key in ("headers", "expect_headers"):
            for line in getattr(self, key):
                if _FIELD.fullmatch(line) is None:
                    raise ValueError(f'{key}: "{line}" is not "Name: value"')


@CHECKS.register("http", HttpCheckOptions)
class HttpCheck(HealthCheck):
    """A GET for `path` is answered with an expected status."""

    def __init__(self, options: HttpCheckOptions) -> None:
        super().__init__(options)
        ranges = [_RANGE.fullmatch(part.strip()) for part in options.expect.split(",")]
        self._body = re.compile(options.expect_body.encode()) if options.expect_body else None
        self._good = [range(int(m[1]), int(m[2] or m[1]) + 1) for m in ranges if m is not None]

    async def probe(self, address: Address) -> str:
        sock = await self.connect(address)
        if self.tls is not None:
            reader, writer = await open_secured(
                sock, self.tls.context, self.tls.name_of(address), limit=_READ
            )
        else:
            reader, writer = await asyncio.open_connection(sock=sock, limit=_READ)
        try:
            engine = ClientEngine(Limits())
            writer.write(
                engine.request("GET", self.options.path.encode(), self._fields(address)) + engine.end()
            )
            response = await self._next(engine, reader)
            assert isinstance(response, Response), "a response begins with its head"
            status = self._judge(response)
            if self._body is not None:
                await self._judge_body(engine, reader)
        except OSError as error:
            raise CheckFailed(f"connection lost: {error.strerror}") from None
        except BadResponse as error:
            raise CheckFailed(f"the answer is not HTTP: {error}") from None
        finally:
            writer.transport.abort()
        return status

    def _fields(self, address: Address) -> Headers:
        host = self.options.host or ("localhost" if address.path else str(address))
        own = [_split(line) for line in self.options.headers]
        fields = [(b"Host", host.encode()), (b"User-Agent", b"lbkit"), (b"Connection", b"close")]
        given = {name.lower() for name, _ in own}
        return [*(field for field in fields if field[0].lower() not in given), *own]

    async def _next(self, engine: ClientEngine, reader: asyncio.StreamReader) -> Response | Body | End:
        while True:
            event = engine.next_event()
            if isinstance(event, (Response, Body, End)):
                return event
            if event is None:
                data = await reader.read(_READ)
                if not data and engine.is_untouched:
                    raise CheckFailed("closed without an answer")
                engine.receive(data)

    def _judge(self, response: Response) -> str:
        status = response.status
        if not any(status in good for good in self._good):
            raise CheckFailed(f"status {status}, expected {self.options.expect}")
        for line in self.options.expect_headers:
            name, value = _split(line)
            if value not in get_all(response.headers, name.lower()):
                raise CheckFailed(f"status {status} without {line}")
        return f"status {status}"

    async def _judge_body(self, engine: ClientEngine, reader: asyncio.StreamReader) -> None:
        assert self._body is not None
        body = b""
        while len(body) < _MAX_BODY and isinstance(event := await self._next(engine, reader), Body):
            body += event.data
        if self._body.search(body[:_MAX_BODY]) is None:
            raise CheckFailed(f'no "{self.options.expect_body}" in the body')


def _split(line: str) -> tuple[bytes, bytes]:
    name, _, value = line.partition(":")
    return name.strip().encode(), value.strip().encode()
