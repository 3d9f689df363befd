from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from lbkit.errors import ConnectFailed, StartFailed
from lbkit.server import Address
from lbkit.sockets import Dial, bind, connect
from tests.support.backends import full_backlog


def address_of(sock: socket.socket) -> Address:
    return Address(*sock.getsockname()[:2])


def test_bind_takes_a_free_port() -> None:
    with bind(Address("127.0.0.1", 0)) as sock:
        assert not sock.getblocking()
        assert address_of(sock).port > 0


def test_bind_to_a_port_in_use_says_what_to_do() -> None:
    with bind(Address("127.0.0.1", 0)) as sock, pytest.raises(StartFailed, match="in use by another program"):
        bind(address_of(sock))


def test_bind_to_an_address_of_another_machine() -> None:
    with pytest.raises(StartFailed, match="this machine has no such address"):
        bind(Address("192.0.2.1", 0))


def test_a_unix_socket_left_by_a_killed_process_is_replaced(tmp_path: Path) -> None:
    address = Address(path=str(tmp_path / "s"))
    bind(address).close()
    with bind(address), pytest.raises(StartFailed, match="in use by another program"):
        bind(address)


def test_a_file_in_the_place_of_a_unix_socket_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "precious"
    file.write_text("data")
    with pytest.raises(StartFailed, match="exists and is not a socket"):
        bind(Address(path=str(file)))
    assert file.read_text() == "data"


async def test_connect(tmp_path: Path) -> None:
    for address in (Address("127.0.0.1", 0), Address(path=str(tmp_path / "s"))):
        with bind(address) as listening:
            target = address if address.path else address_of(listening)
            with await connect(target, timeout=5) as sock:
                assert not sock.getblocking()


async def test_connect_resolves_a_name() -> None:
    with bind(Address("127.0.0.1", 0)) as listening:
        (await connect(Address("localhost", address_of(listening).port), timeout=5)).close()


async def test_every_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with bind(Address("127.0.0.1", 0)) as listening:
        port = address_of(listening).port
        found: list[str] = []

        async def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
        found += ["127.0.0.2", "127.0.0.3", "127.0.0.1"]
        with await connect(Address("many.example", port), timeout=5) as sock:
            assert sock.getpeername() == ("127.0.0.1", port)
        found.remove("127.0.0.1")
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(ConnectFailed, match=f"many.example:{port}: connection refused"):
            await connect(Address("many.example", port), timeout=5)
        assert len(os.listdir("/proc/self/fd")) <= before


async def test_refused() -> None:
    with bind(Address("127.0.0.1", 0)) as sock:
        address = address_of(sock)
    with pytest.raises(ConnectFailed, match=f"127.0.0.1:{address.port}: connection refused"):
        await connect(address, timeout=5)


async def test_a_missing_unix_socket(tmp_path: Path) -> None:
    with pytest.raises(ConnectFailed, match="no such file"):
        await connect(Address(path=str(tmp_path / "s")), timeout=5)


async def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(ConnectFailed, match=r'cannot resolve "no-such-host\.invalid"'):
        await connect(Address("no-such-host.invalid", 1), timeout=5)


async def test_connect_is_bounded_in_time_and_leaves_nothing_open() -> None:
    listening, clients = full_backlog()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ConnectFailed, match=r"not connected within 0\.05 s"):
        await connect(address_of(listening), timeout=0.05)
    assert len(os.listdir("/proc/self/fd")) <= before
    for sock in (listening, *clients):
        sock.close()


async def test_a_cancelled_connect_leaves_nothing_open() -> None:
    listening, clients = full_backlog()
    before = len(os.listdir("/proc/self/fd"))
    task = asyncio.create_task(connect(address_of(listening), timeout=5))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(os.listdir("/proc/self/fd")) <= before
    for sock in (listening, *clients):
        sock.close()


async def test_a_cancelled_dial_does_not_call_back() -> None:
    listening, clients = full_backlog()
    dial = Dial(asyncio.get_running_loop(), address_of(listening), lambda result: pytest.fail("called"))
    dial.start()
    dial.cancel()
    await asyncio.sleep(0)
    for sock in (listening, *clients):
        sock.close()
