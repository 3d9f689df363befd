from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from pathlib import Path

import pytest

from lbkit.errors import StartFailed
from lbkit.proxy.listener import Listener
from lbkit.server import Address
from lbkit.sockets import bind
from tests.support.loops import on_both_loops, until


class Accepting:
    """A started listener and what it accepted."""

    def __init__(self, max_connections: int = 100) -> None:
        self.accepted: asyncio.Queue[socket.socket] = asyncio.Queue()
        self.listener = Listener(
            "test",
            Address("127.0.0.1", 0),
            self.accepted.put_nowait,
            loop=asyncio.get_running_loop(),
            max_connections=max_connections,
        )
        self.listener.bind()
        self.listener.start()
        self.clients: list[socket.socket] = []

    def connect(self) -> None:
        self.clients.append(
            socket.create_connection((self.listener.address.host, self.listener.address.port))
        )

    async def next(self) -> socket.socket:
        async with asyncio.timeout(5):
            return await self.accepted.get()

    def close(self) -> None:
        self.listener.stop()
        for client in self.clients:
            client.close()


@on_both_loops
async def test_it_hands_on_non_blocking_sockets() -> None:
    accepting = Accepting()
    assert accepting.listener.address.port > 0
    for _ in range(3):
        accepting.connect()
    for _ in range(3):
        sock = await accepting.next()
        assert not sock.getblocking()
        sock.close()
    assert accepting.listener.sessions == accepting.listener.open_sessions == 3
    accepting.close()


@on_both_loops
async def test_at_the_limit_clients_wait_in_the_backlog() -> None:
    accepting = Accepting(max_connections=2)
    for _ in range(3):
        accepting.connect()
    for _ in range(2):
        (await accepting.next()).close()
    for _ in range(5):
        await asyncio.sleep(0)
    assert accepting.accepted.empty()
    accepting.listener.session_ended()
    (await accepting.next()).close()
    assert accepting.listener.open_sessions == 2
    accepting.close()


@on_both_loops
async def test_without_descriptors_it_pauses_and_resumes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    accepting = Accepting()
    real = accepting.listener._sock
    assert real is not None

    class Exhausted:
        """A listening socket whose accept fails as with EMFILE; the kernel's limit would hit the test too."""

        def accept(self) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        def fileno(self) -> int:
            return real.fileno()

        def close(self) -> None:
            real.close()

    accepting.listener._sock = Exhausted()  # type: ignore[assignment]
    accepting.connect()
    async with asyncio.timeout(5):
        while not accepting.listener.accept_errors:
            await asyncio.sleep(0)
    assert "accepting pauses" in caplog.text
    for _ in range(20):
        await asyncio.sleep(0)
    assert accepting.listener.accept_errors == 1, "it does not spin"
    async with asyncio.timeout(5):
        while accepting.listener.accept_errors < 3:
            await asyncio.sleep(0.01)
    assert caplog.text.count("accepting pauses") == 1, "a long lack is not a flood of log lines"
    accepting.listener._sock = real
    (await accepting.next()).close()
    accepting.close()


@on_both_loops
async def test_stop_frees_the_address() -> None:
    accepting = Accepting()
    accepting.listener.stop()
    with pytest.raises(ConnectionRefusedError):
        accepting.connect()
    again = Listener(
        "again", accepting.listener.address, accepting.accepted.put_nowait, loop=asyncio.get_running_loop()
    )
    again.bind()
    again.stop()
    accepting.close()


async def test_no_file_of_a_unix_socket_is_left(tmp_path: Path) -> None:
    file = tmp_path / "socket"
    loop = asyncio.get_running_loop()
    listener = Listener("unix", Address(path=str(file)), lambda sock: sock.close(), loop=loop)
    listener.bind()
    listener.start()
    assert file.is_socket()
    listener.stop()
    assert not file.exists()
    listener.stop()


async def test_an_address_in_use() -> None:
    accepting = Accepting()
    other = Listener(
        "other", accepting.listener.address, accepting.accepted.put_nowait, loop=asyncio.get_running_loop()
    )
    with pytest.raises(StartFailed, match="in use"):
        other.bind()
    accepting.close()


@on_both_loops
async def test_a_raised_limit_lets_in_who_waits() -> None:
    accepting = Accepting(max_connections=1)
    for _ in range(2):
        accepting.connect()
    (await accepting.next()).close()
    await asyncio.sleep(0)
    assert accepting.accepted.empty()
    accepting.listener.max_connections = 2
    (await accepting.next()).close()
    accepting.close()


@on_both_loops
async def test_a_lowered_limit_holds_until_enough_have_left() -> None:
    accepting = Accepting(max_connections=3)
    for _ in range(3):
        accepting.connect()
    for _ in range(3):
        (await accepting.next()).close()
    accepting.listener.max_connections = 1
    accepting.connect()
    for _ in range(2):
        accepting.listener.session_ended()
        await asyncio.sleep(0.01)
        assert accepting.accepted.empty()
    accepting.listener.session_ended()
    (await accepting.next()).close()
    accepting.close()


@on_both_loops
async def test_a_new_limit_starts_no_stopped_listener() -> None:
    accepting = Accepting(max_connections=1)
    accepting.listener.stop()
    accepting.listener.max_connections = 2
    accepting.close()


@on_both_loops
async def test_at_the_limit_clients_can_be_refused() -> None:
    accepting = Accepting(max_connections=1)
    accepting.listener.refuses = True
    accepting.connect()
    (await accepting.next()).close()
    accepting.connect()
    refused = accepting.clients[-1]
    refused.setblocking(False)
    with pytest.raises(ConnectionResetError):
        async with asyncio.timeout(5):
            await asyncio.get_running_loop().sock_recv(refused, 1)
    assert (accepting.listener.refused, accepting.listener.open_sessions) == (1, 1)
    accepting.listener.session_ended()
    accepting.connect()
    (await accepting.next()).close()
    accepting.close()


@on_both_loops
async def test_held_it_accepts_nobody() -> None:
    accepting = Accepting()
    accepting.listener.hold(True)
    accepting.connect()
    for _ in range(5):
        await asyncio.sleep(0.01)
    assert accepting.accepted.empty()
    accepting.listener.hold(False)
    (await accepting.next()).close()
    accepting.close()


@on_both_loops
async def test_a_socket_that_listens_already() -> None:
    address = Address("127.0.0.1", 0)
    first = bind(address, reuse_port=True)
    second = bind(Address("127.0.0.1", first.getsockname()[1]), reuse_port=True)
    accepted: list[socket.socket] = []
    listeners = []
    for sock in (first, second):
        listener = Listener("test", address, accepted.append, loop=asyncio.get_running_loop())
        listener.bind(sock)
        listener.start()
        listeners.append(listener)
    assert listeners[0].address == listeners[1].address
    place = (listeners[0].address.host, listeners[0].address.port)
    clients = [socket.create_connection(place) for _ in range(64)]
    await until(lambda: len(accepted) == 64)
    assert all(listener.sessions > 0 for listener in listeners), "the kernel spreads them"
    for sock in (*clients, *accepted):
        sock.close()
    for listener in listeners:
        listener.stop()
