from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lbkit.config import loads
from lbkit.errors import ConfigError, StartFailed
from lbkit.runtime import Source, Supervisor, catalog, supervisor, worker_command, worker_count
from lbkit.runtime.channel import Channel
from lbkit.runtime.messages import Members
from tests.runtime.test_runtime import exchange
from tests.support.backends import Backend, echo, free_address
from tests.support.loops import on_both_loops, until


def source(address: str, more: str = "") -> Source:
    text = f'[listeners.main]\nlisten = "127.0.0.1:0"\npool = "p"\n{more}\n'
    text += f'[pools.p]\nservers = [{{name = "a", address = "{address}"}}]\n'
    return Source(loads(text, catalog()), text)


@asynccontextmanager
async def supervised(given: Source, command: list[str] | None = None) -> AsyncIterator[Supervisor]:
    one = Supervisor(given, 2, command or worker_command(["--log-level", "warning"]))
    try:
        yield one
    finally:
        await one.close()


def python(script: str) -> list[str]:
    """A program in place of a worker; ``sys.argv[1]`` is its channel."""
    return [sys.executable, "-c", script]


def test_how_many() -> None:
    config = loads('[admin]\nlisten = "127.0.0.1:0"', catalog())
    assert worker_count(config) == 1
    assert worker_count(loads('[global]\nworkers = 3\n[admin]\nlisten = "127.0.0.1:0"', catalog())) == 3
    auto = loads('[global]\nworkers = "auto"\n[admin]\nlisten = "127.0.0.1:0"', catalog())
    assert worker_count(auto) == len(os.sched_getaffinity(0))


@on_both_loops
async def test_it_starts_reloads_and_drains() -> None:
    async with Backend(echo) as one, Backend(echo) as two, supervised(source(one)) as it:
        await it.start()
        address = it.addresses["main"]
        assert await exchange(address, b"hello") == b"hello"
        with pytest.raises(ConfigError, match="relay"):
            await it.reload(source(two, 'relay = "auto"\n[listeners.x]\nlisten="127.0.0.1:0"\nrelay="no"'))
        await it.reload(source(two))
        assert it.addresses["main"] == address
        assert await exchange(address, b"hello") == b"hello"
        assert await it.drain() is True
        with pytest.raises(ConnectionRefusedError):
            await exchange(address, b"")
        await it.reload(source(one))


@on_both_loops
async def test_a_reload_that_fails_here_changes_nothing(tmp_path: Path) -> None:
    async with Backend(echo) as one, supervised(source(one)) as it:
        await it.start()
        more = f'mode = "http"\naccess_log = "{tmp_path}/no/such/folder"'
        with pytest.raises(StartFailed, match="access log"):
            await it.reload(source(one, more))
        page = tmp_path / "page.txt"
        page.write_text("x")
        gone = source(one, f'mode = "http"\nerror_pages = {{ 503 = "{page}" }}')
        page.unlink()
        with pytest.raises(ConfigError, match="error_pages.503: .* cannot be read"):
            await it.reload(gone)
        taken = it.addresses["main"]
        with pytest.raises(StartFailed, match="in use"):
            await it.reload(source(one, f'[admin]\nlisten = "{taken}"'))
        assert await exchange(taken, b"hello") == b"hello"


@on_both_loops
async def test_a_worker_that_ends_at_once_is_the_reason() -> None:
    async with supervised(source(free_address()), python("raise SystemExit(3)")) as it:
        with pytest.raises(StartFailed, match="no worker could be started: exit status 3"):
            async with asyncio.timeout(10):
                await it.start()


@on_both_loops
async def test_a_program_that_is_not_there_is_the_reason() -> None:
    async with supervised(source(free_address()), ["/no/such/program"]) as it:
        with pytest.raises(StartFailed, match="no worker could be started: cannot be started: No such file"):
            await it.start()


@on_both_loops
async def test_one_worker_that_never_comes_up_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_START", 4.0)
    real = worker_command(["--log-level", "warning"])
    script = (
        f"import os, sys\nif sys.argv[2] == '2': sys.exit(5)\nos.execv({real[0]!r}, {real!r} + sys.argv[1:])"
    )
    async with Backend(echo) as one, supervised(source(one), python(script)) as it:
        with pytest.raises(StartFailed, match="worker 2 could not be started: exit status 5"):
            async with asyncio.timeout(20):
                await it.start()


NONSENSE = """
import socket, sys, time
socket.socket(fileno=int(sys.argv[1])).send(b"\\0\\0\\0\\2\\0\\0{}")
time.sleep(60)
"""


@on_both_loops
async def test_a_worker_that_talks_nonsense_is_shown_and_killed(caplog: pytest.LogCaptureFixture) -> None:
    async with supervised(source(free_address()), python(NONSENSE)) as it:
        with pytest.raises(StartFailed, match="killed by SIGKILL"):
            async with asyncio.timeout(10):
                await it.start()
    assert "said what cannot be understood" in caplog.text
    assert "ValidationError" in caplog.text


@on_both_loops
async def test_a_worker_that_reads_nothing_is_killed_when_megabytes_wait(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "_LOOK_INTERVAL", 0.05)
    monkeypatch.setattr(supervisor, "_STUCK", 0.3)
    monkeypatch.setattr(supervisor, "_STOP_GRACE", 0.1)
    async with supervised(source(free_address()), python("import time; time.sleep(60)")) as it:
        starting = asyncio.create_task(it.start())
        await until(lambda: len(channels(it)) == 2)
        await asyncio.sleep(0.6)
        assert not starting.done(), "little waits: it may be busy"
        channels(it)[0].send(Members("x" * (20 << 20), []))
        await until(lambda: "worker 1 ended" in caplog.text)
        assert "has not read for 0.3 s: it is killed" in caplog.text
        assert "worker 2" not in caplog.text
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)


def channels(it: Supervisor) -> list[Channel]:
    return [worker.channel for worker in it._workers if worker.channel is not None]


@on_both_loops
async def test_a_worker_that_dies_again_and_again_is_started_ever_less(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "_STOP_GRACE", 0.1)
    async with Backend(echo) as one, supervised(source(one)) as it:
        await it.start()
        it._command = python("raise SystemExit(9)")
        os.kill(it._workers[0].pid, signal.SIGKILL)
        await asyncio.sleep(1.5)
        assert 2 <= caplog.text.count("worker 1 ended: ") <= 6
        assert await exchange_with_some(it) == b"hello", "the other worker goes on"


async def exchange_with_some(it: Supervisor) -> bytes:
    """An exchange with the worker that is there: connections of the other one wait."""
    for _ in range(20):
        try:
            async with asyncio.timeout(0.5):
                return await exchange(it.addresses["main"], b"hello")
        except TimeoutError:
            continue
    return b""


@on_both_loops
async def test_closing_while_it_starts_leaves_nothing() -> None:
    async with supervised(source(free_address())) as it:
        starting = asyncio.create_task(it.start())
        await until(lambda: len(channels(it)) == 2)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
