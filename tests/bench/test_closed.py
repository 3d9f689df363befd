from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable

from lbkit.bench.closed import ClosedLoad
from lbkit.server import Address
from tests.support.backends import Backend, Talk, free_address, hold
from tests.support.loops import on_both_loops


def answering(*answers: bytes) -> Talk:
    """Gives these answers in turn on each connection, then closes it."""
    return _giving(lambda: answers)


def always(*answers: bytes) -> Talk:
    """Gives these answers in turn for as long as it is asked.

    No number of them is enough: a fast machine gets through 10 000 in a fifth of a second, and the server
    that then closes on a request resets the connection.
    """
    return _giving(lambda: itertools.cycle(answers))


def _giving(answers: Callable[[], Iterable[bytes]]) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers():
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()

    return talk


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


async def run(talk: Talk, **settings: object) -> ClosedLoad:
    async with Backend(talk) as address:
        load = ClosedLoad(Address.parse(address), **{"connections": 2, "seconds": 0.2, **settings})  # type: ignore[arg-type]
        await load.run()
        return load


@on_both_loops
async def test_it_counts_answers_and_their_times() -> None:
    result = (await run(always(OK))).result
    assert result.requests > 20
    assert len(result.latencies) == result.requests
    assert result.received == result.requests * len(OK)
    assert 0 < result.percentile(0.5) <= result.percentile(0.99) < 0.2
    assert not result.failures


@on_both_loops
async def test_a_split_and_a_chunked_answer() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    result = (await run(always(OK, chunked))).result
    assert result.requests > 20
    assert not result.failures


@on_both_loops
async def test_each_failure_is_noted_with_its_reason() -> None:
    bad = (await run(answering(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"))).result
    assert bad.requests == 0
    assert {failure.why for failure in bad.failures} >= {"HTTP/1.1 503 Service Unavailable"}
    cut = (await run(answering(OK[:-1]))).result
    assert "connection lost: closed before the answer was complete" in {
        failure.why for failure in cut.failures
    }


@on_both_loops
async def test_refused_connections_are_failures() -> None:
    load = ClosedLoad(Address.parse(free_address()), connections=1, seconds=0.1)
    result = await load.run()
    assert result.failures[0].why.startswith("connect: ")


@on_both_loops
async def test_stop_ends_it() -> None:
    async with Backend(always(OK)) as address:
        load = ClosedLoad(Address.parse(address), connections=1, seconds=60)
        running = asyncio.create_task(load.run())
        await asyncio.sleep(0)
        load.stop()
        async with asyncio.timeout(5):
            assert not (await running).failures


def test_hold_is_never_an_answer() -> None:
    """A server that says nothing is a failure at the end, not a hang."""

    async def silent() -> None:
        async with Backend(hold) as address:
            load = ClosedLoad(Address.parse(address), connections=1, seconds=0.05)
            load.patience = 0.05
            result = await load.run()
            assert [failure.why for failure in result.failures] == ["no answer within 0.05 s of the end"]

    asyncio.run(silent())
