from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lbkit.errors import ClientError
from lbkit.exchange import Exchange, FilePart, HttpSettings
from lbkit.exchange.file_part import FileSending
from tests.exchange.wire import GET, LAST_GET, site
from tests.support.loops import on_both_loops

SIZE = 5_000_000
DATA = os.urandom(1000) * (SIZE // 1000)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "file").write_bytes(DATA)
    descriptor = os.open(tmp_path / "file", os.O_RDWR)
    yield descriptor
    os.close(descriptor)


def part(file: int, start: int = 0, stop: int = SIZE) -> FilePart:
    return FilePart(file, start, stop, os.fstat(file))


class Sends:
    """A handler that sends some of a file."""

    def __init__(self, file: int, start: int = 0, stop: int = SIZE, *, length: bool = True) -> None:
        self.file, self.start, self.stop, self.length = file, start, stop, length
        self.exchanges: list[Exchange] = []
        self.before: Callable[[], None] = lambda: None

    async def __call__(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        size = self.stop - self.start
        await exchange.start(200, [(b"Content-Length", b"%d" % size)] if self.length else [])
        one = part(self.file, self.start, self.stop)
        self.before()
        await exchange.write_file(one)
        await exchange.end()


def test_reading(file: int) -> None:
    one, data = part(file, 10, 2_000_000), b""
    while one.left:
        data += one.read()
    assert data == DATA[10:2_000_000]


@pytest.mark.parametrize("change", [lambda file: os.ftruncate(file, 10), lambda file: os.utime(file, (1, 1))])
def test_a_change_is_seen(file: int, change: Callable[[int], None]) -> None:
    one = part(file)
    change(file)
    for act in (one.check, one.read, lambda: one.send(-1)):
        with pytest.raises(ClientError) as raised:
            act()
        assert raised.value.status == 0


def test_what_is_not_in_memory_has_to_be_warmed_first(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def cold(*_: object) -> int:
        raise BlockingIOError

    one, (ours, theirs) = part(file), socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        with monkeypatch.context() as patched:
            patched.setattr(os, "preadv", cold)
            assert not one.send(ours.fileno())
            assert one.position == 0
            one.warm()
            assert one.send(ours.fileno())
        assert theirs.recv(100) == DATA[:100]


@on_both_loops
async def test_the_kernel_sends_and_the_connection_goes_on(file: int) -> None:
    handler = Sends(file, 7, SIZE - 7)
    async with site(handler) as where, where.client(receive_buffer=65536) as client:
        for _ in range(2):
            client.send(GET)
            assert (await client.response())[2] == DATA[7:-7]
        assert [exchange.bytes_out for exchange in handler.exchanges] == [SIZE - 14] * 2
        assert where.http.counters.bytes_out > 2 * (SIZE - 14)


@on_both_loops
async def test_requests_sent_ahead_are_answered_in_order(file: int) -> None:
    async with site(Sends(file)) as where, where.client() as client:
        client.send(GET * 3)
        for _ in range(3):
            assert (await client.response())[2] == DATA


@on_both_loops
async def test_a_chunked_body_is_read_instead(file: int) -> None:
    async with site(Sends(file, 0, 1_000_000, length=False)) as where:
        answer = await where.ask(LAST_GET)
        assert b"Transfer-Encoding: chunked" in answer
        assert len(answer) > 1_000_000 and answer.endswith(b"0\r\n\r\n")


@on_both_loops
async def test_the_disk_is_not_waited_for_in_the_loop(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real, threads = FilePart.warm, set()

    def warm(one: FilePart) -> None:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        threads.add(one)
        real(one)

    def cold(*_: object) -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "preadv", cold)
    monkeypatch.setattr(FilePart, "warm", warm)
    async with site(Sends(file)) as where, where.client() as client:
        client.send(GET)
        assert (await client.response())[2] == DATA
    assert threads


@on_both_loops
async def test_without_a_descriptor_for_it_the_file_is_read(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(os, "dup", refuse)
    async with site(Sends(file)) as where, where.client() as client:
        for _ in range(2):
            client.send(GET)
            assert (await client.response())[2] == DATA


@on_both_loops
async def test_a_file_that_changes_cuts_the_connection(file: int) -> None:
    handler = Sends(file)
    handler.before = lambda: os.ftruncate(file, 100)
    async with site(handler) as where, where.client() as client:
        client.send(GET)
        await client.until(b"\r\n\r\n")
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await client.exactly(SIZE)


@on_both_loops
async def test_a_client_that_leaves_ends_it(file: int) -> None:
    handler = Sends(file)
    async with site(handler) as where:
        async with where.client(receive_buffer=4096) as client:
            client.send(GET)
            await client.until(b"\r\n\r\n")
        async with asyncio.timeout(5):
            while where.http.open_connections:
                await asyncio.sleep(0.001)
        assert handler.exchanges[0].bytes_out < SIZE


@on_both_loops
async def test_a_client_that_takes_nothing_is_cut_and_a_slow_one_is_not(file: int) -> None:
    os.ftruncate(file, 50_000_000)  # more than the kernel takes by itself
    now = [100.0]
    settings = HttpSettings(client=10.0)
    async with site(Sends(file, 0, 50_000_000), settings, lambda: now[0]) as where:
        async with where.client(receive_buffer=4096) as client:
            client.send(GET)
            await client.until(b"\r\n\r\n")
            for _ in range(5):
                await client.exactly(600_000)
                now[0] += 9.0
                where.http.tick(now[0])
            assert where.http.open_connections == 1
            for _ in range(2):
                now[0] += 10.0
                where.http.tick(now[0])
            async with asyncio.timeout(5):
                while where.http.open_connections:
                    await asyncio.sleep(0.001)


def test_what_was_stopped_before_it_began_ends_at_once(file: int) -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            sending = FileSending(ours.fileno(), part(file))
            sending.stop()
            with pytest.raises(ClientError):
                await sending.run()
            assert sending.unsent == SIZE

    asyncio.run(run())
