"""The protocol between application and server, by applications written for one case each."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import pytest

from lbkit.asgi import AsgiHandler
from lbkit.asgi.types import App, Message, Receive, Scope, Send
from tests.exchange.h2_client import h2_site
from tests.exchange.wire import LAST_GET, Client, Site, ask, site
from tests.support.loops import on_both_loops, until

START = {"type": "http.response.start", "status": 200}


async def answered(app: App, data: bytes = LAST_GET) -> bytes:
    return await ask(AsgiHandler(app), data)


def sending(*messages: dict[str, Any]) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


@on_both_loops
async def test_a_small_response_has_a_length() -> None:
    answer = await answered(sending(START, {"type": "http.response.body", "body": b"hi"}))
    assert b"\r\nContent-Length: 2\r\n" in answer and answer.endswith(b"\r\n\r\nhi")


@on_both_loops
async def test_a_streamed_response() -> None:
    body = {"type": "http.response.body", "body": b"ab", "more_body": True}
    answer = await answered(sending(START, body, body, {"type": "http.response.body"}))
    assert answer.endswith(b"2\r\nab\r\n2\r\nab\r\n0\r\n\r\n")


@on_both_loops
async def test_early_hints() -> None:
    hint = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload", b"</b.js>; rel=preload"]}
    answer = await answered(sending(hint, START, {"type": "http.response.body", "body": b"x"}))
    head = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </b.js>; rel=preload\r\n\r\n"
    assert answer.startswith(head + b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\n\r\nx")
    assert (await answered(sending(START, hint))).startswith(b"HTTP/1.1 500 ")


@on_both_loops
async def test_trailers_are_ignored() -> None:
    trailers = {"type": "http.response.trailers", "headers": []}
    answer = await answered(sending(START, {"type": "http.response.body", "body": b"x"}, trailers))
    assert answer.endswith(b"\r\n\r\nx")


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [START],
        [START, START],
        [{"type": "http.response.body", "body": b"x"}],
        [{"type": "websocket.accept"}],
        [{**START, "headers": [(b"a b", b"c")]}, {"type": "http.response.body"}],
        [{**START, "headers": [(b"a", b"c\r\n")]}, {"type": "http.response.body"}],
        [{**START, "status": 99}, {"type": "http.response.body"}],
    ],
)
def test_a_wrong_order_or_head_is_a_500(messages: list[dict[str, Any]]) -> None:
    assert asyncio.run(answered(sending(*messages))).startswith(b"HTTP/1.1 500 ")


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "http.response.body", "body": b"x", "more_body": True}],
        [{"type": "http.response.body", "body": b"x" * 9, "more_body": True}, {"type": "http.response.body"}],
        [{"type": "http.response.body", "body": b"x", "more_body": True}, {"type": "http.response.body"}],
    ],
)
def test_a_wrong_length_or_end_is_a_reset(messages: list[dict[str, Any]]) -> None:
    start = {**START, "headers": [(b"content-length", b"5")]}
    with pytest.raises(ConnectionResetError):
        asyncio.run(answered(sending(start, *messages)))


@on_both_loops
async def test_an_app_that_raises_before_and_after_the_start(caplog: pytest.LogCaptureFixture) -> None:
    async def before(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("boom")

    async def after(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        raise KeyError("bang")

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"x"})
        raise KeyError("late")

    with caplog.at_level(logging.ERROR, "lbkit.http"):
        assert (await answered(before)).startswith(b"HTTP/1.1 500 ")
        with pytest.raises(ConnectionResetError):
            await answered(after)
        assert (await answered(late)).endswith(b"\r\n\r\nx")
    assert all(word in caplog.text for word in ("boom", "bang", "late"))


@on_both_loops
@pytest.mark.parametrize("way", ["/cancelled", "/exit"])
async def test_an_app_that_ends_in_a_strange_way_fails_one_request(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/cancelled":
            work = asyncio.ensure_future(asyncio.sleep(1000))
            work.cancel("by the application")
            await work
        if scope["path"] == "/exit":
            sys.exit("by the application")
        await sending(START, {"type": "http.response.body", "body": b"x"})(scope, receive, send)

    async with site(AsgiHandler(app)) as where, where.client() as client:
        for ordinary in (b"", b"Expect:\r\n"):
            client.send(b"GET %b HTTP/1.1\r\nHost: h\r\n%b\r\n" % (way.encode(), ordinary))
            assert (await client.response())[0] == 500
            client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (await client.response())[2] == b"x"
    assert caplog.text.count(f"the handler of {way.encode()!r} failed") == 2
    assert caplog.text.count("by the application") >= 2


@on_both_loops
async def test_an_app_that_raises_after_holding_a_start_back_is_a_500() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        raise KeyError

    assert (await answered(app)).startswith(b"HTTP/1.1 500 ")


async def collecting(site: Site, client: Client, told: list[Message], *pieces: bytes) -> None:
    for piece in pieces:
        count = len(told)
        client.send(piece)
        async with asyncio.timeout(5):
            while len(told) == count:
                await asyncio.sleep(0)


@on_both_loops
async def test_the_body_arrives_in_messages_and_then_the_disconnect() -> None:
    told: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] != "http.disconnect":
            told.append(message)
            if not message["more_body"]:
                break
        await send(START)
        await send({"type": "http.response.body", "body": b""})
        told.append(await receive())

    async with site(AsgiHandler(app)) as where, where.client() as client:
        head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n"
        await collecting(where, client, told, head + b"ab", b"cd")
        await client.response()
        async with asyncio.timeout(5):
            while len(told) < 3:
                await asyncio.sleep(0)
    assert [message.get("body") for message in told] == [b"ab", b"cd", None]
    assert told[-1] == {"type": "http.disconnect"}


@on_both_loops
async def test_a_request_without_a_body_is_one_message() -> None:
    told: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        told.append(await receive())
        await sending(START, {"type": "http.response.body"})(scope, receive, send)

    await answered(app)
    assert told == [{"type": "http.request", "body": b"", "more_body": False}]


@on_both_loops
async def test_sending_to_a_client_that_is_gone_is_ignored() -> None:
    done = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(START)
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        assert (await receive())["type"] == "http.disconnect"
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
        done.set()

    async with site(AsgiHandler(app)) as where:
        async with where.client() as client:
            client.send(LAST_GET)
            await client.until(b"\r\n\r\n")
        async with asyncio.timeout(5):
            await done.wait()


@on_both_loops
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_an_app_that_only_sends_holds_nobody_up_when_its_data_goes_nowhere(method: str) -> None:
    finished = asyncio.Event()
    stop = False

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        for _ in range(200_000):
            await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
            if stop:
                break
        else:
            pytest.fail("nobody else had a turn")
        await send({"type": "http.response.body"})
        finished.set()

    async with site(AsgiHandler(app)) as where:
        async with where.client() as client:
            client.send(method.encode() + b" / HTTP/1.1\r\nHost: h\r\n\r\n")
            await client.until(b"\r\n\r\n")
        for _ in range(50):
            await asyncio.sleep(0.001)
        stop = True
        async with asyncio.timeout(5):
            await finished.wait()


@on_both_loops
async def test_a_malformed_body_is_the_clients_fault_even_if_the_app_raises(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        raise RuntimeError("client disconnected")

    data = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"
    assert (await answered(app, data)).startswith(b"HTTP/1.1 400 ")
    assert "Traceback" not in caplog.text


@on_both_loops
async def test_a_wish_for_another_protocol_is_a_plain_request() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await sending({**START, "status": 426}, {"type": "http.response.body"})(scope, receive, send)

    upgrade = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    async with site(AsgiHandler(app)) as where, where.client() as client:
        for _ in range(2):
            client.send(upgrade)
            assert (await client.response())[0] == 426


@on_both_loops
async def test_an_app_that_never_returns_holds_up_nobody_once_it_has_answered() -> None:
    running: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"hi"})
        running.append(scope["path"])
        await asyncio.Event().wait()

    async with site(AsgiHandler(app)) as where, where.client() as client:
        for number in range(1, 4):
            client.send(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % number)
            assert (await client.response())[2] == b"hi"
        await until(lambda: len(running) == 3)


@on_both_loops
async def test_over_http_2() -> None:
    told: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (scope["type"], scope["http_version"]) == ("http", "2")
        if scope["path"] == "/left":
            while (message := await receive())["type"] != "http.disconnect":
                told.append(message)
            told.append(message)
            return
        if scope["path"] == "/raises":
            raise ValueError("early")
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
        await send({**START, "headers": [(b"X-Name", b"value")]})
        await send({"type": "http.response.body", "body": body + message["body"], "more_body": True})
        await send({"type": "http.response.body", "body": b"!"})

    async with h2_site(AsgiHandler(app)) as client:
        number = client.request((b":method", b"POST"), (b":path", b"/echo"), end=False)
        client.body(number, b"x" * 10_000)
        client.body(number, b"y", end=True)
        assert await client.response(number) == (200, b"x" * 10_000 + b"y!")
        hint, head = client.heads[number]
        assert (hint[b":status"], hint[b"link"]) == (b"103", b"</a.css>; rel=preload")
        assert head[b"x-name"] == b"value"
        assert (await client.response(client.request((b":path", b"/raises"))))[0] == 500
        number = client.request((b":path", b"/left"))
        await until(lambda: told)
        client.h2.reset_stream(number)
        client.flush()
        await until(lambda: len(told) == 2)
        assert told[1] == {"type": "http.disconnect"}
