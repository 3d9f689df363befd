from __future__ import annotations

import random

import pytest

from lbkit.exchange import Exchange
from lbkit.firewall import Firewall, FirewallSettings, Rate, Rule
from lbkit.http.forwarded import LOOPBACK
from lbkit.http.routes import RouteTable
from lbkit.proxy.clients import ClientReader
from lbkit.proxy.request_guard import RequestGuard
from lbkit.proxy.routing import RouteHandler
from tests.exchange.wire import Client, site
from tests.proxy.upstreams import proxy, upstream
from tests.support.loops import on_both_loops


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def hello(exchange: Exchange) -> None:
    await exchange.respond(200, [], b"hello")


def guard(clock: Clock, *, trusted: frozenset[str] = LOOPBACK, **settings: object) -> RequestGuard:
    firewall = Firewall(FirewallSettings(**settings), random.Random(7))  # type: ignore[arg-type]
    return RequestGuard(firewall, hello, clock=clock, client_of=ClientReader(trusted))


async def ask(client: Client, path: str = "/", *headers: str) -> tuple[int, str | None]:
    """Status and Retry-After."""
    lines = "".join(f"{line}\r\n" for line in ("Host: h", *headers))
    client.send(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
    status, fields, _ = await client.response()
    return status, fields.get("retry-after")


@on_both_loops
async def test_over_the_rate_429_says_when_to_come_again() -> None:
    clock = Clock()
    async with site(guard(clock, request_rate=Rate.parse("6/m burst 2"))) as web, web.client() as client:
        assert [await ask(client) for _ in range(3)] == [(200, None), (200, None), (429, "10")]
        clock.now = 9.5
        assert await ask(client) == (429, "1")
        clock.now = 10.0
        assert await ask(client) == (200, None)


@on_both_loops
async def test_rules() -> None:
    rules = (Rule(path=b"/admin/", status=404), Rule("POST", status=405))
    async with site(guard(Clock(), rules=rules)) as web, web.client() as client:
        assert await ask(client, "/admin/x") == (404, None)
        assert await ask(client, "//%61dmin/./x") == (404, None), "the path is normalised first"
        assert await ask(client, "/x") == (200, None)
        client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
        assert (await client.response())[0] == 405
        assert await ask(client) == (200, None), "the connection goes on"


@pytest.mark.parametrize("routed", [True, False])
@on_both_loops
async def test_what_goes_on_to_a_server_is_judged_each_time(routed: bool) -> None:
    """Also where requests would take the express way: a kept connection, and the same fields each time."""

    async def answering(client: Client) -> None:
        while True:
            await client.reader.readuntil(b"\r\n\r\n")
            client.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with upstream(answering) as server, proxy(server.server) as front:
        handler = RouteHandler(RouteTable(), front.forwarder) if routed else front.forwarder
        rate, rules = Rate.parse("1/h burst 6"), (Rule(path=b"/no", status=404),)
        firewall = Firewall(FirewallSettings(request_rate=rate, rules=rules), random.Random(7))
        front.site.http.handler = RequestGuard(firewall, handler, clock=Clock())
        async with front.site.client() as client:
            found = [(await ask(client, path))[0] for path in ("/", "/", "/", "/no", "/", "/", "/", "/")]
        assert found == [200, 200, 200, 404, 200, 200, 429, 429]


@on_both_loops
async def test_the_client_is_whom_a_trusted_neighbour_tells() -> None:
    async with site(guard(Clock(), request_rate=Rate.parse("1/h"))) as web, web.client() as client:
        for address in ("192.0.2.1", "192.0.2.2"):
            assert (await ask(client, "/", f"X-Forwarded-For: {address}"))[0] == 200
        assert (await ask(client, "/", "X-Forwarded-For: 192.0.2.1"))[0] == 429
        assert (await ask(client))[0] == 200, "the neighbour itself"


@on_both_loops
async def test_nobody_else_chooses_his_address() -> None:
    walled = guard(Clock(), trusted=frozenset(), request_rate=Rate.parse("1/h"))
    async with site(walled) as web, web.client() as client:
        assert (await ask(client, "/", "X-Forwarded-For: 192.0.2.1"))[0] == 200
        assert (await ask(client, "/", "X-Forwarded-For: 192.0.2.2"))[0] == 429
