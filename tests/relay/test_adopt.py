from __future__ import annotations

import asyncio
import socket

import pytest

from lbkit.relay.adopt import adopt
from tests.relay.joined import tcp_pair
from tests.support.loops import on_both_loops


class Recorder(asyncio.Protocol):
    def __init__(self) -> None:
        self.lost = asyncio.get_running_loop().create_future()
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(error)


@on_both_loops
async def test_a_socket_becomes_a_transport_without_a_task() -> None:
    one, other = tcp_pair()
    protocol = Recorder()
    tasks = len(asyncio.all_tasks())
    adopt(asyncio.get_running_loop(), protocol, other, lambda error: pytest.fail(str(error)))
    assert len(asyncio.all_tasks()) == tasks
    one.sendall(b"hello")
    one.close()
    async with asyncio.timeout(5):
        assert await protocol.lost is None
    assert protocol.received == b"hello"


class FailingLoop:
    """Stands for a loop that cannot wrap the socket."""

    async def connect_accepted_socket(self, factory: object, sock: socket.socket) -> None:
        raise OSError("no")


async def test_a_failure_is_told_and_the_socket_closed() -> None:
    one, other = tcp_pair()
    failures: list[OSError] = []
    adopt(FailingLoop(), Recorder(), other, failures.append)  # type: ignore[arg-type]
    assert [str(error) for error in failures] == ["no"]
    assert other.fileno() == -1
    one.close()
