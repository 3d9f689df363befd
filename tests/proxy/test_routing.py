from __future__ import annotations

import pytest

from lbkit.exchange import Exchange, Handler
from lbkit.http.routes import Route, RouteTable
from lbkit.proxy.routing import RouteHandler
from lbkit.server import Server
from tests.exchange.wire import site
from tests.proxy.upstreams import proxy
from tests.support.loops import on_both_loops


def named(name: bytes) -> Handler:
    async def handler(exchange: Exchange) -> None:
        await exchange.respond(200, [], name)

    return handler


TABLE = RouteTable(
    [Route(None, "/static/", named(b"files")), Route("api.example", "/", named(b"api"))],
)


@on_both_loops
async def test_routes_by_host_and_path() -> None:
    async with site(RouteHandler(TABLE)) as where, where.client() as client:
        for host, path, status, body in (
            ("h", "/static/x", 200, b"files"),
            ("h", "/%73tatic/x", 200, b"files"),
            ("API.example:80", "/x", 200, b"api"),
            ("h", "/static/../x", 404, None),
            ("h", "/", 404, None),
        ):
            client.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            found, _, data = await client.response()
            assert found == status and body in (None, data)


@on_both_loops
async def test_the_default_takes_the_rest() -> None:
    async with site(RouteHandler(TABLE, named(b"rest"))) as where, where.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await client.response())[2] == b"rest"


@on_both_loops
@pytest.mark.parametrize(
    "path", ["/closed/x", "/closed/../x", "/closed/%2e%2E/x", "/closed%2f..%2Fx", "//closed"]
)
async def test_what_a_route_closes_is_never_asked_of_the_server_behind_another(path: str) -> None:
    """Many applications match a path by its beginning."""

    async def application(exchange: Exchange) -> None:
        is_closed = exchange.request.target.raw_path.startswith(b"/closed")
        await exchange.respond(200, [], b"closed" if is_closed else b"open")

    async with site(application) as app, proxy(Server("a", f"127.0.0.1:{app.port}")) as lb:
        table: RouteTable[Handler] = RouteTable([Route(None, "/closed/", named(b"no"))])
        async with site(RouteHandler(table, lb.forwarder)) as where, where.client() as client:
            client.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            assert (await client.response())[2] in (b"no", b"open")
