"""A server that keeps what it gets, read by a parser of its own that knows no mercy; and a reader of responses.

Neither shares a line with lbkit: they are the other side that has to agree.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from lbkit.server import Server

__all__ = ["Echo", "Misread", "Recorder", "Seen", "echo_of", "read_response", "recorder"]

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
START = re.compile(rb"(" + TOKEN + rb") ([!-~]+) HTTP/1\.1")
FIELD = re.compile(rb"(" + TOKEN + rb"): ?([\t\x20-\x7e\x80-\xff]*)")
LIMIT = 2**20


class Misread(Exception):
    """What came is no request that a proxy may send."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A whole request."""

    method: str
    target: str
    body: bytes
    lines: tuple[bytes, ...] = ()
    """Its fields."""

    @property
    def what(self) -> Echo:
        return self.method, self.target, self.body


Echo = tuple[str, str, bytes]


async def read_request(reader: asyncio.StreamReader) -> Seen | None:
    """The next request; None at the end. Raises Misread, and IncompleteReadError in the middle of a body."""
    try:
        block = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise Misread(f"the end in the middle of a head: {error.partial!r}") from None
        return None
    first, *lines = block[:-4].split(b"\r\n")
    start = START.fullmatch(first)
    fields = [FIELD.fullmatch(line) for line in lines]
    if start is None or None in fields:
        raise Misread(repr(block))
    named: dict[bytes, list[bytes]] = {}
    for field in fields:
        assert field is not None
        named.setdefault(field[1].lower(), []).append(field[2])
    if len(named.get(b"host", [])) != 1:
        raise Misread(f"not one Host: {block!r}")
    body = await read_body(reader, named)
    return Seen(start[1].decode(), start[2].decode(), body, tuple(lines))


async def read_body(reader: asyncio.StreamReader, named: dict[bytes, list[bytes]]) -> bytes:
    lengths, codings = named.get(b"content-length", []), named.get(b"transfer-encoding", [])
    if len(lengths) + len(codings) > 1 or codings not in ([], [b"chunked"]):
        raise Misread(f"framing: {lengths} {codings}")
    if lengths:
        if not re.fullmatch(rb"[0-9]+", lengths[0]):
            raise Misread(f"length: {lengths}")
        return await reader.readexactly(int(lengths[0]))
    body = b""
    while codings:
        size = await reader.readuntil(b"\r\n")
        if not re.fullmatch(rb"[0-9A-Fa-f]+\r\n", size):  # proxies write no extensions
            raise Misread(f"chunk size: {size!r}")
        piece = await reader.readexactly(int(size, 16) + 2)
        if not piece.endswith(b"\r\n"):
            raise Misread(f"chunk: {piece!r}")
        if len(piece) == 2:
            break
        body += piece[:-2]
    return body


def echo_of(method: str, target: str, body: bytes) -> bytes:
    """What a server that echoes answers with, as JSON."""
    return json.dumps({"method": method, "target": target, "body": body.hex()}).encode()


class Recorder:
    """Answers each request with what it read of it, and keeps that."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.server = Server("recorder", f"127.0.0.1:{port}")
        self.seen: list[Seen] = []
        self.misread: list[str] = []
        self.connections = 0
        self.open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while (request := await read_request(reader)) is not None:
                self.seen.append(request)
                body = echo_of(*request.what)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
                writer.write(b"" if request.method == "HEAD" else body)
        except Misread as error:
            self.misread.append(str(error))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # of a request that was refused half-way
        finally:
            self.open -= 1
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def recorder() -> AsyncIterator[Recorder]:
    """One that listens."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(asyncio.CancelledError):
            await self.serve(reader, writer)
        tasks.discard(task)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, limit=LIMIT)
    self = Recorder(listening.sockets[0].getsockname()[1])
    try:
        yield self
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_response(reader: asyncio.StreamReader, method: str) -> tuple[int, tuple[bytes, ...], bytes]:
    """The next final response to a *method* request: status, field lines, body. Raises IncompleteReadError."""
    status = 100
    while status < 200:
        first, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
        status = int(first.split(b" ")[1])
    named = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines)}
    if method == "HEAD" or status in (204, 304):
        return status, tuple(lines), b""
    if b"content-length" in named:
        return status, tuple(lines), await reader.readexactly(int(named[b"content-length"]))
    body = b""
    while named.get(b"transfer-encoding") == b"chunked":
        size = int(await reader.readuntil(b"\r\n"), 16)
        body += (await reader.readexactly(size + 2))[:-2]
        if not size:
            return status, tuple(lines), body
    return status, tuple(lines), await reader.read()
