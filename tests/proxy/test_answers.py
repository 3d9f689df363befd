from __future__ import annotations

import pytest

from lbkit.proxy.answers import FixedAnswer, Redirect, not_found
from lbkit.templates import Template
from tests.exchange.wire import LAST_GET, ask, site
from tests.support.loops import on_both_loops


@on_both_loops
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect(status: int) -> None:
    async with site(Redirect(status, Template("https://${host}${uri}"))) as where, where.client() as client:
        client.send(b"GET //a/b?c HTTP/1.1\r\nHost: X.example:8080\r\n\r\n")
        found, fields, body = await client.response()
        assert (found, fields["location"], body) == (status, "https://x.example/a/b?c", b"")


@on_both_loops
async def test_a_redirect_needs_a_host_where_it_names_it() -> None:
    nameless = b"GET /a HTTP/1.0\r\n\r\n"
    assert (await ask(Redirect(301, Template("https://${host}/")), nameless)).startswith(b"HTTP/1.1 400 ")
    assert b"\r\nLocation: /new/a\r\n" in await ask(Redirect(301, Template("/new${path}")), nameless)


@on_both_loops
async def test_a_fixed_answer() -> None:
    answer = FixedAnswer(418, [(b"Content-Type", b"text/plain"), (b"X-A", b"b")], b"short and stout")
    async with site(answer) as where, where.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
        status, fields, body = await client.response()
        assert (status, fields["x-a"], body) == (418, "b", b"short and stout")
        client.send(LAST_GET.replace(b"GET", b"HEAD"))
        head = await client.rest()
        assert b"\r\nContent-Length: 15\r\n" in head and head.endswith(b"\r\n\r\n")


@on_both_loops
async def test_nothing_is_there() -> None:
    assert (await ask(not_found, LAST_GET)).startswith(b"HTTP/1.1 404 ")
