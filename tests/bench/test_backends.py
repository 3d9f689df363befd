from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lbkit.bench.backends import as_json
from lbkit.config.values import Duration
from lbkit.simulation import Event, ServerSpec


class Servers:
    """The process, and what a client of it sees."""

    def __init__(self, process: asyncio.subprocess.Process, ports: dict[str, int]) -> None:
        self.process = process
        self.ports = ports

    def start(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"start\n")

    async def ask(self, name: str, work: float) -> float:
        """Seconds until the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[name])
        began = time.monotonic()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Work: %f\r\n\r\n" % work)
        try:
            async with asyncio.timeout(10):
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        finally:
            writer.close()
        return time.monotonic() - began


@asynccontextmanager
async def running(servers: tuple[ServerSpec, ...], *events: Event) -> AsyncIterator[Servers]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "lbkit.bench.backends",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(as_json(servers, events).encode() + b"\n")
        async with asyncio.timeout(20):
            ports = json.loads(await process.stdout.readline())
        yield Servers(process, ports)
    finally:
        process.stdin.close()
        async with asyncio.timeout(10):
            assert await process.wait() == 0, "the end of its input ends it"


def event(at: float, server: str, **what: Any) -> Event:
    durations = {key: Duration(value) for key, value in what.items() if key in ("until", "every")}
    return Event(Duration(at), server, **{**what, **durations})


async def test_work_takes_its_time_and_waits_for_its_turn() -> None:
    async with running((ServerSpec("a"), ServerSpec("b", speed=2.0, concurrency=2))) as servers:
        servers.start()
        one, two = await asyncio.gather(servers.ask("a", 0.2), servers.ask("a", 0.2))
        assert sorted([one, two]) == pytest.approx([0.2, 0.4], abs=0.1)
        fast = await asyncio.gather(servers.ask("b", 0.4), servers.ask("b", 0.4))
        assert fast == pytest.approx([0.2, 0.2], abs=0.1)


async def test_sharing() -> None:
    async with running((ServerSpec("a", discipline="sharing"),)) as servers:
        servers.start()
        times = await asyncio.gather(servers.ask("a", 0.1), servers.ask("a", 0.3))
        assert times == pytest.approx([0.2, 0.4], abs=0.1)


async def test_events() -> None:
    slow = event(0.0, "s1", speed=0.5)
    dead = event(0.2, "s2", down="refuse", until=0.8)
    async with running((ServerSpec("s", count=2),), slow, dead) as servers:
        servers.start()
        slowed = asyncio.create_task(servers.ask("s1", 0.2))
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await servers.ask("s2", 60)
        with pytest.raises(ConnectionError):
            await servers.ask("s2", 0)
        await asyncio.sleep(0.8)
        assert await servers.ask("s2", 0.05) < 0.5
        assert await slowed == pytest.approx(0.4, abs=0.15)


async def test_another_event_does_not_bring_a_server_up() -> None:
    dead = event(0.0, "a", down="refuse", until=0.9)
    slow = event(0.1, "a", speed=0.5, until=0.2)
    async with running((ServerSpec("a"),), dead, slow) as servers:
        servers.start()
        await asyncio.sleep(0.4)
        with pytest.raises(ConnectionError):
            await servers.ask("a", 0)
        await asyncio.sleep(0.8)
        assert await servers.ask("a", 0.1) < 0.18, "the speed is the usual one again, too"


async def test_silence() -> None:
    async with running((ServerSpec("a"),), event(0.0, "a", down="silent", until=0.5)) as servers:
        servers.start()
        await asyncio.sleep(0.1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await servers.ask("a", 0)
        await asyncio.sleep(0.4)
        assert await servers.ask("a", 0) < 0.2
