from __future__ import annotations

import asyncio
import socket

from lbkit.exchange import Exchange, HttpServer
from lbkit.proxy.http_session import HttpService
from lbkit.proxy.origin import Origin
from tests.relay.joined import tcp_pair
from tests.support.loops import on_both_loops


async def hello(exchange: Exchange) -> None:
    await exchange.respond(200, [], b"hello")


class Served:
    def __init__(self) -> None:
        self.ended = 0
        self.service = HttpService(HttpServer(hello), loop=asyncio.get_running_loop(), on_end=self._end)

    def _end(self) -> None:
        self.ended += 1

    def open(self) -> socket.socket:
        client, accepted = tcp_pair()
        self.service.accept(accepted)
        return client


async def ask(client: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(5):
        await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return await loop.sock_recv(client, 1000)


@on_both_loops
async def test_an_accepted_socket_is_served_and_its_end_is_told_once() -> None:
    served = Served()
    client = served.open()
    assert (await ask(client)).endswith(b"hello")
    assert served.service.open_sessions == 1
    client.close()
    assert await served.service.drain(5)
    assert (served.ended, served.service.open_sessions) == (1, 0)


@on_both_loops
async def test_drain_closes_idle_connections() -> None:
    served = Served()
    client = served.open()
    await ask(client)
    assert await served.service.drain(5)
    assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
    client.close()


@on_both_loops
async def test_close_cuts_everything() -> None:
    served = Served()
    clients = [served.open() for _ in range(3)]
    for client in clients:
        await ask(client)
    await served.service.close()
    assert (served.ended, served.service.open_sessions) == (3, 0)
    for client in clients:
        client.close()


@on_both_loops
async def test_an_origin_is_the_client_and_hears_of_the_end_once() -> None:
    ends: list[int] = []
    seen: list[object] = []

    async def handler(exchange: Exchange) -> None:
        seen.append((exchange.client, exchange.server))
        await exchange.respond(200, [], b"hello")

    served = Served()
    served.service.http.handler = handler
    told = ("192.0.2.1", 1), ("192.0.2.2", 2)
    client, accepted = tcp_pair()
    served.service.accept(accepted, Origin(*told, lambda: ends.append(1)))
    assert (await ask(client)).endswith(b"hello")
    assert seen == [told]
    client.close()
    assert await served.service.drain(5)
    assert (served.ended, ends) == (1, [1])
