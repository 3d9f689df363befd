from __future__ import annotations

import re

from lbkit.exchange import Exchange
from lbkit.http.rewriting import FieldRules, PathRules, Rewriting
from lbkit.http.routes import RouteTable
from lbkit.proxy.rewritten import Rewritten
from lbkit.proxy.routing import RouteHandler
from lbkit.templates import Template
from tests.exchange.wire import GET, Client, site
from tests.proxy.upstreams import proxy, upstream
from tests.support.loops import on_both_loops


def rules(**fields: str) -> FieldRules:
    return FieldRules(
        tuple((name.replace("_", "-").encode(), Template(value)) for name, value in fields.items())
    )


ALL = Rewriting(
    (PathRules(strip=b"/api", pattern=re.compile(rb"^/old"), replacement=b"/new", add=b"/v1"),),
    b"inner:81",
    (rules(X_Client="${client}", X_Asked="${uri}"),),
    (rules(X_Frame_Options="DENY", Server="mine"),),
)


@on_both_loops
async def test_what_the_server_is_asked_and_what_the_client_gets() -> None:
    heads: list[bytes] = []

    async def serve(client: Client) -> None:
        while True:
            heads.append(await client.reader.readuntil(b"\r\n\r\n"))
            client.send(b"HTTP/1.1 200 OK\r\nServer: theirs\r\nContent-Length: 2\r\n\r\nok")

    async with upstream(serve) as a, proxy(a.server) as lb:
        handler = RouteHandler(RouteTable(), Rewritten(lb.forwarder, ALL))
        async with site(handler) as where, where.client() as client:
            for _ in range(3):  # the later ones over a kept connection
                client.send(b"GET /api/old/x?y HTTP/1.1\r\nHost: outer\r\nX-Client: lie\r\n\r\n")
                status, fields, body = await client.response()
                assert (status, body, fields["x-frame-options"], fields["server"]) == (
                    200,
                    b"ok",
                    "DENY",
                    "mine",
                )
            for head in heads:
                lines = head.split(b"\r\n")
                assert lines[0] == b"GET /v1/new/x?y HTTP/1.1"
                assert [line for line in lines if line.lower().startswith((b"host:", b"x-client:", b"x-asked:"))] == [
                    b"Host: inner:81", b"X-Client: 127.0.0.1", b"X-Asked: /api/old/x?y"
                ]  # fmt: skip
                assert b"X-Forwarded-Host: outer" in lines
            assert len(heads) == 3 and a.connections == 1


@on_both_loops
async def test_answers_made_here_are_changed_too() -> None:
    async def page(exchange: Exchange) -> None:
        if exchange.request.path == b"/bad":
            raise RuntimeError("a bug")
        await exchange.start(200, [])
        await exchange.write(b"x")
        await exchange.end()

    async with site(Rewritten(page, ALL)) as where, where.client() as client:
        client.send(GET)
        assert b"X-Frame-Options: DENY" in await client.until(b"\r\n\r\n")
        await client.until(b"0\r\n\r\n")
        client.send(GET.replace(b"GET /", b"GET /bad"))
        status, fields, _ = await client.response()
        assert (status, fields["x-frame-options"]) == (500, "DENY")


@on_both_loops
async def test_a_path_that_cannot_be_rewritten_is_refused_before_a_server_is_taken() -> None:
    above = Rewriting((PathRules(pattern=re.compile(rb"/x(.*)y"), replacement=rb"/\1"),))

    async def never(client: Client) -> None:
        raise AssertionError

    async with upstream(never) as a, proxy(a.server) as lb:
        async with site(RouteHandler(RouteTable(), Rewritten(lb.forwarder, above))) as where:
            async with where.client() as client:
                client.send(GET.replace(b"GET /", b"GET /x..y"))
                assert (await client.response())[0] == 400
        assert lb.pool.open_sessions == 0 and a.connections == 0
