from __future__ import annotations

import asyncio
import socket

import pytest

from lbkit.errors import BadResponse, ConnectFailed, ServerTimeout
from lbkit.http.engine import Limits
from lbkit.http.messages import Body, End, Interim, Response
from lbkit.proxy.upstream import IdleConnections, UpstreamConnection, adopt
from lbkit.server import Server
from tests.support.loops import on_both_loops, settle

HOST = [(b"Host", b"h")]
SERVER = Server("a", "127.0.0.1:1")


async def pair(server: Server = SERVER) -> tuple[UpstreamConnection, socket.socket]:
    """A connection, and the server's end of it as a plain socket."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return await adopt(server, ours, Limits()), theirs


async def answer(theirs: socket.socket, data: bytes) -> bytes:
    """Send *data* after a request has come, which is returned."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(5):
        request = await loop.sock_recv(theirs, 65536)
        await loop.sock_sendall(theirs, data)
    return request


class Taker:
    """Takes an answer when the test wants some of it."""

    def __init__(self, connection: UpstreamConnection) -> None:
        self.connection = connection
        self.error: Exception | None = None
        self.events: list[Response | Body | End] = []
        self.news = asyncio.Event()

    def whole(self, response: Response, body: bytes) -> None:
        self.events = [response, *([Body(body)] if body else []), End()]
        self.news.set()

    def received(self) -> None:
        self.news.set()

    def failed(self, error: Exception) -> None:
        self.error = error
        self.news.set()

    async def next_event(self) -> Response | Body | End:
        async with asyncio.timeout(5):
            while True:
                if self.error is not None:
                    raise self.error
                event = self.events.pop(0) if self.events else self.connection.next_event()
                if isinstance(event, Interim):
                    continue
                if isinstance(event, End):
                    self.connection.release()
                if event is not None:
                    return event
                self.news.clear()
                await self.news.wait()


def get(connection: UpstreamConnection) -> Taker:
    taker = Taker(connection)
    connection.begin("GET", b"/x?y", HOST, taker, has_body=False)
    return taker


async def end_of(taker: Taker) -> None:
    while not isinstance(await taker.next_event(), End):
        pass


@on_both_loops
async def test_two_requests_on_one_connection() -> None:
    server = Server("a", "127.0.0.1:1")
    connection, theirs = await pair(server)
    for _ in range(2):
        taker = get(connection)
        request = await answer(
            theirs, b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
        )
        assert request == b"GET /x?y HTTP/1.1\r\nHost: h\r\n\r\n"
        events = [await taker.next_event() for _ in range(3)]
        assert isinstance(events[0], Response) and events[1:] == [Body(b"hi"), End()]
        assert connection.is_reusable
    assert server.counters.requests == 2
    assert server.counters.bytes_in == 2 * len(request) and server.counters.bytes_out > 0
    connection.close()
    theirs.close()


@on_both_loops
async def test_a_body_goes_out_while_the_server_is_slow() -> None:
    connection, theirs = await pair()
    taker = Taker(connection)
    connection.begin("POST", b"/", [*HOST, (b"Transfer-Encoding", b"chunked")], taker, has_body=True)
    writing = asyncio.create_task(connection.write(b"x" * 10_000_000))
    await asyncio.sleep(0.01)
    assert not writing.done()
    theirs.close()
    async with asyncio.timeout(5):
        assert await writing is False
        assert await connection.write(b"more") is False
        with pytest.raises(BadResponse):
            await taker.next_event()
    connection.finish()


@on_both_loops
async def test_a_slow_reader_holds_the_server_back() -> None:
    connection, theirs = await pair()
    taker = get(connection)
    await answer(theirs, b"HTTP/1.1 200 OK\r\nContent-Length: 90000000\r\n\r\n")
    await taker.next_event()
    connection.pause()
    loop = asyncio.get_running_loop()
    sending = loop.create_task(loop.sock_sendall(theirs, b"x" * 90_000_000))
    await asyncio.sleep(0.05)
    assert connection.server.counters.bytes_out < 2_000_000
    assert not sending.done()
    sending.cancel()
    connection.abort(BadResponse("enough"))
    await asyncio.gather(sending, return_exceptions=True)
    await settle()
    theirs.close()


@on_both_loops
async def test_a_silent_server_is_given_up_only_when_it_is_its_turn() -> None:
    connection, theirs = await pair()
    loop = asyncio.get_running_loop()
    taker = Taker(connection)
    connection.begin("POST", b"/", [*HOST, (b"Content-Length", b"2")], taker, has_body=True)
    waiting = asyncio.create_task(taker.next_event())
    await settle()
    connection.check(loop.time() + 100, 60)
    await settle()
    assert not waiting.done()  # the client has to send the rest of its body first
    await connection.write(b"ok")
    connection.finish()
    connection.check(loop.time() + 59, 60)
    await settle()
    assert not waiting.done()
    connection.check(loop.time() + 61, 60)
    with pytest.raises(ServerTimeout):
        await waiting
    theirs.close()


@on_both_loops
async def test_a_reset_is_no_end_of_a_body() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    ours = socket.create_connection(listening.getsockname())
    ours.setblocking(False)
    theirs, _ = listening.accept()
    theirs.setblocking(False)
    connection = await adopt(SERVER, ours, Limits())
    taker = get(connection)
    await answer(theirs, b"HTTP/1.1 200 OK\r\n\r\nhalf")
    assert isinstance(await taker.next_event(), Response)
    assert isinstance(await taker.next_event(), Body)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    listening.close()
    with pytest.raises(BadResponse):
        await end_of(taker)


# ---- kept connections ----


LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000
"""More than is buffered before the server has to wait, and yet it fits into one read."""


async def kept(
    idle: IdleConnections, now: float, server: Server = SERVER, response: bytes = b"HTTP/1.1 204 N\r\n\r\n"
) -> tuple[UpstreamConnection, socket.socket]:
    connection, theirs = await pair(server)
    taker = get(connection)
    await answer(theirs, response)
    await end_of(taker)
    idle.put(connection, now)
    return connection, theirs


@on_both_loops
async def test_the_one_used_last_is_used_first_and_old_ones_go() -> None:
    idle = IdleConnections(2, 4.0)
    made = [await kept(idle, now) for now in (0.0, 1.0, 2.0)]
    assert len(idle) == 2  # the oldest had to go
    assert idle.take(SERVER, 3.0) is made[2][0]
    assert idle.take(SERVER, 5.0) is None  # the other one is too old by now
    idle.expire(5.0)
    assert len(idle) == 0
    made[2][0].close()
    await settle()
    for _, theirs in made:
        theirs.close()


@on_both_loops
@pytest.mark.parametrize("event", ["closes", "speaks"])
@pytest.mark.parametrize("response", [b"HTTP/1.1 204 N\r\n\r\n", LARGE], ids=["small", "large"])
async def test_a_server_that_moves_unasked_loses_its_kept_connection(event: str, response: bytes) -> None:
    idle = IdleConnections(2, 4.0)
    _, theirs = await kept(idle, 0.0, response=response)
    if event == "closes":
        theirs.close()
    else:
        theirs.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    async with asyncio.timeout(5):
        while len(idle):
            await asyncio.sleep(0)
    assert idle.take(SERVER, 0.0) is None
    await settle()  # it is out at once, and closed in the loop's next rounds
    theirs.close()


@on_both_loops
async def test_what_is_kept_for_a_server_is_forgotten_with_it() -> None:
    idle = IdleConnections(2, 4.0)
    other = Server("b", "127.0.0.1:2")
    ends = [(await kept(idle, 0.0))[1], (await kept(idle, 0.0, other))[1]]
    idle.forget(SERVER)
    assert len(idle) == 1 and idle.take(SERVER, 0.0) is None
    idle.close()
    assert len(idle) == 0
    await settle()
    for end in ends:
        end.close()


@on_both_loops
async def test_what_a_connection_was_introduced_with_it_stays() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()
    connection = await adopt(SERVER, ours, Limits(), introduction=b"PROXY x\r\n")
    assert await loop.sock_recv(theirs, 100) == b"PROXY x\r\n"
    idle = IdleConnections(2, 4.0)
    taker = get(connection)
    await answer(theirs, b"HTTP/1.1 204 N\r\n\r\n")
    await end_of(taker)
    idle.put(connection, 0.0)
    other = await kept(idle, 1.0)
    assert idle.take(SERVER, 1.0, b"PROXY y\r\n") is None
    assert idle.take(SERVER, 5.0, b"PROXY x\r\n") is None, "too old by then"
    assert idle.take(SERVER, 1.0, b"PROXY x\r\n") is connection
    idle.put(connection, 1.0)
    assert idle.take(SERVER, 1.0) is other[0], "the other one is of no use to it, and is closed"
    assert len(idle) == 0
    other[0].close()
    await settle()
    theirs.close()
    other[1].close()


@on_both_loops
async def test_a_connection_that_is_lost_before_its_introduction() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.close()
    with pytest.raises(ConnectFailed):
        await adopt(SERVER, ours, Limits(), introduction=b"PROXY x\r\n")
