from __future__ import annotations

import asyncio
import gc
import socket
import weakref

import pytest

from lbkit.relay import RelayEnd, Resources
from lbkit.relay.copying import CopyRelay
from lbkit.relay.resources import BUFFER
from tests.relay.joined import Joined, resources, tcp_pair
from tests.support.loops import on_both_loops, until


async def test_what_a_server_said_before_it_left_reaches_the_client() -> None:
    """The client still sends when the server has answered and gone: the answer comes before the reset."""
    async with resources() as shared, Joined("splice", shared) as joined:
        await joined.pass_on(joined.client, joined.server, b"the head of a long request")
        joined.server.send(b"no, thanks")
        joined.client.send(b"the body, which nobody reads")
        await asyncio.sleep(0)
        joined.server.close()
        received = b""
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            async with asyncio.timeout(5):
                while True:
                    received += await joined.loop.sock_recv(joined.client, 100)
                    if received:
                        await joined.loop.sock_sendall(joined.client, b"more")
        assert received == b"no, thanks"
        assert await joined.end() is RelayEnd.SERVER_RESET


async def test_at_most_one_buffer_waits_for_a_slow_reader() -> None:
    async with resources() as shared, Joined("splice", shared) as joined:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                for _ in range(1000):
                    await joined.loop.sock_sendall(joined.server, bytes(30_000))
        relay = joined.relay
        assert isinstance(relay, CopyRelay)
        assert 0 < relay.client.unsent <= BUFFER
        client, server = relay.progress()
        assert server - client == relay.client.unsent


@on_both_loops
async def test_a_session_that_is_over_is_freed_without_a_collection() -> None:
    async with resources() as shared:
        gc.disable()
        try:
            for name in ("splice", "sockmap"):
                joined = Joined(name, shared)
                async with joined:
                    await joined.pass_on(joined.client, joined.server, b"x")
                    side = weakref_of(joined)
                del joined
                await until(lambda side=side: side() is None)
        finally:
            gc.enable()


def weakref_of(joined: Joined) -> weakref.ref[socket.socket]:
    relay = joined.relay
    assert isinstance(relay, CopyRelay)
    return weakref.ref(relay.client.sock)


async def test_events_in_line_after_the_end_do_nothing() -> None:
    loop = asyncio.get_running_loop()
    shared = Resources(loop)
    client, downstream = tcp_pair()
    server, upstream = tcp_pair()
    ends: list[RelayEnd] = []
    relay = CopyRelay.__new__(type("Concrete", (CopyRelay,), {}))
    CopyRelay.__init__(relay, shared, downstream, upstream, ends.append)
    side = relay.client
    relay.start()
    relay.abort()
    relay.abort()
    side.ready(0xFFFF)
    side.read()
    side.flush()
    assert ends == [RelayEnd.ABORTED]
    await asyncio.sleep(0)
    shared.close()
    client.close()
    server.close()
