from __future__ import annotations

import asyncio
import socket

from lbkit.errors import ClientError
from lbkit.proxy.hello_peek import HelloPeek
from lbkit.tls import ClientHello
from tests.relay.joined import reset, tcp_pair
from tests.support.loops import on_both_loops, until
from tests.tls.test_client_hello import hello, in_records


class Peeking:
    def __init__(self) -> None:
        self.client, self.sock = tcp_pair()
        self.results: list[ClientHello | ClientError] = []
        self.peek = HelloPeek(asyncio.get_running_loop(), self.sock, self.results.append)
        self.peek.start()

    def close(self) -> None:
        self.client.close()
        self.sock.close()


@on_both_loops
async def test_the_hello_is_read_and_still_there() -> None:
    made, data = Peeking(), hello("a.example", ["h2"])
    made.client.send(data + b"more")
    await until(lambda: made.results)
    assert made.results == [ClientHello("a.example", (b"h2",))]
    assert made.sock.recv(65536) == data + b"more"
    assert made.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
    made.close()


@on_both_loops
async def test_a_client_that_drips() -> None:
    made, data = Peeking(), in_records(hello("a.example")[5:], [100, 1, 50])
    for byte in data[:-1]:
        made.client.send(bytes([byte]))
        await asyncio.sleep(0)
    await asyncio.sleep(0.02)
    assert not made.results
    made.client.send(data[-1:])
    await until(lambda: made.results)
    assert made.results == [ClientHello("a.example")]
    assert made.sock.recv(65536) == data
    made.close()


@on_both_loops
async def test_what_is_no_hello() -> None:
    made = Peeking()
    made.client.send(b"GET / HTTP/1.1\r\n\r\n")
    await until(lambda: made.results)
    (error,) = made.results
    assert isinstance(error, ClientError)
    assert str(error) == "not TLS"
    made.close()


@on_both_loops
async def test_clients_that_leave() -> None:
    for part in (b"", hello()[:100], hello()[:3]):
        made = Peeking()
        made.client.send(part)
        await asyncio.sleep(0.01)
        assert not made.results
        made.client.shutdown(socket.SHUT_WR)
        await until(lambda: made.results)  # noqa: B023 - of this round
        assert str(made.results[0]).startswith("the client left before its ClientHello")
        made.close()
    made = Peeking()
    reset(made.client)
    await until(lambda: made.results)
    assert str(made.results[0]).startswith("the client left before its ClientHello")
    made.close()


@on_both_loops
async def test_after_cancel_nothing_is_told() -> None:
    made = Peeking()
    made.peek.cancel()
    made.client.send(hello())
    await asyncio.sleep(0.01)
    assert not made.results
    made.close()
