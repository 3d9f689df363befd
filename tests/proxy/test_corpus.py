"""The corpus through a live proxy, the express way included, with servers behind that keep what they see."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.exchange.h2_client import GET as GET2
from tests.exchange.h2_client import h2_site
from tests.exchange.wire import GET, LAST_GET, Client
from tests.http.corpus import H2_REQUESTS, PASSED, REQUESTS, RESPONSES, Answer, Case
from tests.proxy.upstreams import Proxy, Upstream, proxy, upstream
from tests.support.loops import on_both_loops, until
from tests.support.recording import Recorder, read_response, recorder

SIZES = [1, 7, 1_000_000]
WHOLE = SIZES[-1]


@contextlib.asynccontextmanager
async def recorded() -> AsyncIterator[tuple[Recorder, Proxy]]:
    """A proxy in front of a recorder, to which it keeps a connection."""
    async with recorder() as behind, proxy(behind.server) as lb:
        async with lb.site.client() as client:
            client.send(LAST_GET)
            await client.rest()
        behind.seen.clear()
        yield behind, lb


async def send(client: Client, data: bytes, size: int) -> None:
    """*data* in pieces of *size*; of large data only the first bytes come in small ones."""
    small = min(len(data), 400)
    starts = range(0, small, size) if size < WHOLE else ()
    for start in starts:
        client.send(data[start : min(start + size, small)])
        await asyncio.sleep(0)
    client.send(data[small if size < WHOLE else 0 :])


def method_of(data: bytes) -> str:
    return data.lstrip(b"\r\n").split(b" ")[0].decode("latin-1")


async def ask(client: Client, case: Case) -> list[int]:
    """The statuses of all answers; to the end, where the last request is refused."""
    statuses = []
    async with asyncio.timeout(5):
        for place in range(len(case.bodies)):
            statuses.append(
                (await read_response(client.reader, method_of(case.data) if not place else "GET"))[0]
            )
        if case.status != 200:
            status, lines, _ = await read_response(client.reader, "GET")
            statuses.append(status)
            assert b"Connection: close" in lines
            assert await client.reader.read() == b""
    return statuses


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", REQUESTS)
def test_requests(name: str, size: int) -> None:
    """What is let through reaches the server as the same requests; of what is refused nothing is answered there."""
    case = REQUESTS[name]

    async def run() -> None:
        async with recorded() as (behind, lb), lb.site.client() as client:
            await send(client, case.data, size)
            assert await ask(client, case) == [200] * len(case.bodies) + [case.status] * (case.status != 200)
            assert tuple(request.body for request in behind.seen) == case.bodies
            client.send(LAST_GET)  # where the connection has been kept for it
            async with asyncio.timeout(5):
                with contextlib.suppress(ConnectionError):
                    await client.reader.read()
            assert len(behind.seen) - len(case.bodies) in ((0, 1) if case.status == 200 else (0,))
            assert not behind.misread

    asyncio.run(run())


@pytest.mark.parametrize("name", [name for name, case in REQUESTS.items() if case.data.startswith(b"GET")])
def test_a_second_request_of_a_connection(name: str) -> None:
    """It could go express: then its answer is the same."""
    case = REQUESTS[name]

    async def run() -> None:
        async with recorded() as (behind, lb), lb.site.client() as client:
            client.send(GET)
            assert (await client.response())[0] == 200
            client.send(case.data)
            assert await ask(client, case) == [200] * len(case.bodies) + [case.status] * (case.status != 200)
            assert tuple(request.body for request in behind.seen[1:]) == case.bodies
            assert not behind.misread

    asyncio.run(run())


@pytest.mark.parametrize("body", [False, True], ids=["without a body", "with a body"])
@pytest.mark.parametrize("name", PASSED)
def test_fields_for_the_next_hop(name: str, body: bool) -> None:
    case = PASSED[name]
    framing = (b"Content-Length: 3",) if body else ()
    request = b"\r\n".join(
        [b"GET / HTTP/1.1", b"Host: a.example", *case.sent, *framing, b"", b"abc" if body else b""]
    )

    async def run() -> None:
        async with recorded() as (behind, lb), lb.site.client() as client:
            for _ in range(2):  # the second one may go express
                client.send(request)
                async with asyncio.timeout(5):
                    await read_response(client.reader, "GET")
                if b"Connection: close" in request or b", close" in request:
                    break
            for seen in behind.seen:
                assert seen.body == (b"abc" if body else b"")
                assert not set(case.reach) - set(seen.lines)
                assert not [line for line in seen.lines if line.lower().startswith(case.vanish or (b"\0",))]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("method", "value", "status", "sent"),
    [
        ("OPTIONS", b"3", 200, b"Max-Forwards: 2"),
        ("TRACE", b"1", 200, b"Max-Forwards: 0"),
        ("OPTIONS", b"0", 200, None),
        ("TRACE", b"0", 501, None),
        ("OPTIONS", b"x", 200, b"Max-Forwards: x"),
        ("GET", b"0", 200, b"Max-Forwards: 0"),
    ],
)
def test_max_forwards(method: str, value: bytes, status: int, sent: bytes | None) -> None:
    """RFC 9110 §7.6.2: counted down for these methods, and at 0 it is answered here."""

    async def run() -> None:
        async with recorded() as (behind, lb), lb.site.client() as client:
            for _ in range(2):  # the second one could go express
                client.send(
                    b"%b /a HTTP/1.1\r\nHost: h\r\nMax-Forwards: %b\r\n\r\n" % (method.encode(), value)
                )
                assert (await client.response())[0] == status
            assert [sent in seen.lines for seen in behind.seen] == ([] if sent is None else [True, True])

    asyncio.run(run())


class Script:
    """Answers the second request with *answer*, in pieces of *size*, and all others with a small one."""

    def __init__(self, answer: Answer, size: int) -> None:
        self.answer = answer
        self.size = size
        self.requests = 0

    async def __call__(self, client: Client) -> None:
        while True:
            await client.reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            if self.requests != 2:
                client.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                continue
            await send(client, self.answer.data, self.size)
            if self.answer.ends:
                return


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", RESPONSES)
def test_responses(name: str, size: int) -> None:
    """What the client sees of it, and whether the connection to the server is used again."""
    answer = RESPONSES[name]

    async def run() -> None:
        script = Script(answer, size)
        async with upstream(script) as a, proxy(a.server) as lb, lb.site.client() as client:
            client.send(GET)
            assert (await client.response())[2] == b"ok"
            # Not to be sent again when there is no answer.
            method = b"POST" if answer.status == 502 and answer.ends else answer.method.encode()
            client.send(GET.replace(b"GET", method))
            async with asyncio.timeout(5):
                if answer.cut:
                    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                        await read_response(client.reader, answer.method)
                    return
                status, lines, body = await read_response(client.reader, answer.method)
            assert status == answer.status
            if status == 502:
                await until(lambda: not a.open)
                return
            assert body == answer.body
            if status == 204:
                assert not [
                    line
                    for line in lines
                    if line.lower().startswith((b"content-length", b"transfer-encoding"))
                ]
            await is_used_again(a, lb, client, answer)

    asyncio.run(run())


async def is_used_again(a: Upstream, lb: Proxy, client: Client, answer: Answer) -> None:
    if not answer.kept:
        await until(lambda: not a.open)
    client.send(GET)
    assert (await client.response())[2] == b"ok"
    assert a.connections == (1 if answer.kept else 2)
    assert lb.pool.open_sessions == 0


@on_both_loops
async def test_many_requests_at_once_that_nobody_can_answer() -> None:
    """Each is answered at once, in the middle of the one before it."""
    async with proxy() as lb, lb.site.client() as client:
        client.send(GET * 999 + LAST_GET)
        assert (await client.rest()).count(b"HTTP/1.1 503 ") == 1000


@pytest.mark.parametrize("name", H2_REQUESTS)
def test_requests_of_http2(name: str) -> None:
    """The server behind speaks HTTP/1.1, and sees what was said and nothing else."""
    case = H2_REQUESTS[name]

    async def run() -> None:
        async with recorded() as (behind, lb), h2_site(lb.site.http.handler) as client:
            base = [field for field in GET2 if field[0] != b":method"] + [(b":method", b"POST")]
            number = client.request(*case.fields, base=base, end=case.body is None)
            if case.body is not None:
                client.body(number, case.body, end=True)
            await client.until(lambda: number in client.ended or number in client.reset or client.goaway)
            if case.status:
                assert (await client.response(number))[0] == case.status
            else:
                assert number not in client.ended
            assert not lb.pool.open_sessions
            assert not behind.misread
            expected = [("POST", "/", case.body or b"")] if case.status == 200 else []
            assert [seen.what for seen in behind.seen] == expected

    asyncio.run(run())
