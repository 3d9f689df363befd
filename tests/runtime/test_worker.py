from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from lbkit.config import loads
from lbkit.errors import StartFailed
from lbkit.health import HealthState
from lbkit.pool import Known
from lbkit.runtime import catalog, make_pool, run_worker
from lbkit.runtime.channel import Channel, pair
from lbkit.runtime.messages import (
    Drain,
    Draining,
    Failed,
    Members,
    Message,
    Ready,
    Report,
    Result,
    Results,
    Setup,
    Sockets,
    Stop,
    Suspect,
)
from lbkit.runtime.ports import Port
from lbkit.server import Address
from tests.support.backends import Backend, echo, free_address
from tests.support.loops import on_both_loops

TEXT = """
[listeners.main]
listen = "127.0.0.1:0"
pool = "p"
MORE
[pools.p]
algorithm = "active_passive"
[pools.p.health]
check = "tcp"
fall = 1
rise = 1
observe = "layer4"
error_limit = 1
on_error = "fast_check"
[[pools.p.servers]]
name = "a"
address = "ONE"
[[pools.p.servers]]
name = "b"
address = "TWO"
"""


def text_of(one: str, two: str, more: str = "") -> str:
    return TEXT.replace("ONE", one).replace("TWO", two).replace("MORE", more)


def known_of(text: str, *up: str) -> list[Known]:
    """What a parent says of the servers where only *up* are."""
    known = make_pool("p", loads(text, catalog()).pools["p"]).known(0.0)
    state = {True: HealthState.UP.value, False: HealthState.DOWN.value}
    return [replace(one, health=state[one.name in up], reason="the parent says so") for one in known]


class Parent:
    """The parent's end of a worker in this process, with a socket that is its own."""

    def __init__(self) -> None:
        ours, theirs = pair()
        self.channel = Channel(ours)
        self.port = Port.bind(Address("127.0.0.1", 0), 1)
        self.worker = asyncio.create_task(run_worker(theirs))
        self.version = 0

    def set_up(self, text: str, known: list[Known], folder: bytes | None = None) -> None:
        self.version += 1
        self.channel.send(Setup(self.version, text, folder, 1, 2, {"p": known}, True))

    async def begin(self, text: str, known: list[Known]) -> None:
        self.channel.send(Sockets(["main"]), [self.port.of(1).fileno()])
        self.set_up(text, known)
        await self.hears(Ready)

    async def hears(self, kind: type[Message]) -> Message:
        """The next message of a kind; reports before it are passed over."""
        async with asyncio.timeout(10):
            while received := await self.channel.receive():
                if isinstance(received[0], kind):
                    return received[0]
        raise AssertionError(f"the worker ended without {kind.__name__}")

    async def talk(self) -> str:
        """One session: ``"echo"``, ``"closed"`` or ``"refused"``."""
        async with asyncio.timeout(10):
            address = self.port.address
            try:
                reader, writer = await asyncio.open_connection(address.host, address.port)
            except ConnectionRefusedError:
                return "refused"
            try:
                writer.write(b"echo")
                writer.write_eof()
                return (await reader.read()).decode() or "closed"
            except OSError:
                return "closed"
            finally:
                writer.close()


@asynccontextmanager
async def parent() -> AsyncIterator[Parent]:
    one = Parent()
    try:
        yield one
    finally:
        one.port.close()
        one.channel.close()
        async with asyncio.timeout(10):
            await asyncio.gather(one.worker, return_exceptions=True)


@on_both_loops
async def test_it_serves_with_what_the_parent_knows_and_says_so() -> None:
    async with Backend(echo) as one, parent() as it:
        text = text_of(free_address(), one)
        await it.begin(text, known_of(text, "b"))
        assert await it.talk() == "echo"
        report = await it.hears(Report)
        assert isinstance(report, Report)
        while not report.listeners["main"].counters["sessions"]:
            report = await it.hears(Report)
            assert isinstance(report, Report)
        assert report.pools["p"].servers["b"].counters["sessions"] == 1


@on_both_loops
async def test_results_of_checks_are_its_own() -> None:
    async with Backend(echo) as one, parent() as it:
        text = text_of(one, free_address())
        await it.begin(text, known_of(text))
        assert await it.talk() == "closed"
        result = Result("p", "a", "127.0.0.1:1", True, "connected", False, True)
        stranger = replace(result, server="z")
        it.channel.send(Results([result, stranger, replace(result, pool="q")]))
        it.set_up(text, known_of(text))
        await it.hears(Ready)
        assert await it.talk() == "closed", "another server has that address"
        it.channel.send(Results([replace(result, address=one)]))
        it.set_up(text, known_of(text))
        await it.hears(Ready)
        assert await it.talk() == "echo"
        it.channel.send(Results([replace(result, address=one, reason="drain", advises=True, counts=False)]))
        it.set_up(text, known_of(text))
        await it.hears(Ready)


@on_both_loops
async def test_the_administration_changes_servers() -> None:
    async with Backend(echo) as one, parent() as it:
        text = text_of(free_address(), free_address())
        await it.begin(text, known_of(text, "a"))
        first, second = known_of(text, "a")
        it.channel.send(Members("q", []))
        it.channel.send(
            Members("p", [replace(first, admin="maint"), replace(second, address=one, health="up")])
        )
        it.set_up(text, [replace(first, admin="maint"), replace(second, address=one, health="up")])
        await it.hears(Ready)
        assert await it.talk() == "echo"


@on_both_loops
async def test_errors_in_live_traffic_go_to_the_parent() -> None:
    async with Backend(echo) as one, parent() as it:
        text = text_of(free_address(), one)
        await it.begin(text, known_of(text, "a", "b"))
        assert await it.talk() == "echo"
        assert await it.hears(Suspect) == Suspect("p", "a")


@on_both_loops
async def test_it_drains_when_told_and_when_the_parent_is_gone() -> None:
    for ends_by_itself in (False, True):
        async with Backend(echo) as one, parent() as it:
            text = text_of(one, one)
            await it.begin(text, known_of(text, "a"))
            it.port.close()
            address = it.port.address
            reader, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            if ends_by_itself:
                it.channel.close()
            else:
                it.channel.send(Drain())
                assert await it.hears(Draining) == Draining(1)
            while await it.talk() != "refused":
                await asyncio.sleep(0.01)
            writer.write(b"y")
            assert await reader.readexactly(1) == b"y"
            assert not it.worker.done()
            writer.close()
            async with asyncio.timeout(5):
                await it.worker


@on_both_loops
async def test_it_stops_at_once_and_minds_no_signal() -> None:
    async with Backend(echo) as one, parent() as it:
        text = text_of(one, one)
        await it.begin(text, known_of(text, "a"))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(os.getpid(), number)
        assert await it.talk() == "echo"
        it.channel.send(Drain())
        it.channel.send(Stop())
        async with asyncio.timeout(5):
            await it.worker


@on_both_loops
async def test_what_it_cannot_do_it_says_and_ends(tmp_path: Path) -> None:
    async with parent() as it:
        more = 'mode = "http"\naccess_log = "no/such/folder"'
        text = text_of("127.0.0.1:1", "127.0.0.1:2", more)
        it.channel.send(Sockets(["main"]), [it.port.of(1).fileno()])
        it.set_up(text, [], os.fsencode(tmp_path))
        failed = await it.hears(Failed)
        assert isinstance(failed, Failed)
        assert f"{tmp_path}/no/such/folder" in failed.reason
        with pytest.raises(StartFailed):
            await it.worker


@on_both_loops
async def test_nonsense_ends_it_with_an_error() -> None:
    ours, theirs = pair()
    ours.send(b"\0\0\0\2\0\0{}")
    with pytest.raises(msgspec.ValidationError):
        await run_worker(theirs)
    ours.close()


@on_both_loops
async def test_a_parent_that_dies_before_it_said_anything() -> None:
    ours, theirs = pair()
    ours.close()
    async with asyncio.timeout(5):
        await run_worker(theirs)
