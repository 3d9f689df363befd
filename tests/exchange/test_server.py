from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from lbkit.exchange import Exchange, HttpServer, HttpSettings
from tests.exchange.wire import GET, LAST_GET, site
from tests.support.loops import on_both_loops


async def empty(exchange: Exchange) -> None:
    await exchange.respond(200, [])


@on_both_loops
async def test_draining_lets_requests_end_and_closes_the_rest() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        begun.set()
        await go_on.wait()
        await exchange.respond(200, [])

    async with site(handler) as where, where.client() as busy, where.client() as idle:
        busy.send(GET)
        await begun.wait()
        drain = asyncio.create_task(where.http.drain(5))
        assert await idle.rest() == b""
        go_on.set()
        status, fields, _ = await busy.response()
        assert (status, fields["connection"]) == (200, "close")
        assert await drain == 0


@on_both_loops
async def test_draining_waits_for_the_rest_of_a_head() -> None:
    async with site(empty) as where, where.client() as client:
        client.send(GET[:9])
        async with asyncio.timeout(5):
            while where.http.counters.bytes_in < 9:
                await asyncio.sleep(0)
        drain = asyncio.create_task(where.http.drain(5))
        await asyncio.sleep(0)
        client.send(GET[9:])
        status, fields, _ = await client.response()
        assert (status, fields["connection"]) == (200, "close")
        assert await drain == 0


@on_both_loops
async def test_draining_has_an_end() -> None:
    cancelled = asyncio.Event()
    begun = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        begun.set()
        try:
            await asyncio.sleep(1000)
        finally:
            cancelled.set()

    async with site(handler) as where, where.client() as client:
        client.send(GET)
        await begun.wait()
        assert await where.http.drain(0.01) == 1
        assert cancelled.is_set() and where.http.open_connections == 0


@on_both_loops
async def test_a_handler_that_cannot_be_cancelled_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("lbkit.exchange.server._CANCEL_TIME", 0.01)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        begun.set()
        while not go_on.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await go_on.wait()

    async with site(handler) as where, where.client() as client:
        client.send(GET)
        await begun.wait()
        await where.http.close()
        assert "1 requests go on" in caplog.text
        go_on.set()


@on_both_loops
async def test_draining_waits_for_work_after_the_response() -> None:
    done = False

    async def handler(exchange: Exchange) -> None:
        nonlocal done
        await exchange.respond(200, [])
        await asyncio.sleep(0.02)
        done = True

    async with site(handler) as where:
        await where.ask(LAST_GET)
        await where.http.drain(5)
        assert done


@on_both_loops
async def test_handler_and_settings_are_replaced_in_place() -> None:
    async def other(exchange: Exchange) -> None:
        await exchange.respond(404, [])

    async with site(empty) as where, where.client() as client:
        client.send(GET)
        assert (await client.response())[0] == 200
        where.http.handler = other
        where.http.settings = HttpSettings(server_header=b"")
        client.send(GET)
        status, fields, _ = await client.response()
        assert status == 404 and "server" not in fields


@on_both_loops
async def test_an_accepted_socket_can_be_handed_over() -> None:
    loop = asyncio.get_running_loop()
    closed = asyncio.Event()
    http = HttpServer(empty)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    await loop.connect_accepted_socket(lambda: http.protocol_factory(closed.set), theirs)
    await loop.sock_sendall(ours, LAST_GET)
    async with asyncio.timeout(5):
        assert (await loop.sock_recv(ours, 1000)).startswith(b"HTTP/1.1 200 OK")
        await closed.wait()
    ours.close()
    await http.close()


@on_both_loops
async def test_the_timer_works_by_itself() -> None:
    settings = HttpSettings(request_head=0.02)
    async with site(empty, settings) as where, where.client() as client:
        assert await client.rest() == b""


def test_a_problem_with_every_request_is_logged_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    http = HttpServer(empty, clock=lambda: now)
    for now in (1.0, 1.2, 1.9, 2.1):
        http.report(f"at {now}")
    assert [record.getMessage() for record in caplog.records] == ["at 1.0", "at 2.1 (2 more before)"]


def test_a_server_without_connections_has_nothing_to_close() -> None:
    async def run() -> None:
        http = HttpServer(empty)
        assert await http.drain(0) == 0

    asyncio.run(run())
