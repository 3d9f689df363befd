from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from lbkit.proxy.forward import ForwardSettings
from tests.exchange.wire import GET, Client
from tests.proxy.upstreams import Behaviour, Proxy, Upstream, proxy, upstream
from tests.support.loops import on_both_loops, until

WISH = (
    b"GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, X-Secret\r\nUpgrade: WebSocket\r\n"
    b"Sec-WebSocket-Key: k\r\nX-Secret: s\r\n\r\n"
)
YES = b"HTTP/1.1 101 Now\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: a\r\nKeep-Alive: 5\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def echo(client: Client) -> None:
    """Changes the protocol to an echo, which ends when the client's side does."""
    await client.reader.readuntil(b"\r\n\r\n")
    client.send(YES)
    while data := await client.reader.read(65536):
        client.send(data)
        await client.writer.drain()


@contextlib.asynccontextmanager
async def tunnel(
    behaviour: Behaviour = echo, settings: ForwardSettings | None = None, buffer: int = 0
) -> AsyncIterator[tuple[Upstream, Proxy, Client]]:
    """A client whose wish was granted."""
    async with upstream(behaviour) as a, proxy(a.server, settings=settings) as lb:
        async with lb.site.client(receive_buffer=buffer) as client:
            client.send(WISH)
            assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 Now\r\n")
            yield a, lb, client


async def all_given_back(a: Upstream, lb: Proxy) -> None:
    await until(lambda: not lb.pool.open_sessions and not lb.site.http.connections and not a.open)
    assert not lb.forwarder._tunnels and not any(one.is_asked for one in lb.forwarder._watched)
    assert a.server.counters.response_errors == 0


@on_both_loops
async def test_both_heads_and_what_follows() -> None:
    heads: list[bytes] = []

    async def serve(client: Client) -> None:
        heads.append(await client.reader.readuntil(b"\r\n\r\n"))
        client.send(YES + b"early")
        assert await client.reader.readexactly(5) == b"hello"
        client.send(b"late")

    async with upstream(serve) as a, proxy(a.server) as lb, lb.site.client() as client:
        logged: list[tuple[int, int, str]] = []
        lb.site.http.access_log = lambda exchange, trail: logged.append(
            (exchange.status, exchange.bytes_out, trail.end)
        )
        client.send(WISH)
        head = await client.until(b"\r\n\r\n")
        assert head.split(b"\r\n") == [
            b"HTTP/1.1 101 Now", b"Sec-WebSocket-Accept: a", b"Connection: Upgrade", b"Upgrade: websocket", b"", b""
        ]  # fmt: skip
        assert await client.exactly(5) == b"early"
        assert lb.pool.open_sessions == 1
        client.send(b"hello")
        assert await client.rest() == b"late"
        lines = heads[0].split(b"\r\n")
        assert lines[0] == b"GET /chat HTTP/1.1" and b"Sec-WebSocket-Key: k" in lines
        assert lines[-4:] == [b"Upgrade: websocket", b"Connection: Upgrade", b"", b""]
        assert not any(line.startswith(b"X-Secret") for line in lines)
        await client.close()
        await all_given_back(a, lb)
        assert logged == [(101, 9, "")]
        counters = lb.site.http.counters
        assert counters.responses[1] == 1 and counters.bytes_out == len(head) + 9
        assert counters.bytes_in == len(WISH) + 5 and counters.client_errors == 0
        assert a.server.counters.bytes_out == len(YES) + 9 and a.server.counters.bytes_in == len(heads[0]) + 5


@on_both_loops
async def test_nothing_is_sent_on_before_the_101_and_then_all_of_it() -> None:
    may_answer = asyncio.Event()
    before: list[bytes] = []

    async def slow(client: Client) -> None:
        await client.reader.readuntil(b"\r\n\r\n")
        await may_answer.wait()
        before.append(bytes(client.reader._buffer))  # type: ignore[attr-defined]
        client.send(YES)
        client.send(await client.reader.readexactly(9))

    async with upstream(slow) as a, proxy(a.server) as lb, lb.site.client() as client:
        client.send(WISH + b"one")
        await until(lambda: lb.pool.open_sessions == 1)
        client.send(b"two")
        client.send(b"six")
        (connection,) = lb.site.http.connections
        await until(lambda: connection._engine.buffered == 9)
        may_answer.set()
        await client.until(b"\r\n\r\n")
        assert await client.rest() == b"onetwosix" and before == [b""]


@on_both_loops
async def test_where_it_is_refused_what_follows_is_the_next_request() -> None:
    heads: list[bytes] = []

    async def refuse(client: Client) -> None:
        while True:
            heads.append(await client.reader.readuntil(b"\r\n\r\n"))
            client.send(OK)

    smuggled = b"GET /admin HTTP/1.1\r\nHost: other\r\n\r\n"
    async with upstream(refuse) as a, proxy(a.server) as lb, lb.site.client() as client:
        client.send(WISH + smuggled)
        for _ in range(2):
            assert (await client.response())[2] == b"ok"
        assert heads[1].startswith(b"GET /admin HTTP/1.1\r\nHost: other\r\n")
        assert b"X-Forwarded-For: 127.0.0.1\r\n" in heads[1]  # it went all the way of a request
        client.send(b"\x81\x05hello")
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")
        assert a.connections == 1 and len(heads) == 2


@on_both_loops
@pytest.mark.parametrize(
    "wish",
    [
        WISH.replace(b"WebSocket", b"h2c").replace(b"Upgrade, X-Secret", b"Upgrade, HTTP2-Settings"),
        WISH.replace(b"HTTP/1.1", b"HTTP/1.0"),
        WISH.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n"),
        WISH.replace(b"Upgrade, X-Secret", b"keep-alive"),
    ],
)
async def test_a_wish_that_is_not_allowed_is_not_sent_on(wish: bytes) -> None:
    heads: list[bytes] = []

    async def serve(client: Client) -> None:
        heads.append(await client.reader.readuntil(b"\r\n\r\n"))
        client.send(OK)

    async with upstream(serve) as a, proxy(a.server) as lb, lb.site.client() as client:
        client.send(wish)
        assert (await client.response())[2] == b"ok"
        assert b"pgrade" not in heads[0]


@on_both_loops
@pytest.mark.parametrize(
    "answer",
    [
        YES.replace(b"websocket", b"h2c"),
        YES.replace(b"Upgrade: websocket\r\n", b""),
        YES.replace(b"Sec-", b"Content-Length: 3\r\nSec-"),
    ],
)
async def test_a_wrong_101_is_a_bad_answer(answer: bytes) -> None:
    async def serve(client: Client) -> None:
        await client.reader.readuntil(b"\r\n\r\n")
        client.send(answer)
        await client.reader.read()

    async with upstream(serve) as a, proxy(a.server) as lb, lb.site.client() as client:
        client.send(WISH)
        assert (await client.response())[0] == 502
        assert a.server.counters.response_errors == 1 and lb.pool.open_sessions == 0


@on_both_loops
async def test_a_101_that_nobody_asked_for_is_a_bad_answer() -> None:
    async def serve(client: Client) -> None:
        await client.reader.readuntil(b"\r\n\r\n")
        client.send(YES)
        await client.reader.read()

    async with upstream(serve) as a, proxy(a.server) as lb, lb.site.client() as client:
        client.send(GET)
        assert (await client.response())[0] == 502


@on_both_loops
async def test_the_client_may_end_its_side_first() -> None:
    async with tunnel() as (a, lb, client):
        client.send(b"last words")
        client.writer.write_eof()
        assert await client.rest() == b"last words"
        await client.close()
        await all_given_back(a, lb)


@on_both_loops
async def test_the_server_may_end_its_side_first() -> None:
    got: list[bytes] = []

    async def half(client: Client) -> None:
        await client.reader.readuntil(b"\r\n\r\n")
        client.send(YES)
        client.writer.write_eof()
        got.append(await client.reader.read())

    async with tunnel(half) as (a, lb, client):
        assert await client.rest() == b""
        client.send(b"still here")
        client.writer.write_eof()
        await until(lambda: got == [b"still here"])
        await client.close()
        await all_given_back(a, lb)


@on_both_loops
async def test_a_client_that_is_gone_takes_the_server_along_and_the_other_way_round() -> None:
    async with tunnel() as (a, lb, client):
        client.writer.transport.abort()
        await all_given_back(a, lb)

    async def leave(client: Client) -> None:
        await client.reader.readuntil(b"\r\n\r\n")
        client.send(YES)
        await client.reader.readexactly(1)
        client.writer.transport.abort()

    async with tunnel(leave) as (a, lb, client):
        client.send(b"x")
        with contextlib.suppress(ConnectionError):
            await client.rest()
        await client.close()
        await all_given_back(a, lb)


@on_both_loops
async def test_a_slow_client_holds_the_server_back() -> None:
    sent = 0

    async def flood(client: Client) -> None:
        nonlocal sent
        await client.reader.readuntil(b"\r\n\r\n")
        client.send(YES)
        for _ in range(400):
            client.send(bytes(65536))
            await client.writer.drain()
            sent += 65536
        client.writer.write_eof()
        await client.reader.read()

    async with tunnel(flood, buffer=4096) as (_, _, client):
        seen = -1
        while seen != sent:
            seen = sent
            await asyncio.sleep(0.05)
        assert sent < 400 * 65536
        size = 0
        while data := await client.reader.read(2**20):
            size += len(data)
        assert size == 400 * 65536


@on_both_loops
async def test_a_slow_server_holds_the_client_back() -> None:
    may_read, total = asyncio.Event(), 400 * 65536

    async def lazy(client: Client) -> None:
        await client.reader.readuntil(b"\r\n\r\n")
        client.send(YES)
        await may_read.wait()
        client.send(b"%d" % len(await client.reader.read(-1)))

    async with tunnel(lazy) as (_, lb, client):
        (one,) = lb.forwarder._tunnels
        client.send(bytes(total))
        client.writer.write_eof()
        seen = -1
        while seen != one._client.received:
            seen = one._client.received
            await asyncio.sleep(0.05)
        assert seen < total and one._upstream.unsent() < 2**20
        may_read.set()
        assert await client.rest() == b"%d" % total


@on_both_loops
async def test_silence_of_both_sides_ends_it() -> None:
    async with tunnel(settings=ForwardSettings(tunnel=0.2)) as (a, lb, client):
        for _ in range(4):
            await asyncio.sleep(0.1)
            client.send(b"x")
            assert await client.exactly(1) == b"x"
        with contextlib.suppress(ConnectionError):
            assert await client.rest() == b""
        await all_given_back(a, lb)


@on_both_loops
async def test_it_is_drained_as_a_session_and_cut_at_the_end() -> None:
    async with tunnel() as (a, lb, client):
        draining = asyncio.create_task(lb.site.http.drain(0.2))
        await asyncio.sleep(0)
        client.send(b"x")
        assert await client.exactly(1) == b"x"
        assert await draining == 1
        with contextlib.suppress(ConnectionError):
            assert await client.rest() == b""
        await all_given_back(a, lb)


@on_both_loops
async def test_a_client_that_left_before_the_101() -> None:
    may_answer = asyncio.Event()

    async def slow(client: Client) -> None:
        await client.reader.readuntil(b"\r\n\r\n")
        await may_answer.wait()
        client.send(YES)
        await client.reader.read()

    async with upstream(slow) as a, proxy(a.server) as lb:
        async with lb.site.client() as client:
            client.send(WISH)
            await until(lambda: a.open == 1 and lb.pool.open_sessions == 1)
        await until(lambda: lb.pool.open_sessions == 0)
        may_answer.set()
        await all_given_back(a, lb)
