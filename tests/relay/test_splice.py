from __future__ import annotations

import asyncio
import os
import random

import pytest

from lbkit.kernel.pipes import CAPACITY, PipePool
from lbkit.relay import RelayEnd
from lbkit.relay.splice import SpliceRelay, SplicingSide
from tests.relay.joined import Joined, resources
from tests.support.loops import on_both_loops, until


def server_of(joined: Joined) -> SplicingSide:
    assert isinstance(joined.relay, SpliceRelay)
    side = joined.relay.server
    assert isinstance(side, SplicingSide)
    return side


@on_both_loops
async def test_a_long_transfer_is_spliced_and_short_messages_are_copied_again() -> None:
    async with resources() as shared, Joined("splice", shared) as joined:
        side = server_of(joined)
        data = random.Random(1).randbytes(8_000_000)
        sending = asyncio.create_task(joined.loop.sock_sendall(joined.server, data))
        assert await joined.read(joined.client, len(data)) == data
        await sending
        assert side.is_elsewhere, "it is a long transfer"
        for number in range(30):
            await joined.pass_on(joined.server, joined.client, b"%d" % number)
        assert not side.is_elsewhere, "it is none any more"
        assert shared.pipes.in_use == 0


@on_both_loops
async def test_a_pipe_is_held_only_while_bytes_are_in_it() -> None:
    async with resources() as shared:
        async with Joined("splice", shared) as joined:
            data = random.Random(2).randbytes(30_000_000)
            sending = asyncio.create_task(joined.send_and_shut(joined.server, data))
            await until(lambda: shared.pipes.in_use)
            pipe = server_of(joined).pipe
            await until(lambda: pipe is not None and pipe.held)
            assert pipe is not None and joined.relay.client.unsent == pipe.held <= CAPACITY  # type: ignore[attr-defined]
            assert await joined.read_all(joined.client) == data
            await sending
            assert shared.pipes.in_use == 0
            joined.client.close()
            assert await joined.end() is RelayEnd.DONE
        assert shared.pipes.in_use == 0


@on_both_loops
async def test_a_session_that_is_cut_gives_its_pipe_back_without_its_bytes() -> None:
    async with resources() as shared:
        async with Joined("splice", shared) as joined:
            sending = asyncio.create_task(joined.loop.sock_sendall(joined.server, bytes(30_000_000)))
            await until(lambda: shared.pipes.in_use)
            joined.relay.abort()
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                await sending
        assert shared.pipes.in_use == 0
        fresh = shared.pipes.take()
        assert fresh is not None
        with pytest.raises(BlockingIOError):
            os.read(fresh.read_end, 1)
        shared.pipes.give_back(fresh)


@on_both_loops
async def test_without_pipes_it_copies() -> None:
    async with resources() as shared:
        shared.pipes = PipePool(most=0)
        async with Joined("splice", shared) as joined:
            data = random.Random(3).randbytes(100_000_000)
            sending = asyncio.create_task(joined.send_and_shut(joined.client, data))
            assert await joined.read_all(joined.server) == data
            await sending


def test_where_there_is_no_splice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "splice")
    assert SpliceRelay.unsupported() == "needs splice(2) and epoll, which are Linux's"
