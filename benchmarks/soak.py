"""A million requests of many kinds to the app server, and its memory: ``make bench-soak``.

Answers one question: whether a process that has served a million requests has the memory that it had after
the first tenth of them. Each client takes the kinds in turn: plain requests on kept connections, bodies with
a length and chunked ones, responses in pieces, WebSockets, clients that leave in the middle, and applications
that raise before and after their response began.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import uvloop
from rich.console import Console

from lbkit.bench import applications
from lbkit.bench.contenders import Contender, Route, started
from lbkit.bench.usage import resident_bytes
from lbkit.server import Address

__all__ = ["app", "main", "soak"]

_ROOT = Path(__file__).resolve().parents[1]
_CLIENTS = 32
_LOOKS = 50  # at the memory, in a run
_GROWTH = 2 * 1024 * 1024  # bytes that may come after the first tenth, such as the allocator's
_HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: soak\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_MESSAGES = 10


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The application of the benchmarks, which also fails where it is asked to."""
    if scope["type"] != "http" or scope["path"] not in ("/raises", "/raises/late"):
        await applications.app(scope, receive, send)
        return
    if scope["path"] == "/raises/late":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"so far", "more_body": True})
    raise RuntimeError("as it was asked to")


# ------------------------------------------------------------------------------------------ clients


class Client:
    """One at a time of everything, on a connection that is kept as long as the kind of request allows."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def _send(self, data: bytes) -> asyncio.StreamReader:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self._address.host, self._address.port)
        self._writer.write(data)
        return self._reader

    def leave(self) -> None:
        """At once."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def _answer(self, request: bytes, body: bytes) -> None:
        """A request on the kept connection, whose answer has *body*."""
        reader = await self._send(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 ") or await reader.readexactly(len(body)) != body:
            raise ValueError(f"not as expected: {head!r}")
        if b"\r\nConnection: close\r\n" in head:
            self.leave()

    async def hello(self) -> None:
        await self._answer(b"GET / HTTP/1.1\r\nHost: soak\r\n\r\n", b"Hello, world!")

    async def posts(self) -> None:
        head = b"POST /upload HTTP/1.1\r\nHost: soak\r\nContent-Length: 2000\r\n\r\n"
        await self._answer(head + b"x" * 2000, b"2000")

    async def posts_chunks(self) -> None:
        head = b"POST /upload HTTP/1.1\r\nHost: soak\r\nTransfer-Encoding: chunked\r\n\r\n"
        await self._answer(head + b"3e8\r\n%b\r\n" % (b"x" * 1000) * 2 + b"0\r\n\r\n", b"2000")

    async def streams(self) -> None:
        reader = await self._send(b"GET /stream HTTP/1.1\r\nHost: soak\r\n\r\n")
        if len(whole := await reader.readuntil(b"\r\n0\r\n\r\n")) < 10_000:
            raise ValueError(f"not as expected: {whole!r}")
        if b"\r\nConnection: close\r\n" in whole:
            self.leave()

    async def talks(self) -> None:
        """A WebSocket."""
        self.leave()
        reader = await self._send(_HANDSHAKE)
        head = await reader.readuntil(b"\r\n\r\n")
        for _ in range(_MESSAGES):
            await self._send(b"\x81\x85\0\0\0\0hello")
            if await reader.readexactly(7) != b"\x81\x05hello":
                raise ValueError(f"not as expected: {head!r}")
        await self._send(b"\x88\x82\0\0\0\0\x03\xe8")
        await reader.read()
        self.leave()

    async def leaves(self) -> None:
        """In the middle of the response, or of its own request."""
        self.leave()
        reader = await self._send(b"GET /stream HTTP/1.1\r\nHost: soak\r\n\r\n")
        await reader.readexactly(20)
        self.leave()
        await self._send(b"POST /upload HTTP/1.1\r\nHost: soak\r\nContent-Length: 2000\r\n\r\nso far")
        self.leave()

    async def sees_a_failure(self) -> None:
        reader = await self._send(b"GET /raises HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n")
        if not (await reader.read()).startswith(b"HTTP/1.1 500 "):
            raise ValueError("an application that raises is a 500")
        self.leave()
        try:
            reader = await self._send(b"GET /raises/late HTTP/1.1\r\nHost: soak\r\n\r\n")
            if b"\r\n0\r\n\r\n" in await reader.read():
                raise ValueError("an application that raises late must not end well")
        except ConnectionResetError:
            pass
        self.leave()


_SHARES: tuple[tuple[Callable[[Client], Awaitable[None]], int, int], ...] = (
    (Client.hello, 50, 1),
    (Client.posts, 20, 1),
    (Client.posts_chunks, 12, 1),
    (Client.streams, 10, 1),
    (Client.talks, 4, 1),
    (Client.leaves, 2, 2),
    (Client.sees_a_failure, 1, 2),
)
"""What a client does, how often in a round, and how many requests it is."""


# --------------------------------------------------------------------------------------------- runs


@dataclass(slots=True)
class Soak:
    """What came out."""

    requests: int = 0
    seconds: float = 0.0
    sizes: list[int] = field(default_factory=list)
    """Bytes of memory, at even distances."""
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def growth(self) -> int:
        """Bytes from the first tenth of the run to its end."""
        return self.sizes[-1] - self.sizes[len(self.sizes) // 10]

    @property
    def is_good(self) -> bool:
        return not self.failures and self.growth <= _GROWTH


async def _works(client: Client, soak: Soak, total: int, rng: random.Random) -> None:
    turns = [(do, count) for do, often, count in _SHARES for _ in range(often)]
    while soak.requests < total:
        rng.shuffle(turns)
        for do, count in turns:
            soak.requests += count
            try:
                await do(client)
            except (OSError, ValueError, EOFError) as error:
                soak.failures[f"{do.__name__}: {type(error).__name__}: {error}"] += 1
                client.leave()
    client.leave()


async def _watched(route: Route, total: int, told: Callable[[str], None]) -> Soak:
    soak, began = Soak(), time.perf_counter()
    clients = [
        asyncio.create_task(_works(Client(route.address), soak, total, random.Random(number)))
        for number in range(_CLIENTS)
    ]
    for look in range(1, _LOOKS):
        while soak.requests < total * look / _LOOKS:
            await asyncio.sleep(0.02)
            route.require_alive()
        soak.sizes.append(resident_bytes(route.group))
        told(f"{soak.requests} requests, {soak.sizes[-1] / 2**20:.1f} MiB")
    await asyncio.gather(*clients)
    soak.seconds = time.perf_counter() - began
    soak.sizes.append(resident_bytes(route.group))
    return soak


def soak(total: int, told: Callable[[str], None] = lambda line: None) -> Soak:
    """*total* requests to a server in a process of its own. Raises StartFailed where it ends meanwhile."""

    def command(listen: Address, server: Address, folder: Path) -> list[str]:
        words = ["app", "benchmarks.soak:app", "--app-dir", str(_ROOT), "--listen", str(listen)]
        return [sys.executable, "-m", "lbkit", "--log-level", "error", *words]

    with tempfile.TemporaryDirectory(prefix="lbkit-soak-") as folder:
        contender = Contender("lbkit", "lbkit", command=command)
        with (
            started(contender, Address("127.0.0.1", 1), Path(folder)) as route,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            return runner.run(_watched(route, total, told))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--requests", type=click.IntRange(1000), default=1_000_000, show_default=True)
def main(requests: int) -> None:
    """Send many kinds of requests and watch the server's memory. Exit code 1 where it grew or one failed."""
    with Console(stderr=True).status("") as status:
        done = soak(requests, status.update)
    sizes = [size / 2**20 for size in done.sizes]
    print(f"{done.requests} requests in {done.seconds:.0f} s ({done.requests / done.seconds:.0f}/s):")
    print("  " + ", ".join(f"{share} × {do.__name__}" for do, share, _ in _SHARES))
    print(
        f"memory: {sizes[0]:.1f} MiB at first, {sizes[len(sizes) // 10]:.1f} MiB after a tenth, "
        f"{sizes[-1]:.1f} MiB at the end, {max(sizes):.1f} MiB at most"
    )
    for line, count in done.failures.most_common(10):
        print(f"failed {count} times: {line}")
    sys.exit(0 if done.is_good else 1)


if __name__ == "__main__":
    main()
