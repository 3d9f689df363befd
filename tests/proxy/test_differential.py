"""Two servers that disagree must not be reachable with one stream of requests.

Streams that are made to be read in two ways go through a live proxy. What the server behind it receives is read by
a parser of its own: it has to be what the engine reads of the stream, request by request, and each is answered by
its own answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.exchange.wire import connected
from tests.proxy.upstreams import Proxy, proxy
from tests.support.recording import Recorder, echo_of, read_response, recorder
from tests.support.streams import CORPUS, STREAMS, read_stream


class Live:
    """A proxy and its recorder, on a loop that runs while an example does."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._stack = contextlib.AsyncExitStack()
        runner.run(self._start())

    async def _start(self) -> None:
        self.behind: Recorder = await self._stack.enter_async_context(recorder())
        self.proxy: Proxy = await self._stack.enter_async_context(proxy(self.behind.server))

    def close(self) -> None:
        self._runner.run(self._stack.aclose())

    def check(self, data: bytes, size: int) -> None:
        self._runner.run(self._check(data, size))

    async def _check(self, data: bytes, size: int) -> None:
        expected = read_stream(data)
        self.behind.seen.clear()
        async with asyncio.timeout(20), connected(self.proxy.site.port) as client:
            for start in range(0, len(data), size):
                client.send(data[start : start + size])
                await asyncio.sleep(0)
            for request in expected.requests:
                status, _, body = await read_response(client.reader, request[0])
                assert status == 200
                assert body == (b"" if request[0] == "HEAD" else echo_of(*request))
            if expected.refusal:
                assert (await read_response(client.reader, expected.refused))[0] == expected.refusal
            if expected.closes:
                assert await client.reader.read() == b""
        await self._sentinel()
        assert not self.behind.misread
        assert [seen.what for seen in self.behind.seen] == [*expected.requests, ("GET", "/sentinel", b"")]

    async def _sentinel(self) -> None:
        """It goes over a kept connection; were there still an answer that nobody waits for, it would get that."""
        async with asyncio.timeout(20), connected(self.proxy.site.port) as client:
            client.send(b"GET /sentinel HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            assert (await read_response(client.reader, "GET"))[2] == echo_of("GET", "/sentinel", b"")
            assert await client.reader.read() == b""


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with asyncio.Runner() as runner:
        it = Live(runner)
        yield it
        it.close()


@settings(max_examples=300)
@given(data=STREAMS, size=st.sampled_from([1, 7, 50, 10_000]))
@example(data=b"GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n", size=1)
def test_the_server_behind_sees_what_was_read_here(live: Live, data: bytes, size: int) -> None:
    live.check(data, size)


def test_all_of_the_corpus_one_after_the_other(live: Live) -> None:
    for data in CORPUS:
        live.check(data + b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n", 10_000)
