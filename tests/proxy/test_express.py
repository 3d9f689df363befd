"""What goes express, and everything that makes it stop over."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

import pytest

from lbkit.exchange import Exchange, Handler, HttpSettings
from lbkit.http.forwarded import Form
from lbkit.http.routes import FieldTest, Route, RouteTable
from lbkit.proxy.express import Express
from lbkit.proxy.forward import ForwardSettings
from lbkit.proxy.routing import RouteHandler
from tests.exchange.wire import GET, LAST_GET, Client
from tests.proxy.upstreams import Behaviour, Proxy, Upstream, proxy, upstream
from tests.support.loops import on_both_loops, until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
OUR_DATE = re.compile(rb"\r\nDate: [A-Z][a-z]{2}, [^\r]*")  # a second may begin between two answers


class Script:
    """Answers the second request with *answer*, after *gate* was set, and all others with OK; keeps them."""

    def __init__(self, answer: bytes = OK) -> None:
        self.answer = answer
        self.gate = asyncio.Event()
        self.requests: list[bytes] = []

    async def __call__(self, client: Client) -> None:
        while True:
            self.requests.append(await client.reader.readuntil(b"\r\n\r\n"))
            if len(self.requests) != 2:
                client.send(OK)
                continue
            await self.gate.wait()
            client.send(self.answer)
            if b"HTTP/1.0" in self.answer:
                return


@contextlib.asynccontextmanager
async def warm(
    behaviour: Behaviour, settings: ForwardSettings | None = None, http: HttpSettings | None = None
) -> AsyncIterator[tuple[Upstream, Proxy, Client]]:
    """A client that was answered once, so that a connection to the server is kept."""
    async with upstream(behaviour) as a, proxy(a.server, settings=settings, http=http) as lb:
        async with lb.site.client() as client:
            client.send(GET)
            assert (await client.response())[0] == 200
            yield a, lb, client


def flying(lb: Proxy) -> int:
    return sum(connection.flight is not None for connection in lb.site.http.connections)


@on_both_loops
async def test_an_ordinary_request_goes_express_and_looks_the_same() -> None:
    script = Script()
    async with warm(script) as (a, lb, client):
        client.send(GET)
        await until(lambda: len(script.requests) == 2)
        assert flying(lb) == 1 and lb.pool.open_sessions == 1
        script.gate.set()
        status, fields, body = await client.response()
        assert (status, body, fields["server"]) == (200, b"ok", "lbkit") and "date" in fields
        assert script.requests[0] == script.requests[1]
        counters = a.server.counters
        assert (counters.requests, counters.picks, counters.sessions, a.connections) == (2, 2, 2, 1)
        assert lb.pool.open_sessions == 0 and a.server.open_sessions == 0
        assert lb.site.http.counters.requests == 2 and lb.site.http.counters.responses[2] == 2


REQUESTS = {
    "get": b"GET /a/b?c=%20 HTTP/1.1\r\nHost: h:80\r\nUser-Agent: x\r\n\r\n",
    "head": b"HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n",
    "keep-alive": b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nKeep-Alive: 5\r\nTE: trailers\r\nX-Odd: 1\r\n\r\n",
    "trailers": b"GET /a HTTP/1.1\r\nHost: h\r\nTE: trailers\r\n\r\n",
    "delete": b"DELETE /a HTTP/1.1\r\nHost: h\r\n\r\n",
    "escapes": b"GET /a%20b HTTP/1.1\r\nHost: h\r\n\r\n",
    "dots": b"GET /a/../b HTTP/1.1\r\nHost: h\r\n\r\n",
    "slashes": b"GET //a HTTP/1.1\r\nHost: h\r\n\r\n",
    "claims": b"GET /a HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.1\r\nVia: 1.1 x\r\n\r\n",
    "blanks": b"GET /a HTTP/1.1\r\nHost: h\r\nA: b  \r\n\r\n",
    "absolute": b"GET http://other/a HTTP/1.1\r\nHost: h\r\n\r\n",
    "listed": b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: a\r\nA: b\r\n\r\n",
    "1.0": b"GET /a HTTP/1.0\r\nHost: h\r\n\r\n",
    "close": b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    "bad path": b"GET /a%zz HTTP/1.1\r\nHost: h\r\n\r\n",
    "no host": b"GET /a HTTP/1.1\r\n\r\n",
}
ANSWERS = {
    "length": OK,
    "error": b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno",
    "connection": b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\nKeep-Alive: timeout=5\r\nX-Odd: 1\r\nDate: then\r\n\r\nok",
    "empty": b"HTTP/1.1 204 No Content\r\n\r\n",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n\r\n",
    "interim": b"HTTP/1.1 103 E\r\n\r\n" + OK,
    "1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "server": b"HTTP/1.1 200 OK\r\nServer: mine\r\nContent-Length: 2\r\n\r\nok",
    "blanks": b"HTTP/1.1 200 OK\r\nContent-Length:  2 \r\n\r\nok",
    "broken": b"nonsense\r\n\r\n",
}


async def seen(
    request: bytes, answer: bytes, *, express: bool, settings: ForwardSettings | None = None
) -> tuple[bytes, bytes]:
    """What the server and the client get to see of the second request of a connection, and of one after it."""
    script = Script(answer)
    script.gate.set()
    async with warm(script, settings) as (_, lb, client):
        if not express:
            lb.site.http.express = lb.site.http.begin = None
        client.send(request)
        got = await client.until(b"\r\n\r\n")
        client.send(LAST_GET)
        with contextlib.suppress(ConnectionError):
            got += await client.rest()
        return b"".join(script.requests[1:]), OUR_DATE.sub(b"", got)


@pytest.mark.parametrize("name", REQUESTS)
async def test_requests_look_the_same_on_both_ways(name: str) -> None:
    assert await seen(REQUESTS[name], OK, express=True) == await seen(REQUESTS[name], OK, express=False)


@pytest.mark.parametrize("name", [*REQUESTS, "upgrade"])
@pytest.mark.parametrize("form", ["rfc7239", "both"])
async def test_the_client_is_told_the_same_on_both_ways(name: str, form: Form) -> None:
    settings = ForwardSettings(forwarded=form)
    wish = b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    request = REQUESTS.get(name, wish)
    express = await seen(request, OK, express=True, settings=settings)
    assert express == await seen(request, OK, express=False, settings=settings)
    if name not in ("no host", "bad path"):
        assert b"\r\nForwarded: for=127.0.0.1;host=" in express[0] or b", for=127.0.0.1;host=" in express[0]


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("request_", ["get", "head", "trailers"])
async def test_answers_look_the_same_on_both_ways(name: str, request_: str) -> None:
    request, answer = REQUESTS[request_], ANSWERS[name]
    if request_ == "head":
        answer = answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if name != "interim" else answer[:-2]
    assert await seen(request, answer, express=True) == await seen(request, answer, express=False)


@on_both_loops
async def test_what_the_client_says_meanwhile_waits_its_turn() -> None:
    script = Script()
    async with warm(script) as (_, lb, client):
        client.send(GET)
        await until(lambda: flying(lb))
        client.send(GET.replace(b"GET /", b"GET /next"))
        await until(lambda: not flying(lb))
        script.gate.set()
        assert (await client.response())[0] == 200
        assert (await client.response())[0] == 200
        assert script.requests[2].startswith(b"GET /next ")
        assert lb.pool.open_sessions == 0


@on_both_loops
async def test_a_client_that_leaves_takes_its_request_along() -> None:
    script = Script()
    async with warm(script) as (a, lb, client):
        client.send(GET)
        await until(lambda: flying(lb))
        await client.close()
        await until(lambda: lb.pool.open_sessions == 0)
        assert a.server.counters.response_errors == 0
        script.gate.set()


@on_both_loops
async def test_a_server_that_is_gone_is_replaced_by_a_new_connection() -> None:
    async def once_each(client: Client) -> None:
        await client.reader.readuntil(b"\r\n\r\n")
        client.send(OK)
        await client.reader.readuntil(b"\r\n\r\n")  # and closes without an answer

    async with warm(once_each) as (a, lb, client):
        client.send(GET)
        assert (await client.response())[0] == 200
        assert a.connections == 2 and a.server.counters.retries == 1
        assert a.server.counters.response_errors == 0 and lb.pool.open_sessions == 0


@on_both_loops
async def test_a_silent_server_times_out() -> None:
    async with warm(Script(), settings=ForwardSettings(server=0.2)) as (a, lb, client):
        client.send(GET)
        assert (await client.response())[0] == 504
        assert a.server.counters.timeouts == 1 and lb.pool.open_sessions == 0


@on_both_loops
async def test_an_answer_in_pieces() -> None:
    async def slow(client: Client) -> None:
        await client.reader.readuntil(b"\r\n\r\n")
        client.send(OK)
        await client.reader.readuntil(b"\r\n\r\n")
        for byte in OK:
            client.send(bytes([byte]))
            await asyncio.sleep(0)
        await client.reader.read()

    async with warm(slow) as (_, lb, client):
        client.send(GET)
        assert (await client.response())[2] == b"ok"
        assert lb.pool.open_sessions == 0


@on_both_loops
async def test_a_stop_in_between_lets_it_end() -> None:
    script = Script()
    async with warm(script) as (_, lb, client):
        client.send(GET)
        await until(lambda: flying(lb))
        draining = asyncio.create_task(lb.site.http.drain(5))
        await until(lambda: not flying(lb))
        script.gate.set()
        status, fields, _ = await client.response()
        assert (status, fields["connection"]) == (200, "close")
        assert await draining == 0


@on_both_loops
async def test_the_last_request_of_a_connection_says_so() -> None:
    script = Script()
    script.gate.set()
    async with warm(script, http=HttpSettings(max_requests=3)) as (_, _, client):
        for last in (False, True):
            client.send(GET)
            _, fields, _ = await client.response()
            assert ("connection" in fields) is last
        assert await client.rest() == b""


@on_both_loops
async def test_the_fields_of_a_client_may_change_at_any_time() -> None:
    script = Script()
    script.gate.set()
    async with warm(script) as (_, _, client):
        for field in (b"A: 1", b"A: 2", b"A: 2", b"Connection: keep-alive", b"B: x" * 2000):
            client.send(b"GET /x HTTP/1.1\r\nHost: h\r\n" + field + b"\r\n\r\n")
            assert (await client.response())[0] == 200
            expected = b"" if field.startswith(b"Connection") else field + b"\r\n"
            assert script.requests[-1].startswith(
                b"GET /x HTTP/1.1\r\nHost: h\r\n" + expected + b"X-Forwarded-For: "
            )


@on_both_loops
async def test_where_nothing_is_kept_it_goes_on_with_the_server_that_was_picked() -> None:
    async def closing(client: Client) -> None:
        await client.reader.readuntil(b"\r\n\r\n")
        client.send(OK.replace(b"Content", b"Connection: close\r\nContent"))

    async with upstream(closing, "a") as a, upstream(closing, "b") as b:
        async with proxy(a.server, b.server) as lb, lb.site.client() as client:
            for _ in range(6):
                client.send(GET)
                assert (await client.response())[0] == 200
            assert (a.server.counters.picks, b.server.counters.picks) == (3, 3)
            assert (a.connections, b.connections) == (3, 3)


def test_no_forwarder_no_express() -> None:
    express = Express(lambda host, path: None)

    class Wire:
        block = b"\r\nHost: h\r\n\r\n"
        host = b"h"

        class limits:  # noqa: N801
            head_size = 1000

    assert express(Wire(), GET) is False  # type: ignore[arg-type]


@on_both_loops
async def test_a_route_that_needs_more_than_host_and_path_keeps_requests_off() -> None:
    script = Script()
    script.gate.set()

    async def other(exchange: Exchange) -> None:
        await exchange.respond(200, [], b"other")

    async with warm(script) as (_, lb, _client):
        routes: list[Route[Handler]] = [
            Route(None, "/open/", lb.forwarder),
            Route(None, "/", other, tests=(FieldTest(b"x-beta"),)),
        ]
        handler = RouteHandler(RouteTable(routes), lb.forwarder)
        lb.site.http.handler = handler
        choose = handler._forwarder_for
        assert choose(b"h", b"/open/x") is lb.forwarder and choose(b"h", b"/x") is None
        async with lb.site.client() as client:
            for field, body in ((b"", b"ok"), (b"X-Beta: 1\r\n", b"other"), (b"", b"ok")):
                client.send(b"GET /x HTTP/1.1\r\nHost: h\r\n" + field + b"\r\n")
                assert (await client.response())[2] == body


@on_both_loops
async def test_what_is_kept_of_a_client_is_forgotten_with_the_handler() -> None:
    async with warm(Script()) as (_, lb, _client):
        (connection,) = lb.site.http.connections
        assert connection.block and connection.tail
        lb.site.http.handler = RouteHandler(RouteTable(), lb.forwarder)
        assert not connection.block and not connection.tail


@on_both_loops
async def test_an_idle_connection_is_looked_at_no_more_and_a_later_silence_is_seen_all_the_same() -> None:
    script = Script()
    async with warm(script, settings=ForwardSettings(server=0.3)) as (_, lb, client):
        watched = lb.forwarder._watched
        lb.forwarder._tick(0.0)  # what was watched for the first request has been answered
        assert not watched
        client.send(GET)
        await until(lambda: len(script.requests) == 2)
        assert len(watched) == 1
        assert (await client.response())[0] == 504
