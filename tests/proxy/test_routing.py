from __future__ import annotations

from lbkit.exchange import Exchange, Handler
from lbkit.http.routes import Route, RouteTable
from lbkit.proxy.routing import RouteHandler
from tests.exchange.wire import site
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
