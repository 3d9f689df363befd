from __future__ import annotations

import socket
import struct

from lbkit.proxy.origin import Origin, ends_of


def test_the_end_is_told_once() -> None:
    ends: list[int] = []
    origin = Origin(("192.0.2.1", 5), None, lambda: ends.append(1))
    origin.ended()
    origin.ended()
    assert ends == [1]
    Origin().ended()


def test_the_ends_are_the_told_ones_or_the_sockets() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with socket.create_connection(listening.getsockname()) as client:
            accepted, _ = listening.accept()
            with accepted:
                own = client.getsockname(), listening.getsockname()
                assert ends_of(accepted, None) == ends_of(accepted, Origin()) == own
                told = ("192.0.2.1", 5), ("192.0.2.2", 6)
                assert ends_of(accepted, Origin(*told)) == told
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
                assert ends_of(accepted, None) in (own, (None, None)), "who has left has none"
    one, other = socket.socketpair()
    with one, other:
        assert ends_of(one, None) == (None, None)
