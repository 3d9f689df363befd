"""The forwarder between raw clients and servers that behave, and misbehave, as each test says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from lbkit.asgi import serve
from lbkit.asgi.types import Receive, Scope, Send
from lbkit.errors import Exhausted
from lbkit.exchange import Exchange, HttpSettings
from lbkit.proxy.forward import ForwardSettings
from lbkit.proxy_protocol import Header, HeaderParser
from lbkit.server import Address, Server
from tests.exchange.wire import GET, LAST_GET, Client, site
from tests.proxy.upstreams import Behaviour, proxy, refusing, upstream
from tests.support.loops import on_both_loops, until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
POST = b"POST / HTTP/1.1\r\nHost: h\r\n"


def replying(data: bytes) -> Behaviour:
    """Answers every request without a body with *data*."""

    async def behaviour(client: Client) -> None:
        while True:
            await client.reader.readuntil(b"\r\n\r\n")
            client.send(data)

    return behaviour


def once(data: bytes) -> Behaviour:
    """Answers one request with *data* and closes."""

    async def behaviour(client: Client) -> None:
        await client.reader.readuntil(b"\r\n\r\n")
        client.send(data)

    return behaviour


async def silent(client: Client) -> None:
    await client.reader.read()


async def status_of(client: Client, request: bytes = GET) -> int:
    client.send(request)
    return (await client.response())[0]


@on_both_loops
async def test_a_lack_of_descriptors_is_no_servers_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing_left(address: Address, timeout: float) -> socket.socket:
        raise Exhausted("too many open files")

    async with upstream(silent) as a, proxy(a.server) as lb, lb.site.client() as client:
        lb.forwarder._connect = nothing_left
        assert await status_of(client) == 503
        assert a.server.counters.connect_errors == 0 and a.server.open_sessions == 0
    assert a.connections == 0


@on_both_loops
async def test_a_request_and_its_response_pass_with_the_hop_fields_exchanged() -> None:
    seen: list[bytes] = []

    async def behaviour(client: Client) -> None:
        seen.append(await client.until(b"\r\n\r\n"))
        client.send(
            b"HTTP/1.1 201 Made So\r\nX-Odd-CASE: 1\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nServer: mine\r\n"
            b"Date: then\r\nConnection: X-Gone, close\r\nX-Gone: 1\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok"
        )

    async with upstream(behaviour) as a, proxy(a.server) as lb, lb.site.client() as client:
        client.send(
            b"GET /a%20b//c?d/.. HTTP/1.1\r\nHost: h:8080\r\nx-MINE: 1\r\nConnection: x-mine, keep-alive\r\nTE: trailers\r\n"
            b"Upgrade: h2c\r\nAccept: */*\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n"
        )
        head = await client.until(b"\r\n\r\n")
        assert await client.exactly(2) == b"ok"
    assert seen == [
        b"GET /a%20b//c?d/.. HTTP/1.1\r\nHost: h:8080\r\nAccept: */*\r\nX-Forwarded-For: 192.0.2.7, 127.0.0.1\r\n"
        b"X-Forwarded-Proto: http\r\nX-Forwarded-Host: h:8080\r\nVia: 1.1 lb\r\n"
        b"TE: trailers\r\nConnection: TE\r\n\r\n"
    ]
    assert head == (
        b"HTTP/1.1 201 Made So\r\nX-Odd-CASE: 1\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nServer: mine\r\n"
        b"Date: then\r\nContent-Length: 2\r\n\r\n"
    )


@on_both_loops
async def test_connections_are_kept_and_shared_between_clients() -> None:
    async with upstream(replying(OK)) as a, proxy(a.server) as lb:
        for _ in range(3):
            async with lb.site.client() as client:
                for _ in range(3):
                    assert await status_of(client) == 200
        assert a.connections == 1
        assert a.server.counters.requests == 9
        assert a.server.open_sessions == 0


@on_both_loops
async def test_a_clients_first_post_does_not_ride_a_kept_connection() -> None:
    post = POST + b"Content-Length: 0\r\n\r\n"
    async with upstream(replying(OK)) as a, proxy(a.server) as lb:
        async with lb.site.client() as client:
            assert await status_of(client) == 200
        async with lb.site.client() as client:
            assert await status_of(client, post) == 200
            assert a.connections == 2
            assert await status_of(client, post) == 200
            assert a.connections == 2


@on_both_loops
async def test_round_robin_over_two_servers() -> None:
    async with upstream(replying(OK)) as a, upstream(replying(OK), "b") as b, proxy(a.server, b.server) as lb:
        async with lb.site.client() as client:
            for _ in range(10):
                assert await status_of(client) == 200
        assert a.server.counters.requests == b.server.counters.requests == 5


# ---- framing, both ways ----


@pytest.mark.parametrize(
    ("response", "body"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nT: x\r\n\r\n",
            b"abc",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nabc", b"abc"),
        (b"HTTP/1.0 200 OK\r\n\r\nabc", b"abc"),
    ],
)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_bodies_of_unknown_length(response: bytes, body: bytes, version: str) -> None:
    async def run() -> None:
        async with upstream(once(response)) as a, proxy(a.server) as lb:
            request = f"GET / HTTP/{version}\r\nHost: h\r\nConnection: close\r\n\r\n".encode()
            head, _, rest = (await lb.site.ask(request)).partition(b"\r\n\r\n")
            assert (b"chunked" in head) is (version == "1.1")
            if version == "1.0":
                assert rest == body
            else:
                assert rest.endswith(b"0\r\n\r\n") and b"T: x" not in rest

    asyncio.run(run())


@pytest.mark.parametrize(
    ("method", "response", "status"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", 200),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", 304),
    ],
)
def test_responses_without_a_body(method: bytes, response: bytes, status: int) -> None:
    async def run() -> None:
        async with upstream(replying(response)) as a, proxy(a.server) as lb, lb.site.client() as client:
            for _ in range(2):
                client.send(method + b" / HTTP/1.1\r\nHost: h\r\n\r\n")
                head = await client.until(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 %d " % status)
                assert (b"Content-Length: 99" in head) is (status != 204)
            assert a.connections == 1

    asyncio.run(run())


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Sends each piece of the body back as it comes."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200})
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": more})


@on_both_loops
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_bodies_go_both_ways_at_the_same_time(framing: str) -> None:
    size = 8_000_000
    async with (
        serve(echo, "127.0.0.1:0") as app,
        proxy(Server("a", app.address)) as lb,
        lb.site.client() as client,
    ):
        if framing == "length":
            client.send(POST + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
        else:
            client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + b"x" * 4096 + b"\r\n")
            client.send(b"%x\r\n" % (size - 4096) + b"x" * (size - 4096) + b"\r\n0\r\n\r\n")
        await client.until(b"\r\n\r\n")
        total = 0
        while length := int(await client.until(b"\r\n"), 16):
            total += len(await client.exactly(length))
            await client.exactly(2)
        assert total == size


@on_both_loops
async def test_a_body_is_asked_for_when_the_server_is_there() -> None:
    async with (
        serve(echo, "127.0.0.1:0") as app,
        proxy(Server("a", app.address)) as lb,
        lb.site.client() as client,
    ):
        client.send(POST + b"Content-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"ok")
        assert b"ok" in await client.rest()


@on_both_loops
async def test_a_server_that_answers_before_the_body_is_there() -> None:
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with upstream(once(refusal)) as a, proxy(a.server) as lb, lb.site.client() as client:
        client.send(POST + b"Content-Length: 100000\r\n\r\n" + b"x" * 1000)
        assert (await client.response())[0] == 413
        await until(lambda: a.server.open_sessions == 0)


@on_both_loops
async def test_a_slow_client_holds_the_server_back() -> None:
    async def flood(client: Client) -> None:
        await client.until(b"\r\n\r\n")
        client.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(100):
            client.send(b"x" * 1_000_000)
            await client.writer.drain()

    async with upstream(flood) as a, proxy(a.server) as lb, lb.site.client(receive_buffer=4096) as client:
        client.send(GET)
        await client.until(b"\r\n\r\n")
        before = -1
        while before != a.server.counters.bytes_out:
            before = a.server.counters.bytes_out
            await asyncio.sleep(0.05)
        assert before < 10_000_000


# ---- servers that fail ----


@on_both_loops
async def test_a_refusing_server_is_never_noticed() -> None:
    down = refusing("down")
    async with upstream(replying(OK), "up") as up, proxy(down, up.server) as lb, lb.site.client() as client:
        for _ in range(6):
            assert await status_of(client) == 200
            assert await status_of(client, POST + b"Content-Length: 0\r\n\r\n") == 200
        assert down.counters.connect_errors == down.counters.retries > 0
        assert down.counters.requests == down.open_sessions == 0


@on_both_loops
async def test_all_servers_refuse() -> None:
    servers = [refusing("a"), refusing("b")]
    async with proxy(*servers) as lb, lb.site.client() as client:
        assert await status_of(client) == 502
        assert [server.counters.connect_errors for server in servers] == [1, 1]


@on_both_loops
async def test_retries_have_a_limit() -> None:
    servers = [refusing(name) for name in "abcdef"]
    async with proxy(*servers) as lb, lb.site.client() as client:
        assert await status_of(client) == 502
        assert sum(server.counters.connect_errors for server in servers) == 4


@on_both_loops
async def test_no_server() -> None:
    async with proxy() as lb, lb.site.client() as client:
        assert await status_of(client) == 503


@on_both_loops
async def test_a_silent_server_is_a_504() -> None:
    settings = ForwardSettings(server=0.01)
    async with upstream(silent) as a, proxy(a.server, settings=settings) as lb, lb.site.client() as client:
        assert await status_of(client) == 504
        assert a.server.counters.timeouts == 1
        await until(lambda: a.open == 0)


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", b"HTTP/9.9 200 OK\r\n\r\n",
     b"HTTP/1.1 101 Switching Protocols\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n"],
)  # fmt: skip
@pytest.mark.parametrize("uv", [False, True])
def test_a_broken_answer_is_a_502(answer: bytes, uv: bool) -> None:
    async def run() -> None:
        async with upstream(once(answer)) as a, proxy(a.server) as lb, lb.site.client() as client:
            assert await status_of(client) == 502
            assert await status_of(client) == 502
            assert a.server.counters.response_errors == 2

    (uvloop.run if uv else asyncio.run)(run())


@on_both_loops
@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nnonsense\r\n"],
)  # fmt: skip
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_server_that_dies_half_way_resets_the_client(answer: bytes, version: bytes) -> None:
    async with upstream(once(answer)) as a, proxy(a.server) as lb:
        with pytest.raises(ConnectionResetError):
            await lb.site.ask(b"GET / HTTP/%s\r\nHost: h\r\n\r\n" % version)
        assert a.server.counters.response_errors == 1


@on_both_loops
async def test_a_server_that_dies_before_it_answers_is_replaced_once() -> None:
    async with (
        upstream(once(b""), "a") as a,
        upstream(replying(OK), "b") as b,
        proxy(a.server, b.server) as lb,
    ):
        async with lb.site.client() as client:
            for _ in range(4):
                assert await status_of(client) == 200
        assert a.server.counters.response_errors == a.server.counters.retries > 0
        async with lb.site.client() as client:  # nobody knows what a POST has done
            answers = [await status_of(client, POST + b"Content-Length: 0\r\n\r\n") for _ in range(2)]
            assert sorted(answers) == [200, 502]


@on_both_loops
@pytest.mark.parametrize("down", [[], [refusing("down")]])
async def test_a_request_that_kills_is_not_shown_to_every_server(down: list[Server]) -> None:
    async with contextlib.AsyncExitStack() as stack:
        all_ = [await stack.enter_async_context(upstream(once(b""), name)) for name in "abcd"]
        first, *others = [each.server for each in all_]
        lb = await stack.enter_async_context(proxy(first, *down, *others))
        client = await stack.enter_async_context(lb.site.client())
        assert await status_of(client) == 502
        assert sum(each.connections for each in all_) == 2


def closing_at_the_second() -> Behaviour:
    """Answers the first request of each connection and dies at the second one."""

    async def behaviour(client: Client) -> None:
        await client.reader.readuntil(b"\r\n\r\n")
        client.send(OK)
        await client.reader.readuntil(b"\r\n\r\n")

    return behaviour


@on_both_loops
async def test_a_kept_connection_that_died_is_not_noticed() -> None:
    async with upstream(closing_at_the_second()) as a, proxy(a.server) as lb, lb.site.client() as client:
        for _ in range(5):
            assert await status_of(client) == 200
        assert a.server.counters.response_errors == 0
        assert a.server.counters.retries == 4


@on_both_loops
async def test_a_post_on_a_kept_connection_that_died_is_not_sent_again() -> None:
    async with upstream(closing_at_the_second()) as a, proxy(a.server) as lb, lb.site.client() as client:
        assert await status_of(client) == 200
        assert await status_of(client, POST + b"Content-Length: 0\r\n\r\n") == 502
        assert a.connections == 1


@on_both_loops
async def test_kept_connections_are_given_up_in_time() -> None:
    settings = ForwardSettings(idle=0.01)
    async with (
        upstream(replying(OK)) as a,
        proxy(a.server, settings=settings) as lb,
        lb.site.client() as client,
    ):
        assert await status_of(client) == 200
        await until(lambda: a.open == 0)


@on_both_loops
async def test_a_server_that_left_the_pool() -> None:
    go_on = asyncio.Event()

    async def slow(client: Client) -> None:
        for _ in range(2):
            await client.reader.readuntil(b"\r\n\r\n")
            await go_on.wait()
            client.send(OK)
        await client.reader.read()

    async with upstream(slow) as a, proxy(a.server) as lb, lb.site.client() as client:
        go_on.set()
        assert await status_of(client) == 200
        go_on.clear()
        client.send(GET)
        await until(lambda: a.server.counters.requests == 2)
        lb.pool.change([], 0.0)
        lb.forwarder.forget(a.server)
        go_on.set()
        assert (await client.response())[0] == 200  # what was running goes on
        await until(lambda: a.open == 0)
        assert await status_of(client) == 503


# ---- clients that fail ----


@on_both_loops
async def test_a_client_that_leaves_takes_its_request_along() -> None:
    async with upstream(silent) as a, proxy(a.server) as lb:
        async with lb.site.client() as client:
            client.send(GET)
            await until(lambda: a.open == 1)
        await until(lambda: a.open == 0)
        await until(lambda: a.server.open_sessions == 0)
        assert a.server.counters.response_errors == 0


@on_both_loops
async def test_a_client_that_leaves_half_way_through_the_response() -> None:
    async def endless(client: Client) -> None:
        await client.until(b"\r\n\r\n")
        client.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            client.send(b"x" * 100_000)
            await client.writer.drain()

    async with upstream(endless) as a, proxy(a.server) as lb:
        async with lb.site.client() as client:
            client.send(GET)
            await client.until(b"\r\n\r\n")
        await until(lambda: a.open == 0)


@on_both_loops
async def test_what_is_known_to_be_broken_is_not_even_begun_at_a_server() -> None:
    async with upstream(once(OK)) as a, proxy(a.server) as lb, lb.site.client() as client:
        client.send(POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
        assert b" 400 " in await client.until(b"\r\n")
        assert b"Connection: close" in await client.rest()
        await until(lambda: not a.open)
        assert a.server.counters.requests == 0


@on_both_loops
async def test_a_malformed_body_is_the_clients_fault() -> None:
    async with upstream(silent) as a, proxy(a.server) as lb, lb.site.client() as client:
        client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n")
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")
        await until(lambda: a.open == 0)
        assert a.server.counters.response_errors == 0


@on_both_loops
async def test_a_body_that_stops_is_a_408() -> None:
    async with (
        upstream(silent) as a,
        proxy(a.server, http=HttpSettings(client=0.02)) as lb,
        lb.site.client() as client,
    ):
        client.send(POST + b"Content-Length: 10\r\n\r\nab")
        assert (await client.rest()).startswith(b"HTTP/1.1 408 ")
        await until(lambda: a.open == 0)


@on_both_loops
async def test_a_proxy_behind_a_proxy() -> None:
    async def via(exchange: Exchange) -> None:
        names = (b"via", b"x-forwarded-for", b"x-forwarded-host")
        await exchange.respond(200, [], b" | ".join(exchange.request.get(name) or b"" for name in names))

    async with (
        site(via) as app,
        proxy(Server("app", f"127.0.0.1:{app.port}")) as inner,
        proxy(Server("web", f"127.0.0.1:{inner.site.port}")) as outer,
    ):
        answer = await outer.site.ask(LAST_GET)
    assert answer.endswith(b"1.1 lb, 1.1 lb | 127.0.0.1, 127.0.0.1 | h")


@on_both_loops
async def test_an_old_client_without_a_host() -> None:
    seen: list[bytes] = []

    async def behaviour(client: Client) -> None:
        seen.append(await client.until(b"\r\n\r\n"))
        client.send(OK)

    async with upstream(behaviour) as a, proxy(a.server) as lb:
        assert (await lb.site.ask(b"GET / HTTP/1.0\r\n\r\n")).endswith(b"ok")
        assert b"Host: %s\r\n" % str(a.server.address).encode() in seen[0]
        assert b"Via: 1.0 lb\r\n" in seen[0]


@on_both_loops
async def test_a_server_on_a_unix_socket(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        app = await stack.enter_async_context(serve(echo, f"unix:{tmp_path}/s"))
        lb = await stack.enter_async_context(proxy(Server("a", app.address)))
        client = await stack.enter_async_context(lb.site.client())
        client.send(POST + b"Content-Length: 2\r\nConnection: close\r\n\r\nok")
        assert b"ok" in await client.rest()


@pytest.mark.parametrize("version", ["v1", "v2"])
@on_both_loops
async def test_a_servers_connection_is_introduced_and_kept_for_its_client(version: str) -> None:
    headers: list[Header] = []

    async def introduced(client: Client) -> None:
        parser = HeaderParser()
        while parser.header is None:
            parser.feed(await client.exactly(1))
        headers.append(parser.header)
        await replying(OK)(client)

    async with upstream(introduced) as server, proxy(server.server) as front:
        front.pool.settings = replace(front.pool.settings, send_proxy=version)
        front.forwarder.settings = front.forwarder.settings  # as a reload does
        ends = []
        for _ in range(2):
            async with front.site.client() as client:
                assert [await status_of(client) for _ in range(3)] == [200] * 3
                names = client.writer.get_extra_info("sockname"), client.writer.get_extra_info("peername")
                ends.append(names)
        assert server.connections == 2, "three requests of one client go over one connection"
        assert [(header.client, header.server) for header in headers] == ends


TRAILED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A, Content-Length\r\n\r\n"
    b"2\r\nok\r\n0\r\nA: b\r\nContent-Length: 9\r\n\r\n"
)


@on_both_loops
async def test_trailers_go_to_a_client_that_takes_them() -> None:
    heads: list[bytes] = []

    async def serve(client: Client) -> None:
        while True:
            heads.append(await client.reader.readuntil(b"\r\n\r\n"))
            client.send(TRAILED)

    async with upstream(serve) as a, proxy(a.server) as lb, lb.site.client() as client:
        for field, head_says, end in (
            (b"TE: trailers\r\nConnection: TE\r\n", True, b"2\r\nok\r\n0\r\nA: b\r\n\r\n"),
            (b"", False, b"2\r\nok\r\n0\r\n\r\n"),
            (b"TE: trailers\r\n", True, b"2\r\nok\r\n0\r\nA: b\r\n\r\n"),
        ):
            client.send(GET.replace(b"\r\n\r\n", b"\r\n" + field + b"\r\n"))
            head = await client.until(b"\r\n\r\n")
            assert (b"\r\nTrailer: A, Content-Length\r\n" in head) is head_says
            assert await client.exactly(len(end)) == end
            assert (
                b"\r\nTE: trailers\r\n" in heads[-1] and b"\r\nConnection: TE\r\n" in heads[-1]
            ) is head_says


@on_both_loops
async def test_trailers_of_requests_are_dropped() -> None:
    bodies: list[bytes] = []

    async def serve(client: Client) -> None:
        await client.reader.readuntil(b"\r\n\r\n")
        bodies.append(await client.reader.readuntil(b"0\r\n\r\n"))
        client.send(OK)

    async with upstream(serve) as a, proxy(a.server) as lb, lb.site.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"2\r\nok\r\n0\r\nX-Forwarded-For: lie\r\n\r\n")
        assert (await client.response())[0] == 200
        assert bodies == [b"2\r\nok\r\n0\r\n\r\n"]


@on_both_loops
async def test_early_hints_come_early_and_a_100_not_at_all() -> None:
    may_answer = asyncio.Event()

    async def serve(client: Client) -> None:
        while True:
            await client.reader.readuntil(b"\r\n\r\n")
            client.send(
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\nLink: </a.css>\r\nKeep-Alive: 5\r\n\r\n"
            )
            await may_answer.wait()
            client.send(OK)

    async with upstream(serve) as a, proxy(a.server) as lb:
        async with lb.site.client() as client:
            for _ in range(2):
                may_answer.clear()
                client.send(GET)
                assert (
                    await client.until(b"\r\n\r\n") == b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
                )
                may_answer.set()
                assert (await client.response())[0] == 200
            client.send(GET.replace(b"1.1", b"1.0"))
            assert (await client.response())[0] == 200
        assert a.server.counters.response_errors == 0 and lb.pool.open_sessions == 0


@on_both_loops
async def test_a_server_that_hints_for_ever_is_a_bad_one() -> None:
    async def serve(client: Client) -> None:
        await client.reader.readuntil(b"\r\n\r\n")
        client.send(b"HTTP/1.1 102 Processing\r\n\r\n" * 33)
        await client.reader.read()

    async with upstream(serve) as a, proxy(a.server) as lb, lb.site.client() as client:
        client.send(GET)
        for _ in range(32):
            assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 102 Processing\r\n\r\n"
        assert (await client.response())[0] == 502
        assert lb.pool.open_sessions == 0
