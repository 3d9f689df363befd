"""The workers of an application server, as processes: who takes which place, when and why."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from lbkit.errors import AppFailed, StartFailed
from lbkit.runtime.app_workers import AppWorkers, Link, is_worn
from lbkit.server import Address

APP = """
import asyncio, os, sys

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        if os.path.exists("broken"):
            await send({"type": "lifespan.startup.failed", "message": "no database"})
            return
        while os.path.exists("slow"):
            await asyncio.sleep(0.02)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(0.5)
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""


@contextlib.asynccontextmanager
async def running(folder: Path, count: int = 2, *more: str, start: bool = True) -> AsyncIterator[AppWorkers]:
    (folder / "mine.py").write_text(APP)
    command = [sys.executable, "-m", "lbkit", "app", "mine:app", "--app-dir", str(folder), *more]
    workers = AppWorkers(Address("127.0.0.1", 0), count, command, stop_timeout=5)
    try:
        if start:
            await workers.start()
        yield workers
    finally:
        await workers.close()


async def ask(address: Address, path: str = "/") -> int:
    """The process that answered, on a connection of its own."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    return int(answer.rpartition(b"\r\n\r\n")[2])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


def children() -> int:
    """Processes that this one has started and that run."""
    return len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.mark.parametrize(
    ("requests", "memory", "worn"), [(0, 0, False), (9, 99, False), (10, 99, True), (9, 100, True)]
)
def test_when_a_worker_is_worn(requests: int, memory: int, worn: bool) -> None:
    assert bool(is_worn(requests, 10, lambda: memory, 100)) is worn
    assert not is_worn(requests, 0, lambda: memory, 0)


def test_what_a_worker_says_is_one_line() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        Link(theirs).say("failed two\nlines")
        assert ours.recv(100) == b"failed two lines\n"
        ours.close()
        Link(theirs).say("ready")


async def test_an_even_spread_and_the_place_of_one_that_died(tmp_path: Path) -> None:
    async with running(tmp_path) as workers:
        assert len(set(workers.pids.values())) == 2
        served = [await ask(workers.address) for _ in range(200)]
        assert {*served} == {*workers.pids.values()}
        assert min(served.count(pid) for pid in workers.pids.values()) >= 50, "none gets less than a quarter"
        dead = workers.pids[1]
        os.kill(dead, signal.SIGKILL)
        # Who is in its backlog in the meantime is served by the next one.
        assert dead not in await asyncio.gather(*(ask(workers.address) for _ in range(20)))
        await until(lambda: workers.pids[1] != dead)


async def test_a_rolling_restart_loses_no_request(tmp_path: Path) -> None:
    async with running(tmp_path) as workers:
        before = workers.pids
        slow = [asyncio.create_task(ask(workers.address, "/slow")) for _ in range(8)]
        await asyncio.sleep(0.1)
        workers.restart()
        served = []
        while set(workers.pids.values()) & set(before.values()):
            served.append(await ask(workers.address))
        assert set(await asyncio.gather(*slow)) <= set(before.values())
        assert len(served) > 2 and await ask(workers.address) in workers.pids.values()


async def test_restarts_that_are_asked_for_meanwhile_are_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def restarts() -> int:
        return caplog.text.count("restarted: 1 workers")

    caplog.set_level(logging.INFO, "lbkit")
    async with running(tmp_path, 1) as workers:
        before = children()
        workers.restart()
        await until(lambda: children() == before + 1)
        for _ in range(5):
            workers.restart()
        await until(lambda: restarts() == 2)
        second = workers.pids
        await until(lambda: children() == before)
        await asyncio.sleep(0.2)  # a third one would have begun
        assert workers.pids == second and children() == before and restarts() == 2


async def test_a_restart_with_a_broken_app_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    async with running(tmp_path) as workers:
        before = workers.pids
        (tmp_path / "broken").touch()
        workers.restart()
        await until(lambda: "restart given up" in caplog.text)
        assert "no database" in caplog.text and workers.pids == before
        assert await ask(workers.address) in before.values()


async def test_one_that_dies_while_it_is_replaced_is_replaced_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with running(tmp_path, 1) as workers:
        old, before = workers.pids[1], children()
        (tmp_path / "slow").touch()
        workers.restart()
        await until(lambda: children() == before + 1)
        os.kill(old, signal.SIGKILL)
        await until(lambda: workers.pids[1] != old)  # it has a successor, and the restart's is still to come
        assert children() == before + 1
        successor = workers.pids[1]
        (tmp_path / "slow").unlink()
        await until(lambda: workers.pids[1] != successor)
        await until(lambda: children() == before)
        assert await ask(workers.address) == workers.pids[1]


async def test_one_that_has_answered_enough_is_replaced(tmp_path: Path) -> None:
    async with running(tmp_path, 1, "--max-requests", "5") as workers:
        before = workers.pids[1]
        for _ in range(6):
            assert await ask(workers.address) == before
        await until(lambda: workers.pids[1] != before)
        await until(lambda: not Path(f"/proc/{before}").exists())  # it shares the socket until then
        assert await ask(workers.address) == workers.pids[1]


async def test_an_app_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken").touch()
    async with running(tmp_path, start=False) as workers:
        with pytest.raises(AppFailed, match="no database"):
            await workers.start()
    (tmp_path / "broken").unlink()
    (tmp_path / "mine.py").unlink()
    command = [sys.executable, "-m", "lbkit", "app", "nothing:app"]
    other = AppWorkers(Address("127.0.0.1", 0), 2, command)
    with pytest.raises(StartFailed, match='no module "nothing"'):
        await other.start()
    await other.close()
