from __future__ import annotations

import asyncio
import random
import socket

import pytest

from lbkit.firewall import Firewall, FirewallSettings, Network, NetworkTable, Rate, place_of
from lbkit.proxy.gate import EdgeGate
from lbkit.proxy.listener import Listener
from lbkit.proxy.origin import Origin
from lbkit.proxy.ticker import Ticker
from lbkit.proxy_protocol import Tlv, build_v2
from lbkit.server import Address
from tests.support.loops import on_both_loops, until


class Edge:
    """A started listener behind a gate, and who came in."""

    def __init__(self, **settings: object) -> None:
        loop = asyncio.get_running_loop()
        self.inside: list[tuple[socket.socket, Origin | None]] = []
        self.listener = Listener("test", Address("127.0.0.1", 0), self._accept, loop=loop)
        self.ticker = Ticker(loop)
        self.gate = EdgeGate(self.listener, loop=loop, ticker=self.ticker)
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
        self.ticker.close()
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


# ------------------------------------------------------------------------------------ PROXY protocol

LINE = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
CLIENT, SERVER = ("192.0.2.1", 56324), ("198.51.100.2", 443)


def proxied(trusted: str = "127.0.0.1", **settings: object) -> Edge:
    edge = Edge(**settings)
    edge.gate.trusted = NetworkTable([Network.parse(trusted)])
    return edge


async def payload(edge: Edge, size: int, index: int = 0) -> bytes:
    """What is left in the socket for the session."""
    async with asyncio.timeout(5):
        return await asyncio.get_running_loop().sock_recv(edge.inside[index][0], size)


@pytest.mark.parametrize(
    "header", [LINE, build_v2(CLIENT, SERVER), build_v2(CLIENT, SERVER, (Tlv(0xE0, bytes(5000)),))]
)
@on_both_loops
async def test_the_header_tells_the_ends_and_the_payload_stays(header: bytes) -> None:
    edge = proxied()
    edge.connect().sendall(header + b"hello")
    await edge.came_in(1)
    origin = edge.inside[0][1]
    assert origin is not None
    assert (origin.client, origin.server) == (CLIENT, SERVER)
    assert await payload(edge, 100) == b"hello"
    assert (edge.gate.waiting, edge.listener.sessions, edge.listener.open_sessions) == (0, 1, 1)
    edge.close()


@on_both_loops
async def test_a_header_that_comes_byte_by_byte() -> None:
    edge = proxied()
    client = edge.connect()
    for index in range(len(LINE)):
        assert not edge.inside
        client.sendall(LINE[index : index + 1])
        await asyncio.sleep(0)
    client.sendall(b"x")
    await edge.came_in(1)
    assert await payload(edge, 10) == b"x"
    edge.close()


@on_both_loops
async def test_only_the_trusted_may_send_one() -> None:
    edge = proxied()
    assert await is_reset(edge.connect("127.0.0.2"))
    assert edge.gate.counters["proxy_untrusted"] == 1
    edge.close()


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 x\r\n", LINE[:-1] + b"x"])
@on_both_loops
async def test_without_a_proper_one_nobody_comes_in(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    edge = proxied()
    client = edge.connect()
    client.sendall(data + b"\n")
    assert await is_reset(client)
    assert "listener test: a connection without a PROXY header: " in caplog.text
    assert edge.gate.counters["proxy_bad_headers"] == 1
    assert not edge.inside
    edge.close()


@on_both_loops
async def test_one_that_leaves_before_its_header() -> None:
    edge = proxied()
    edge.connect().close()
    await until(lambda: edge.gate.bad_headers == 1)
    edge.close()


@on_both_loops
async def test_a_header_has_its_time() -> None:
    edge = proxied()
    edge.gate.header_timeout = 0.05
    client = edge.connect()
    client.sendall(b"PROXY ")
    assert await is_reset(client)
    assert edge.gate.counters["proxy_late_headers"] == 1
    edge.close()


@on_both_loops
async def test_a_shorter_time_is_also_for_those_who_wait_already() -> None:
    edge = Edge()
    edge.gate.trusted = NetworkTable()
    first = edge.connect()
    await until(lambda: edge.gate.waiting == 1)
    edge.gate.header_timeout = 0.05
    second = edge.connect()
    assert await is_reset(second)
    assert await is_reset(first)
    assert edge.gate.late_headers == 2
    edge.close()


@on_both_loops
async def test_who_waits_has_a_place_and_is_sent_away_when_it_stops() -> None:
    edge = proxied()
    edge.listener.max_connections = 2
    clients = [edge.connect() for _ in range(3)]
    await until(lambda: edge.gate.waiting == 2)
    for _ in range(5):
        await asyncio.sleep(0)
    assert (edge.gate.waiting, edge.listener.open_sessions, edge.listener.sessions) == (2, 2, 0)
    edge.listener.stop()
    assert await is_reset(clients[0])
    edge.close()


@on_both_loops
async def test_the_firewall_judges_whom_the_header_tells() -> None:
    deny = NetworkTable([], [Network.parse("192.0.2.0/24")])
    edge = proxied(networks=deny, max_connections=1)
    client = edge.connect()
    client.sendall(LINE)
    assert await is_reset(client)
    for address, inside in (("198.51.100.7", 1), ("198.51.100.7", 1), ("198.51.100.8", 2)):
        edge.connect().sendall(LINE.replace(b"192.0.2.1", address.encode()))
        await edge.came_in(inside)
    await until(lambda: edge.gate.counters["denied_connections"] == 1)
    firewall = edge.gate.firewall
    assert firewall is not None
    edge.end()
    edge.end()
    assert firewall.open_sessions(place_of("198.51.100.7")) == 0
    assert edge.gate.counters["denied_network"] == 1
    edge.close()


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", build_v2()])
@on_both_loops
async def test_a_connection_of_the_proxys_own_is_none_of_the_firewalls(header: bytes) -> None:
    edge = proxied(networks=NetworkTable([], [Network.parse("127.0.0.0/8")]))
    edge.connect().sendall(header)
    await edge.came_in(1)
    origin = edge.inside[0][1]
    assert origin is not None
    assert (origin.client, origin.server) == (None, None)
    edge.close()


@on_both_loops
async def test_an_ipv4_client_of_an_ipv6_listener_is_the_same_client() -> None:
    edge = Edge(networks=NetworkTable([], [Network.parse("127.0.0.2")]), max_connections=1)
    edge.listener.stop()
    edge.listener.address = Address("::", 0)
    edge.listener.bind()
    edge.listener.start()
    edge.listener.address = Address("127.0.0.1", edge.listener.address.port)
    assert await is_reset(edge.connect("127.0.0.2"))
    edge.connect()
    await edge.came_in(1)
    firewall = edge.gate.firewall
    assert firewall is not None
    assert firewall.open_sessions(place_of("127.0.0.1")) == 1
    edge.close()
