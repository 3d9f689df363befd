"""One connection: order, errors, limits and timeouts, over real sockets."""

from __future__ import annotations

import asyncio
import errno
import logging

import pytest

from lbkit.errors import (
    BadResponse,
    ClientError,
    ConnectFailed,
    LbkitError,
    NoServerAvailable,
    ServerTimeout,
)
from lbkit.exchange import Exchange, HttpSettings
from tests.exchange.wire import GET, LAST_GET, Client, Site, ask, site
from tests.http.corpus import REQUESTS
from tests.support.loops import on_both_loops

POST = b"POST / HTTP/1.1\r\nHost: h\r\n"


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def empty(exchange: Exchange) -> None:
    await exchange.respond(200, [])


async def path(exchange: Exchange) -> None:
    while await exchange.read():
        pass
    await exchange.respond(200, [], exchange.request.path)


async def until(condition: asyncio.Event) -> None:
    async with asyncio.timeout(5):
        await condition.wait()


async def served(where: Site, size: int) -> None:
    """Wait until *size* bytes have reached the server."""
    async with asyncio.timeout(5):
        while where.http.counters.bytes_in < size:
            await asyncio.sleep(0)


@pytest.mark.parametrize("name", REQUESTS)
def test_the_corpus_of_raw_requests(name: str) -> None:
    case = REQUESTS[name]
    status = 200 if case.bodies else case.status  # of the first answer

    async def run() -> None:
        async with site(path) as where, where.client() as client:
            client.send(case.data)
            client.writer.write_eof() if case.status == 200 else None
            head = await client.until(b"\r\n")
            assert head.split()[1] == b"%d" % status
            rest = await client.rest()
            assert status == 200 or b"Connection: close" in rest

    asyncio.run(run())


@on_both_loops
async def test_pipelined_requests_are_answered_in_order() -> None:
    async def handler(exchange: Exchange) -> None:
        if exchange.request.path == b"/slow":
            await asyncio.sleep(0.01)
        await path(exchange)

    parts = [b"/slow", b"/a", b"/b", b"/slow", b"/c"]
    data = b"".join(b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n" % part for part in parts)
    data = data.replace(b"/b HTTP/1.1\r\n", b"/b HTTP/1.1\r\nContent-Length: 3\r\n").replace(
        b"Content-Length: 3\r\nHost: h\r\n\r\n", b"Content-Length: 3\r\nHost: h\r\n\r\nabc"
    )
    async with site(handler) as where, where.client() as client:
        client.send(data)
        assert [(await client.response())[2] for _ in parts] == parts


@on_both_loops
async def test_requests_sent_ahead_are_not_read_without_bound() -> None:
    go_on = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        await go_on.wait()
        await exchange.respond(200, [])

    count = 100_000
    async with site(handler, HttpSettings(max_requests=count + 1)) as where, where.client() as client:
        client.send(GET)
        await served(where, len(GET))
        for _ in range(20):
            client.send(GET * (count // 20))
            await asyncio.sleep(0.005)
        assert where.http.counters.bytes_in < 1_000_000 < len(GET) * count


@on_both_loops
@pytest.mark.parametrize("leaves", [False, True])
async def test_no_request_sent_ahead_is_begun_while_responses_are_unread(leaves: bool) -> None:
    size, count = 200_000, 50

    async def handler(exchange: Exchange) -> None:
        await exchange.respond(200, [], exchange.request.path + b"x" * size)

    async with site(handler) as where, where.client(receive_buffer=4096) as client:
        for number in range(10, 10 + count):
            client.send(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % number)
        if leaves:
            client.writer.write_eof()
        await asyncio.sleep(0.1)
        assert where.http.counters.bytes_out < where.http.counters.requests * (size + 1000) < count * size / 2
        for number in range(10, 10 + count):
            _, _, body = await client.response()
            assert body == b"/%d" % number + b"x" * size


@on_both_loops
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NoServerAvailable("a down"), 503),
        (ServerTimeout("a silent"), 504),
        (ConnectFailed("refused"), 502),
        (BadResponse("garbage"), 502),
        (ClientError("absent", 404), 404),
        (ClientError("no", 418), 418),
    ],
)
async def test_errors_become_statuses_without_internals(error: LbkitError, status: int) -> None:
    async def handler(exchange: Exchange) -> None:
        raise error

    async with site(handler) as where, where.client() as client:
        for _ in range(2):  # and the connection goes on
            client.send(GET)
            found, _, body = await client.response()
            assert found == status and str(error).encode() not in body


@on_both_loops
async def test_a_bug_is_logged_and_answered_with_500(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(exchange: Exchange) -> None:
        raise ZeroDivisionError("the secret inside")

    with caplog.at_level(logging.ERROR, "lbkit.http"):
        answer = await ask(handler, LAST_GET)
    assert answer.startswith(b"HTTP/1.1 500 ") and b"secret" not in answer
    assert "ZeroDivisionError: the secret inside" in caplog.text


@on_both_loops
@pytest.mark.parametrize("bug", ["raises", "returns"])
async def test_a_response_that_stops_half_way_never_looks_complete(bug: str) -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.start(200, [])
        await exchange.write(b"half")
        if bug == "raises":
            raise ZeroDivisionError

    for request in (LAST_GET, b"GET / HTTP/1.0\r\n\r\n"):
        with pytest.raises(ConnectionResetError):
            await ask(handler, request)


@on_both_loops
async def test_a_handler_that_forgets_to_answer() -> None:
    async def handler(exchange: Exchange) -> None:
        pass

    assert (await ask(handler, LAST_GET)).startswith(b"HTTP/1.1 500 ")


@on_both_loops
@pytest.mark.parametrize("started", [False, True])
async def test_a_handler_that_stops_because_its_client_left_is_no_bug(
    started: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(exchange: Exchange) -> None:
        if started:
            await exchange.start(200, [])
        await exchange.wait_disconnected()

    async with site(handler) as where:
        async with where.client() as client:
            client.send(GET)
            await served(where, len(GET))
            if started:
                await client.until(b"\r\n\r\n")  # with something unread it would leave with a reset
        async with asyncio.timeout(5):
            while where.http.open_connections:
                await asyncio.sleep(0)
    assert not caplog.records


@on_both_loops
async def test_a_machine_without_descriptors_is_reported_once_a_second(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(exchange: Exchange) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    async with site(handler, clock=Clock()) as where, where.client() as client:
        for _ in range(3):
            client.send(GET)
            assert (await client.response())[0] == 500
    assert [record.exc_info for record in caplog.records] == [None]


@on_both_loops
async def test_fields_that_cannot_be_sent_and_lengths_that_lie() -> None:
    async def injected(exchange: Exchange) -> None:
        await exchange.respond(200, [(b"A", b"b\r\nC: d")])

    async def lying(exchange: Exchange) -> None:
        await exchange.respond(200, [(b"Content-Length", b"2")], b"abc")

    assert (await ask(injected, LAST_GET)).startswith(b"HTTP/1.1 500 ")
    with pytest.raises(ConnectionResetError):
        await ask(lying, LAST_GET)


@on_both_loops
async def test_a_small_unread_body_is_skipped_and_a_large_one_closes() -> None:
    settings = HttpSettings(unread_body=1000)
    async with site(empty, settings) as where:
        async with where.client() as client:
            client.send(POST + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000 + LAST_GET)
            assert (await client.rest()).count(b"HTTP/1.1 200 OK") == 2
        async with where.client() as client:
            client.send(POST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 2000)
            assert (await client.rest()).count(b"HTTP/1.1 200 OK") == 1


@on_both_loops
async def test_a_refusal_can_be_read_although_the_client_still_sends() -> None:
    """A close at once would be a reset, which takes the response away from the client."""
    async with site(empty) as where, where.client() as client:
        client.send(b"GET / HTTP/9.9\r\nHost: h\r\n\r\n")
        for _ in range(50):
            client.send(b"x" * 20_000)
            await asyncio.sleep(0)
        assert (await client.rest()).startswith(b"HTTP/1.1 505 ")


@on_both_loops
async def test_a_body_that_turns_out_malformed() -> None:
    async with site(path) as where, where.client() as client:
        client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await served(where, 10)
        client.send(b"nonsense\r\n")
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")


@on_both_loops
async def test_work_after_the_response_does_not_hold_up_the_next_request() -> None:
    release = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        await exchange.respond(200, [])
        await release.wait()

    async with site(handler) as where, where.client() as client:
        for _ in range(3):
            client.send(GET)
            await client.response()
        release.set()


@on_both_loops
async def test_the_last_request_of_a_connection_says_so() -> None:
    async with site(empty, HttpSettings(max_requests=2)) as where, where.client() as client:
        client.send(GET * 3)
        assert "connection" not in (await client.response())[1]
        client.send(GET * 100)
        assert (await client.response())[1]["connection"] == "close"
        assert await client.rest() == b""
        assert where.http.counters.requests == 2


@on_both_loops
async def test_http_1_0_closes_unless_it_asks_to_stay() -> None:
    assert b"Connection: close" in await ask(empty, b"GET / HTTP/1.0\r\n\r\n")
    both = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + b"GET / HTTP/1.0\r\n\r\n"
    first, _, second = (await ask(empty, both)).partition(b"\r\n\r\n")
    assert b"\r\nConnection: keep-alive" in first and b"\r\nConnection: close\r\n" in second


@on_both_loops
async def test_a_slow_reader_holds_the_handler_back() -> None:
    written = 0

    async def handler(exchange: Exchange) -> None:
        nonlocal written
        await exchange.start(200, [])
        for _ in range(2000):
            await exchange.write(b"x" * 16384)
            written += 16384
        await exchange.end()

    async with site(handler) as where, where.client(receive_buffer=4096) as client:
        client.send(GET)
        await client.until(b"\r\n\r\n")
        before = -1
        while before != written:
            before = written
            await asyncio.sleep(0.05)
        assert written < 8_000_000


@on_both_loops
async def test_a_slow_handler_holds_the_client_back() -> None:
    go_on = asyncio.Event()
    total = 0

    async def handler(exchange: Exchange) -> None:
        nonlocal total
        await go_on.wait()
        while data := await exchange.read():
            total += len(data)
        await exchange.respond(200, [])

    size = 30_000_000
    async with site(handler) as where, where.client() as client:
        client.send(POST + b"Content-Length: %d\r\n\r\n" % size)
        client.send(b"x" * size)
        await served(where, 65_536)
        await asyncio.sleep(0.05)
        assert where.http.counters.bytes_in < 1_000_000
        go_on.set()
        assert (await client.response())[0] == 200
        assert total == size


# ---- timeouts: time is moved by hand ----


async def closes(client: Client) -> bytes:
    return await client.rest()


@on_both_loops
async def test_idle_connections_are_closed_in_silence() -> None:
    clock = Clock()
    async with site(empty, clock=clock) as where, where.client() as fresh, where.client() as used:
        used.send(GET)
        await used.response()
        while where.http.open_connections < 2:
            await asyncio.sleep(0)
        clock.now += 11  # more than request_head
        where.http.tick(clock.now)
        assert await closes(fresh) == b""
        assert where.http.open_connections == 1
        clock.now += 76  # more than keep_alive
        where.http.tick(clock.now)
        assert await closes(used) == b""


@on_both_loops
async def test_halves_of_empty_lines_do_not_keep_a_connection() -> None:
    """An empty line before a request is none of it, however it comes."""
    clock = Clock()
    async with site(empty, clock=clock) as where, where.client() as client:
        for number in range(20):
            clock.now += 0.5
            client.send(b"\r\n"[number % 2 :][:1])
            await served(where, number + 1)
            where.http.tick(clock.now)
        assert await closes(client) == b""


@on_both_loops
async def test_a_head_that_drips_in_gets_408() -> None:
    clock = Clock()
    async with site(empty, clock=clock) as where, where.client() as client:
        client.send(b"GET / HTTP/1.1\r\n")
        await served(where, 16)
        for _ in range(3):
            clock.now += 4
            before = where.http.counters.bytes_in
            client.send(b"A: b\r\n")
            await served(where, before + 6)
            where.http.tick(clock.now)
        assert (await closes(client)).startswith(b"HTTP/1.1 408 ")


@on_both_loops
async def test_a_body_that_stops_gets_408() -> None:
    clock = Clock()
    waiting = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        assert await exchange.read() == b"ab"
        waiting.set()
        await path(exchange)

    async with site(handler, clock=clock) as where, where.client() as client:
        client.send(POST + b"Content-Length: 10\r\n\r\nab")
        await until(waiting)
        clock.now += 59
        where.http.tick(clock.now)
        clock.now += 2
        where.http.tick(clock.now)
        assert (await closes(client)).startswith(b"HTTP/1.1 408 ")


@on_both_loops
async def test_a_body_that_stops_after_the_response_began_ends_the_connection() -> None:
    clock = Clock()
    waiting = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        await exchange.start(200, [(b"Content-Length", b"2")])
        await exchange.write(b"ok")
        waiting.set()
        with pytest.raises(ClientError):
            await exchange.read()
        await exchange.end()

    async with site(handler, clock=clock) as where, where.client() as client:
        client.send(POST + b"Content-Length: 10\r\n\r\n")
        await until(waiting)
        clock.now += 61
        where.http.tick(clock.now)
        assert (await closes(client)).endswith(b"\r\n\r\nok")


@on_both_loops
async def test_empty_lines_are_no_way_to_stay() -> None:
    clock = Clock()
    async with site(empty, clock=clock) as where, where.client() as client:
        for _ in range(3):
            client.send(b"\r\n")
            await served(where, 2)
            where.http.counters.bytes_in = 0
            where.http.tick(clock.now)
            clock.now += 4
        where.http.tick(clock.now)
        assert await closes(client) == b""


@on_both_loops
async def test_a_slow_handler_is_no_slow_client() -> None:
    clock = Clock()
    go_on = asyncio.Event()
    begun = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        begun.set()
        await go_on.wait()
        await path(exchange)

    async with site(handler, clock=clock) as where, where.client() as client:
        client.send(POST + b"Content-Length: 2\r\n\r\n")
        await until(begun)
        clock.now += 1000
        where.http.tick(clock.now)
        go_on.set()
        await asyncio.sleep(0)
        where.http.tick(clock.now)
        client.send(b"ok")
        assert (await client.response())[0] == 200


@on_both_loops
async def test_a_reader_that_takes_nothing_is_cut() -> None:
    clock = Clock()
    ended = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        try:
            await exchange.respond(200, [], b"x" * 20_000_000)
        finally:
            ended.set()

    async with site(handler, clock=clock) as where, where.client(receive_buffer=4096) as client:
        client.send(GET)
        await client.until(b"\r\n\r\n")
        await asyncio.sleep(0.1)
        where.http.tick(clock.now)
        assert where.http.open_connections == 1
        clock.now += 61
        where.http.tick(clock.now)
        await until(ended)
        while where.http.open_connections:
            await asyncio.sleep(0)
        assert where.http.counters.client_errors == 1


@on_both_loops
async def test_lingering_ends() -> None:
    clock = Clock()
    async with site(empty, clock=clock) as where, where.client() as client:
        client.send(b"nonsense\r\n\r\n")
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")
        assert where.http.open_connections == 1
        clock.now += 6
        where.http.tick(clock.now)
        async with asyncio.timeout(5):
            while where.http.open_connections:
                await asyncio.sleep(0)


@on_both_loops
async def test_an_unread_body_that_stops_coming_is_not_waited_for() -> None:
    clock = Clock()
    async with site(empty, clock=clock) as where, where.client() as client:
        client.send(POST + b"Content-Length: 10\r\n\r\n")
        await client.response()
        for _ in range(3):  # a byte now and then does not prolong it
            clock.now += 21
            before = where.http.counters.bytes_in
            client.send(b"x")
            await served(where, before + 1)
        where.http.tick(clock.now)
        assert await client.rest() == b""


@on_both_loops
async def test_what_is_corked_leaves_in_one_write_and_in_order() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.cork()
        exchange.send_head(200, [])
        exchange.send_body(b"a")
        exchange.cork()
        exchange.send_body(b"x" * 70_000)  # more than is held
        exchange.cork()
        exchange.send_body(b"b")
        await asyncio.sleep(0)
        exchange.send_body(b"c")
        exchange.cork()
        exchange.send_end()

    answer = await ask(handler, LAST_GET)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"chunked" in head
    assert body == b"1\r\na\r\n11170\r\n" + b"x" * 70_000 + b"\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n"


@on_both_loops
async def test_what_is_corked_for_a_client_that_is_cut_is_dropped() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.cork()
        exchange.send_head(200, [])
        exchange.abort()
        await asyncio.sleep(0)

    with pytest.raises(ConnectionResetError):
        await ask(handler, LAST_GET)
