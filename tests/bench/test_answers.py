from __future__ import annotations

import socket

import pytest

from lbkit.bench.answers import BODIES, responses
from lbkit.bench.contenders import server


def test_every_response_has_its_length() -> None:
    for path, response in responses(b"X: y\r\n").items():
        head, _, body = response.partition(b"\r\n\r\n")
        assert body == BODIES[path]
        assert b"\r\nX: y\r\n" in head
        assert head.endswith(b"Content-Length: %d" % len(body))


@pytest.mark.parametrize("path", sorted(BODIES))
def test_it_answers_and_closes_when_it_is_asked_to(path: bytes) -> None:
    with server() as address, socket.create_connection((address.host, address.port), timeout=10) as sock:
        for piece in (b"GET ", path, b" HTTP/1.1\r\nConn", b"ection: close\r\n", b"\r\n"):
            sock.sendall(piece)
        received = bytearray()
        while data := sock.recv(1 << 20):
            received += data
    assert received == responses(b"Connection: close\r\n")[path]


def test_what_is_not_there() -> None:
    with server() as address, socket.create_connection((address.host, address.port), timeout=10) as sock:
        sock.sendall(b"GET /none HTTP/1.1\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 404 ")


def test_no_process_is_left() -> None:
    with server() as address:
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.host, address.port), timeout=10)
