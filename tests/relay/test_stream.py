from __future__ import annotations

import asyncio
import socket

from lbkit.relay.base import RelayEnd
from lbkit.relay.stream import StreamRelay
from tests.relay.test_base import tcp_pair
from tests.support.loops import on_both_loops


@on_both_loops
async def test_what_came_before_both_transports_exist_is_kept() -> None:
    """Both sockets hold bytes, and one its end, before the relay starts."""
    client, downstream = tcp_pair()
    server, upstream = tcp_pair()
    client.sendall(b"early")
    client.shutdown(socket.SHUT_WR)
    server.sendall(b"greeting")
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[RelayEnd] = loop.create_future()
    StreamRelay(loop, downstream, upstream, ended.set_result).start()
    async with asyncio.timeout(5):
        assert await loop.sock_recv(server, 100) == b"early"
        assert await loop.sock_recv(server, 100) == b""
        assert await loop.sock_recv(client, 100) == b"greeting"
    server.close()
    async with asyncio.timeout(5):
        assert await ended is RelayEnd.DONE
    client.close()


@on_both_loops
async def test_a_server_that_is_gone_before_the_start() -> None:
    client, downstream = tcp_pair()
    server, upstream = tcp_pair()
    client.sendall(b"x")
    server.close()
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[RelayEnd] = loop.create_future()
    StreamRelay(loop, downstream, upstream, ended.set_result).start()
    async with asyncio.timeout(5):
        client.shutdown(socket.SHUT_WR)
        await ended
    client.close()


def test_it_works_everywhere() -> None:
    assert StreamRelay.unsupported() is None
