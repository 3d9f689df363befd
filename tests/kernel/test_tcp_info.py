from __future__ import annotations

import socket
import time

import pytest

from lbkit.kernel.tcp_info import TcpInfo, taken, tcp_info
from tests.relay.joined import reset, tcp_pair


def settled(sock: socket.socket, **expected: int) -> TcpInfo:
    """The counts, when acknowledgements have come."""
    deadline = time.monotonic() + 5
    while True:
        info = tcp_info(sock)
        if all(getattr(info, name) == value for name, value in expected.items()):
            return info
        assert time.monotonic() < deadline, info


def test_bytes_both_ways() -> None:
    one, other = tcp_pair()
    one.send(b"12345")
    other.send(b"123")
    settled(one, acked=6, received=3)
    settled(other, acked=3, received=5, has_finished=False, is_closed=False)
    one.close()
    other.close()


def test_a_fin_counts_as_a_byte_and_is_seen() -> None:
    one, other = tcp_pair()
    one.send(b"12345")
    one.shutdown(socket.SHUT_WR)
    settled(other, received=6, has_finished=True)
    other.shutdown(socket.SHUT_WR)
    settled(one, received=1, is_closed=True)
    one.close()
    other.close()


def test_a_reset_leaves_no_connection() -> None:
    one, other = tcp_pair()
    other.send(b"123")
    reset(one)
    settled(other, is_closed=True, has_finished=False)
    other.close()


def test_what_waits_for_a_slow_reader_is_taken_and_not_sent() -> None:
    one, other = tcp_pair()
    total = 0
    with pytest.raises(BlockingIOError):
        while True:
            total += one.send(bytes(65536))
    assert taken(one) == total + 1, "its SYN counts"
    assert tcp_info(one).acked < total
    one.close()
    other.close()


def test_what_is_no_tcp_socket() -> None:
    one, other = socket.socketpair()
    with pytest.raises(OSError):
        tcp_info(one)
    one.close()
    other.close()
