from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lbkit import deadline
from lbkit.asgi import AsgiHandler, serve
from lbkit.asgi.types import Message, Receive, Scope, Send
from lbkit.http.trusted import Trusted
from tests.exchange.wire import Client, connected, site
from tests.support.loops import on_both_loops, until

FIELD = "X-Envoy-Expected-Rq-Timeout-Ms"
START = {"type": "http.response.start", "status": 200}


async def tells(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the seconds that it has, by the scope and by `remaining`."""
    told = scope["extensions"].get("lbkit.deadline")
    by_scope = math.inf if told is None else told["at"] - time.monotonic()
    left = await asyncio.to_thread(deadline.remaining)
    await send(START)
    await send({"type": "http.response.body", "body": f"{by_scope} {left}".encode()})


async def ask(client: Client, more: str = "", method: str = "GET") -> list[float]:
    client.send(f"{method} / HTTP/1.1\r\nHost: h\r\n{more}\r\n".encode())
    return [float(word) for word in (await client.response())[2].split()]


NOTHING = [math.inf, math.inf]


@pytest.mark.parametrize("more", ["", "Transfer-Encoding: chunked\r\n\r\n0\r\n"])  # the express way, and not
@on_both_loops
async def test_what_the_application_is_told(more: str) -> None:
    async with serve(tells, "127.0.0.1:0", deadlines=True) as server:
        async with connected(server.address.port) as client:
            for seconds in (20, 20, 5):
                left = await ask(client, f"{FIELD}: {seconds}000\r\n{more}")
                assert all(seconds - 2 < one <= seconds for one in left)
            assert await ask(client, more) == NOTHING
            assert await ask(client, f"{FIELD}: soon\r\n{more}") == NOTHING
            assert await ask(client, f"{FIELD}: 0\r\n{more}") < [0.0, 0.1]


@pytest.mark.parametrize("more", ["", "Transfer-Encoding: chunked\r\n\r\n0\r\n"])
@on_both_loops
async def test_who_is_believed(more: str) -> None:
    for trusted, deadlines, counts in (
        (Trusted(["127.0.0.1"]), True, True),
        (Trusted(["127.0.0.1"]), False, False),
        (Trusted(["10.0.0.0/8"]), True, False),
    ):
        async with serve(tells, "127.0.0.1:0", deadlines=deadlines, trusted=trusted) as server:
            async with connected(server.address.port) as client:
                # Whoever it is for: the neighbour says how long it takes.
                said = f"{FIELD}: 9000\r\nX-Forwarded-For: 192.0.2.7\r\n{more}"
                assert (await ask(client, said) != NOTHING) is counts
    async with serve(tells, "127.0.0.1:0", deadlines="X-Left") as server:
        async with connected(server.address.port) as client:
            assert await ask(client, f"{FIELD}: 9000\r\n{more}") == NOTHING
            assert await ask(client, f"X-Left: 9000\r\n{more}") != NOTHING


# ---- a client that is gone ----


class Working:
    """An application that waits, and what became of it."""

    def __init__(self, *, first: str = "") -> None:
        self.first = first
        self.begun = 0
        self.ended: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun += 1
        try:
            if self.first == "receive":
                await receive()
            if self.first == "start":
                await send(START)
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
            if self.first == "all":
                await send(START)
                await send({"type": "http.response.body", "body": b"x"})
            await asyncio.sleep(0.05 if self.first == "all" else 60)
            self.ended.append("done")
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise


@asynccontextmanager
async def asked(app: Working, more: bytes, cancels: bool) -> AsyncIterator[Client]:
    """A client whose request *app* is working on; the server is closed when the block ends."""
    async with site(AsgiHandler(app, cancel_on_disconnect=cancels)) as where, where.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n" + more + b"\r\n")
        await until(lambda: app.begun == 1)
        yield client


BODIES = [b"", b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"Content-Length: 5\r\n"]


@pytest.mark.parametrize("more", BODIES, ids=["express", "whole", "unfinished"])
@pytest.mark.parametrize("first", ["", "receive", "start"])
@on_both_loops
async def test_its_work_is_cancelled(first: str, more: bytes) -> None:
    app = Working(first="" if more == BODIES[2] and first == "receive" else first)
    async with asked(app, more, True) as client:
        if first == "start":
            await client.until(b"x")
        assert app.ended == []
        await client.close()
        await until(lambda: app.ended == ["cancelled"])


@on_both_loops
async def test_a_client_that_leaves_before_the_work_begins() -> None:
    """What it asked and its end arrive together, so that the task has not run when the end is seen."""
    app = Working()
    async with site(AsgiHandler(app, cancel_on_disconnect=True)) as where, where.client() as client:
        create = where.http.run

        def late(work: Coroutine[Any, Any, None]) -> None:
            (connection,) = where.http.connections
            asyncio.get_running_loop().call_soon(connection.abort)
            asyncio.get_running_loop().call_later(0.01, create, work)

        where.http.run = late  # type: ignore[method-assign]
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await until(lambda: app.ended == ["cancelled"])


@pytest.mark.parametrize("more", BODIES[:2])
@on_both_loops
async def test_only_who_asked_for_that_is_cancelled(more: bytes) -> None:
    told: list[Message] = []

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        app.begun += 1
        told.append(await receive())

    app = Working()
    async with site(AsgiHandler(waits)) as where, where.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n" + more + b"\r\n")
        await until(lambda: app.begun == 1)
        await client.close()
        await until(lambda: told == [{"type": "http.disconnect"}])


@pytest.mark.parametrize("more", BODIES[:2])
@on_both_loops
async def test_what_goes_on_after_the_answer_is_left_alone(more: bytes) -> None:
    app = Working(first="all")
    async with asked(app, more, True) as client:
        await client.until(b"x")
        await client.close()
        await until(lambda: app.ended == ["done"])
