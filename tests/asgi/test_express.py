"""What goes the express way and what leaves it, told by the exchanges that there are."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from lbkit.asgi import AsgiHandler
from lbkit.asgi.types import App, Message, Receive, Scope, Send
from lbkit.exchange import HttpProtocol, HttpSettings
from tests.exchange.wire import GET, Client, Site, site
from tests.support.loops import on_both_loops, until

START = {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"b")]}
POST = b"POST /a/b?c=d HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody"


@dataclass
class Counted:
    """A client of an app, its server, and how many requests became an exchange."""

    client: Client
    where: Site
    exchanges: int = 0


@contextlib.asynccontextmanager
async def served(app: App, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Counted]:
    async with site(AsgiHandler(app)) as where, where.client() as client:
        counted = Counted(client, where)

        def counting(method: str) -> None:
            real = getattr(HttpProtocol, method)

            def count(self: HttpProtocol, *given: Any) -> Any:
                counted.exchanges += 1
                return real(self, *given)

            monkeypatch.setattr(HttpProtocol, method, count)

        counting("stop_over")
        counting("_begin")
        yield counted


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    message = await receive()
    await send(START)
    path = f"{scope['method']} {scope['path']} {scope['query_string'].decode()} ".encode()
    await send({"type": "http.response.body", "body": path + message["body"]})


@on_both_loops
async def test_a_request_that_is_whole_needs_no_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(echo, monkeypatch) as got:
        for data, body in [
            (GET, b"GET /  "),
            (POST, b"POST /a/b c=d body"),
            (POST, b"POST /a/b c=d body"),
            (GET, b"GET /  "),
        ]:
            got.client.send(data)
            status, fields, answer = await got.client.response()
            assert (status, answer, fields["x-a"], fields["server"]) == (200, body, "b", "lbkit")
            assert "date" in fields
        counters = got.where.http.counters
        assert got.exchanges == 0 and counters.requests == 4 and counters.responses[2] == 4


@on_both_loops
@pytest.mark.parametrize(
    "data",
    [
        b"GET /a//b HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /%41 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\nx",
        GET + GET,
    ],
)
async def test_what_is_not_plain_goes_the_ordinary_way(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(echo, monkeypatch) as got:
        got.client.send(data)
        assert (await got.client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 ")
        assert got.exchanges >= 1


@on_both_loops
async def test_a_body_that_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(echo, monkeypatch) as got:
        got.client.send(POST[:-4])
        while not got.exchanges:
            await asyncio.sleep(0)
        got.client.send(POST[-4:])
        assert (await got.client.response())[2].endswith(b" body")


@on_both_loops
@pytest.mark.parametrize("reads", [True, False])
async def test_a_response_in_pieces(reads: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if reads:
            assert (await receive())["body"] == b"body"
        await send(START)
        await send({"type": "http.response.body", "body": b"ab", "more_body": True})
        if not reads:
            assert (await receive())["body"] == b"body"
        await send({"type": "http.response.body", "body": b"cd"})

    async with served(app, monkeypatch) as got:
        for _ in range(2):
            got.client.send(POST)
            assert (await got.client.until(b"\r\n0\r\n\r\n")).endswith(
                b"\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"
            )
        assert got.exchanges == 2


@on_both_loops
async def test_an_app_that_waits_for_the_disconnect(monkeypatch: pytest.MonkeyPatch) -> None:
    told: asyncio.Queue[Message] = asyncio.Queue()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        told.put_nowait(await receive())

    async with served(app, monkeypatch) as got:
        got.client.send(POST)
        while not got.exchanges:
            await asyncio.sleep(0)
        await got.client.close()
        async with asyncio.timeout(5):
            assert (await told.get())["type"] == "http.disconnect"


@on_both_loops
async def test_a_client_that_leaves_after_a_long_body_is_seen() -> None:
    told: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        told.append(await receive())
        told.append(await receive())

    longest_held = HttpSettings(body_buffer=3)  # of one byte more the connection is not read from
    async with site(AsgiHandler(app), longest_held) as where, where.client() as client:
        client.send(POST)
        await until(lambda: len(told) == 1)
        await client.close()
        await until(lambda: len(told) == 2)
    assert told == [
        {"type": "http.request", "body": b"body", "more_body": False},
        {"type": "http.disconnect"},
    ]


@on_both_loops
async def test_what_a_client_does_in_the_meantime(monkeypatch: pytest.MonkeyPatch) -> None:
    go = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await go.wait()
        await echo(scope, receive, send)

    async with served(app, monkeypatch) as got:
        got.client.send(POST)
        while not got.where.http.counters.requests:
            await asyncio.sleep(0)
        got.client.send(GET)  # the next request, before the answer
        while not got.exchanges:
            await asyncio.sleep(0)
        go.set()
        assert (await got.client.response())[2].endswith(b" body")
        assert (await got.client.response())[2] == b"GET /  "


@on_both_loops
async def test_a_server_that_stops_lets_it_end(monkeypatch: pytest.MonkeyPatch) -> None:
    go = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await go.wait()
        await echo(scope, receive, send)

    async with served(app, monkeypatch) as got:
        got.client.send(GET)
        while not got.where.http.counters.requests:
            await asyncio.sleep(0)
        draining = asyncio.create_task(got.where.http.drain(5))
        await asyncio.sleep(0)
        go.set()
        assert (await got.client.response())[1]["connection"] == "close"
        assert await draining == 0


@on_both_loops
async def test_an_app_that_fails_late_or_says_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/late":
            await send(START)
            await send({"type": "http.response.body", "body": b"x"})
            assert await receive() and await receive() == {"type": "http.disconnect"}
            with pytest.raises(RuntimeError):
                await send({"type": "http.response.body", "body": b"x"})
            await send({"type": "http.response.trailers"})
            raise KeyError("boom")

    async with served(app, monkeypatch) as got:
        with caplog.at_level(logging.ERROR, "lbkit.http"):
            got.client.send(GET.replace(b"/ ", b"/late "))
            assert (await got.client.response())[2] == b"x"
            got.client.send(GET)
            assert (await got.client.response())[0] == 500
        assert "boom" in caplog.text and "unfinished" in caplog.text


@on_both_loops
@pytest.mark.parametrize(
    "start",
    [
        {"status": 204},
        {"headers": [(b"connection", b"close")]},
        {"headers": [(bytearray(b"x-a"), memoryview(b"b"))]},
        {"headers": ((b"x-a", b"b"),)},
    ],
)
async def test_answers_with_something_special(start: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**START, **start})
        await send({"type": "http.response.body", "body": b""})

    async with served(app, monkeypatch) as got:
        got.client.send(GET)
        status, fields, _ = await got.client.response()
        assert status == start.get("status", 200)
        assert fields.get("x-a") == "b" or fields["connection"] == "close"


@on_both_loops
async def test_a_neighbour_that_is_trusted_says_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope["client"], scope["scheme"]))
        scope["headers"].clear()
        await echo(scope, receive, send)

    async with served(app, monkeypatch) as got:
        for address in ("192.0.2.1", "192.0.2.2", "192.0.2.2"):
            claim = f"X-Forwarded-For: {address}\r\nX-Forwarded-Proto: https\r\n\r\n".encode()
            got.client.send(GET[:-2] + claim)
            await got.client.response()
        assert got.exchanges == 0
    assert seen == [(("192.0.2.1", 0), "https"), *[(("192.0.2.2", 0), "https")] * 2]
