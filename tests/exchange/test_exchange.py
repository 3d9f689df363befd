"""What a handler can do with an exchange, over a real connection."""

from __future__ import annotations

import asyncio

import pytest

from lbkit.errors import ClientError
from lbkit.exchange import Exchange
from tests.exchange.wire import GET, LAST_GET, ask, site
from tests.support.loops import on_both_loops

POST = b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"


async def echo(exchange: Exchange) -> None:
    body = b""
    while data := await exchange.read():
        body += data
    await exchange.respond(200, [(b"Content-Type", b"text/plain")], body)


@on_both_loops
async def test_a_response_in_one_write() -> None:
    answer = await ask(echo, POST + b"Content-Length: 5\r\n\r\nhello")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nDate: ")
    assert b"\r\nServer: lbkit" in head and body == b"hello"


@on_both_loops
async def test_a_chunked_request() -> None:
    answer = await ask(echo, POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n")
    assert answer.endswith(b"\r\n\r\nhello!")


async def test_many_small_pieces_of_a_body_cost_no_more_than_it() -> None:
    """Nobody reads meanwhile: each kept by itself would cost forty times its size."""
    size = 20_000

    async def handler(exchange: Exchange) -> None:
        while exchange._buffered < size:
            await asyncio.sleep(0)
        assert len(exchange._chunks) <= size / 1024 + 1
        await echo(exchange)

    async with site(handler) as where, where.client() as client:
        client.send(POST + b"Content-Length: %d\r\n\r\n" % size)
        for number in range(size):
            client.send(b"%d" % (number % 10))
            await asyncio.sleep(0)
        assert (await client.response())[2] == b"0123456789" * (size // 10)


@on_both_loops
async def test_a_streamed_response_is_chunked_or_ends_with_the_connection() -> None:
    async def stream(exchange: Exchange) -> None:
        await exchange.start(200, [])
        for piece in (b"one", b"", b"two"):
            await exchange.write(piece)
        await exchange.end()

    assert (await ask(stream, LAST_GET)).endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
    assert (await ask(stream, b"GET / HTTP/1.0\r\n\r\n")).endswith(b"\r\n\r\nonetwo")
    head = await ask(stream, LAST_GET.replace(b"GET", b"HEAD"))
    assert head.endswith(b"\r\n\r\n") and b"one" not in head


@on_both_loops
async def test_the_handlers_own_date_and_server_stay() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.respond(200, [(b"date", b"then"), (b"SERVER", b"mine")])

    answer = await ask(handler, LAST_GET)
    assert answer.lower().count(b"\r\ndate: ") == answer.lower().count(b"\r\nserver: ") == 1


@on_both_loops
async def test_100_continue_is_sent_at_the_first_read() -> None:
    async with site(echo) as where, where.client() as client:
        client.send(POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"ok")
        assert (await client.rest()).endswith(b"\r\n\r\nok")


@on_both_loops
async def test_a_refusal_without_reading_sends_no_100_and_closes() -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.respond_error(403)

    async with site(refuse) as where, where.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        status, fields, _ = await client.response()
        assert (status, fields["connection"]) == (403, "close")
        assert await client.rest() == b""


@on_both_loops
async def test_what_is_known_about_the_two_ends() -> None:
    seen: list[Exchange] = []

    async def handler(exchange: Exchange) -> None:
        seen.append(exchange)
        await exchange.respond(204, [])

    async with site(handler) as where, where.client() as client:
        client.send(GET)
        await client.response()
        client.send(LAST_GET)
        await client.response()
        name = client.writer.get_extra_info("sockname")
        assert [exchange.number for exchange in seen] == [1, 2]
        assert seen[0].client == name[:2] and seen[0].server == ("127.0.0.1", where.port)
        assert seen[0].scheme == "http"


@on_both_loops
async def test_misuse_is_an_error_of_the_handler() -> None:
    errors: list[str] = []

    async def handler(exchange: Exchange) -> None:
        for misuse in (exchange.write(b"x"), exchange.end()):
            with pytest.raises(RuntimeError) as caught:
                await misuse
            errors.append(str(caught.value))
        await exchange.respond(200, [])
        for misuse in (exchange.respond(200, []), exchange.start(200, []), exchange.write(b"x")):
            with pytest.raises(RuntimeError) as caught:
                await misuse
            errors.append(str(caught.value))

    await ask(handler, LAST_GET)
    assert len(errors) == 5


@on_both_loops
async def test_a_client_that_leaves_is_noticed() -> None:
    told = asyncio.Event()
    ended: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def handler(exchange: Exchange) -> None:
        exchange.on_disconnect = told.set
        await exchange.wait_disconnected()
        assert exchange.disconnected
        try:
            while True:
                await exchange.read()
        except ClientError as error:
            ended.set_result(error)
            raise

    async with site(handler) as where:
        async with where.client() as client:
            client.send(POST + b"Content-Length: 10\r\n\r\nhalf")
        async with asyncio.timeout(5):
            error = await ended
            assert isinstance(error, ClientError) and error.status == 0
            await told.wait()


@on_both_loops
async def test_writing_to_a_client_that_is_gone_ends_the_handler() -> None:
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def handler(exchange: Exchange) -> None:
        await exchange.start(200, [])
        try:
            while True:
                await exchange.write(b"x" * 100_000)
        except ClientError as error:
            ended.set_result(error.status)
            raise

    async with site(handler) as where:
        async with where.client() as client:
            client.send(GET)
            await client.until(b"\r\n\r\n")
        async with asyncio.timeout(5):
            assert await ended == 0


@on_both_loops
async def test_a_half_closed_client_still_gets_its_response() -> None:
    async with site(echo) as where, where.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok" + GET)
        client.writer.write_eof()
        answer = await client.rest()
        assert answer.count(b"HTTP/1.1 200 OK") == 2


@on_both_loops
async def test_reading_after_the_response_is_reading_from_nobody() -> None:
    caught: list[int] = []

    async def handler(exchange: Exchange) -> None:
        await exchange.respond(200, [])
        try:
            await exchange.read()
        except ClientError as error:
            caught.append(error.status)

    async with site(handler) as where, where.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n")
        await client.response()
    assert caught == [0]
