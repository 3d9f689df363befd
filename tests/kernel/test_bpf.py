from __future__ import annotations

import ctypes
import errno
import platform
import select
import socket
from collections.abc import Iterator

import pytest

from lbkit.errors import KernelUnsupported
from lbkit.kernel.bpf import SocketMap
from tests.relay.joined import tcp_pair
from tests.support.loops import open_descriptors


@pytest.fixture
def sockets() -> Iterator[SocketMap]:
    """Tells of what is within 50 bytes of its limit."""
    try:
        found = SocketMap(50, 256)
    except KernelUnsupported as error:
        pytest.skip(f"no socket map here: {error}")
    yield found
    found.close()


class Pairs:
    """A client and a server with two sockets between them, which a map joins one way."""

    def __init__(self, sockets: SocketMap, limit: int) -> None:
        self.client, self.source = tcp_pair()
        self.server, self.target = tcp_pair()
        self.cookie = sockets.route(self.source, self.target)
        sockets.read(self.source, self.cookie, limit)

    def pass_on(self, data: bytes) -> bytes:
        self.client.send(data)
        return receive(self.server, len(data))

    def close(self) -> None:
        for sock in (self.client, self.source, self.server, self.target):
            sock.close()


def receive(sock: socket.socket, count: int, limit: float = 5) -> bytes:
    received = b""
    while len(received) < count and select.select([sock], [], [], limit)[0]:
        received += sock.recv(count - len(received))
    return received


def test_the_kernel_moves_what_comes_and_what_came_before(sockets: SocketMap) -> None:
    client, source = tcp_pair()
    server, target = tcp_pair()
    client.send(b"early")
    cookie = sockets.route(source, target)
    sockets.read(source, cookie, 1000)
    client.send(b" and late")
    assert receive(server, 14) == b"early and late"
    assert sockets.moved(cookie) == (14, False)
    for sock in (client, source, server, target):
        sock.close()


def test_near_the_limit_it_tells_once_and_at_the_limit_it_stops(sockets: SocketMap) -> None:
    pairs = Pairs(sockets, 100)
    assert pairs.pass_on(b"x" * 40) == b"x" * 40
    assert sockets.told() == []
    assert pairs.pass_on(b"x" * 20) == b"x" * 20
    assert select.select([sockets.ring], [], [], 5)[0]
    assert sockets.told() == [pairs.cookie]
    assert pairs.pass_on(b"x" * 20) == b"x" * 20
    assert sockets.told() == []
    pairs.client.send(b"y" * 30)
    assert receive(pairs.source, 30) == b"y" * 30, "over the limit it is left to the socket"
    assert sockets.told() == [pairs.cookie]
    assert sockets.moved(pairs.cookie) == (80, True)
    sockets.allow(pairs.cookie, 1000)
    pairs.client.send(b"z" * 5)
    assert receive(pairs.source, 5) == b"z" * 5, "it does not begin again, or bytes would be overtaken"
    assert receive(pairs.server, 1, 0.05) == b""
    pairs.close()


def test_a_raised_limit_holds(sockets: SocketMap) -> None:
    pairs = Pairs(sockets, 100)
    for number in range(20):
        assert pairs.pass_on(b"x" * 40) == b"x" * 40
        for cookie in sockets.told():
            moved, stopped = sockets.moved(cookie)
            assert not stopped, number
            sockets.allow(cookie, moved + 100)
    assert sockets.moved(pairs.cookie) == (800, False)
    pairs.close()


def test_a_fin_is_not_taken_for_a_broken_pipe(sockets: SocketMap) -> None:
    pairs = Pairs(sockets, 1000)
    assert pairs.pass_on(b"x") == b"x"
    pairs.client.shutdown(socket.SHUT_WR)
    assert receive(pairs.server, 1, 0.05) == b""
    assert pairs.target.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    pairs.close()


def test_closing_takes_sockets_out_and_forgetting_the_counts(sockets: SocketMap) -> None:
    for _ in range(600):  # more than there is room for at a time
        pairs = Pairs(sockets, 100)
        sockets.forget(pairs.cookie)
        pairs.close()


def test_a_full_map(sockets: SocketMap) -> None:
    client, source = tcp_pair()
    opened = [(client, source)]
    with pytest.raises(OSError):
        for _ in range(300):
            opened.append(tcp_pair())
            sockets.route(opened[-1][0], source)
    for pair in opened:
        for sock in pair:
            sock.close()


def test_a_target_whose_end_has_left(sockets: SocketMap) -> None:
    client, source = tcp_pair()
    server, target = tcp_pair()
    server.close()
    select.select([target], [], [], 5)
    with pytest.raises(OSError) as raised:
        sockets.route(source, target)
    assert raised.value.errno == errno.EOPNOTSUPP
    for sock in (client, source, target):
        sock.close()


def test_the_ring_wraps_around(sockets: SocketMap) -> None:
    """More is told than it has room for, a little at a time."""
    for _ in range(1200):
        pairs = Pairs(sockets, 10)
        pairs.client.send(b"x" * 20)
        assert receive(pairs.source, 20) == b"x" * 20
        assert sockets.told() == [pairs.cookie]
        sockets.forget(pairs.cookie)
        pairs.close()


@pytest.mark.parametrize(
    ("release", "reason"),
    [("5.10.0-8-amd64", "needs Linux 6.5 or later, this is 5.10.0"), ("strange", "this is strange")],
)
def test_an_old_kernel(release: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "release", lambda: release)
    with pytest.raises(KernelUnsupported, match=reason):
        SocketMap(50)


def test_another_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    with pytest.raises(KernelUnsupported, match="needs Linux on a known processor"):
        SocketMap(50)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errno.EPERM, "needs root, or the capabilities CAP_BPF and CAP_NET_ADMIN"),
        (errno.EINVAL, "this kernel lacks socket maps"),
        (errno.ENOMEM, "bpf.2.: Cannot allocate memory"),
    ],
)
def test_what_the_kernel_refuses(error: int, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        ctypes.set_errno(error)
        return -1

    class Library:
        syscall = staticmethod(refuse)

    monkeypatch.setattr(platform, "release", lambda: "6.18.0")
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Library)
    refuse.restype = refuse.argtypes = None  # type: ignore[attr-defined]
    before = open_descriptors()
    with pytest.raises(KernelUnsupported, match=reason):
        SocketMap(50)
    assert open_descriptors() == before
