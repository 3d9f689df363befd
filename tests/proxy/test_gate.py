from __future__ import annotations

import asyncio
import random
import socket

import pytest

from lbkit.firewall import Firewall, FirewallSettings, Network, NetworkTable, Rate, place_of
from lbkit.proxy.gate import EdgeGate
from lbkit.proxy.listener import Listener
from lbkit.proxy.origin import Origin
from lbkit.server import Address
from tests.support.loops import on_both_loops, until


class Edge:
    """A started listener behind a gate, and who came in."""

    def __init__(self, **settings: object) -> None:
        loop = asyncio.get_running_loop()
        self.inside: list[tuple[socket.socket, Origin | None]] = []
        self.listener = Listener("test", Address("127.0.0.1", 0), self._accept, loop=loop)
        self.gate = EdgeGate(self.listener, clock=loop.time)
        self.gate.firewall = Firewall(FirewallSettings(**settings), random.Random(7))  # type: ignore[arg-type]
        self.listener.gate = self.gate
        self.listener.bind()
        self.listener.start()
        self.clients: list[socket.socket] = []

    def _accept(self, sock: socket.socket, origin: Origin | None = None) -> None:
        self.inside.append((sock, origin))

    def connect(self, host: str = "127.0.0.1") -> socket.socket:
        client = socket.create_connection(
            (self.listener.address.host, self.listener.address.port), source_address=(host, 0)
        )
        client.setblocking(False)
        self.clients.append(client)
        return client

    async def came_in(self, number: int) -> None:
        await until(lambda: len(self.inside) == number)

    def end(self, index: int = 0) -> None:
        """A session is over, as its service does it."""
        sock, origin = self.inside.pop(index)
        sock.close()
        if origin is not None:
            origin.ended()
        self.listener.session_ended()

    def close(self) -> None:
        self.listener.stop()
        while self.inside:
            self.end()
        assert self.listener.open_sessions == 0
        for client in self.clients:
            client.close()


async def is_reset(client: socket.socket) -> bool:
    try:
        async with asyncio.timeout(5):
            await asyncio.get_running_loop().sock_recv(client, 1)
    except ConnectionResetError:
        return True
    return False


@on_both_loops
async def test_a_denied_client_gets_a_reset_and_no_session() -> None:
    edge = Edge(networks=NetworkTable([], [Network.parse("127.0.0.2")]))
    assert await is_reset(edge.connect("127.0.0.2"))
    edge.connect()
    await edge.came_in(1)
    assert not edge.inside[0][0].getblocking()
    assert (edge.listener.sessions, edge.listener.open_sessions) == (1, 1)
    assert edge.gate.counters["denied_network"] == 1
    edge.close()


@on_both_loops
async def test_a_clients_sessions_are_counted_and_given_back() -> None:
    edge = Edge(max_connections=2)
    for _ in range(2):
        edge.connect()
    await edge.came_in(2)
    assert await is_reset(edge.connect())
    edge.connect("127.0.0.2")
    await edge.came_in(3)
    edge.end()
    edge.connect()
    await edge.came_in(3)
    firewall = edge.gate.firewall
    edge.close()
    assert firewall is not None
    assert firewall.open_sessions(place_of("127.0.0.1")) == 0


@on_both_loops
async def test_a_session_ends_with_the_firewall_that_it_began_with() -> None:
    edge = Edge(max_connections=2)
    edge.connect()
    await edge.came_in(1)
    first, edge.gate.firewall = edge.gate.firewall, Firewall(FirewallSettings(), random.Random(7))
    edge.close()
    assert first is not None
    assert first.open_sessions(place_of("127.0.0.1")) == 0


@on_both_loops
async def test_rate() -> None:
    edge = Edge(connection_rate=Rate.parse("1/h burst 3"))
    for _ in range(3):
        edge.connect()
    await edge.came_in(3)
    assert await is_reset(edge.connect())
    assert edge.gate.counters["denied_connection_rate"] == 1
    edge.close()


@on_both_loops
async def test_clients_of_a_unix_socket_have_no_address(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("gate") / "socket"
    edge = Edge(networks=NetworkTable([], [Network.parse("0.0.0.0/0")]))
    edge.listener.stop()
    edge.listener.address = Address(path=str(path))
    edge.listener.bind()
    edge.listener.start()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        await edge.came_in(1)
        assert edge.inside[0][1] is None
    edge.close()


@on_both_loops
async def test_without_a_firewall_everybody_comes_in() -> None:
    edge = Edge()
    edge.gate.firewall = None
    edge.connect()
    await edge.came_in(1)
    assert edge.gate.counters == {}
    edge.close()
