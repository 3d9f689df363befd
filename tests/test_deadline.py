from __future__ import annotations

import asyncio
import math
import time

import pytest

from lbkit import deadline
from lbkit.errors import DeadlineExceeded
from tests.support.loops import on_both_loops


@on_both_loops
async def test_there_is_none_by_default() -> None:
    assert deadline.at() is None and deadline.remaining() == math.inf
    deadline.check()
    async with deadline.bounded():
        await asyncio.sleep(0)


def test_the_sooner_one_counts_and_ends_with_its_block() -> None:
    now = time.monotonic()
    with deadline.until(now + 60), deadline.until(now + 90):
        assert deadline.at() == now + 60
        with deadline.within(10):
            assert 9 < deadline.remaining() <= 10
        with deadline.until(None):
            assert deadline.at() == now + 60
    assert deadline.at() is None


def test_what_is_over_has_nothing_left() -> None:
    with deadline.until(time.monotonic() - 5):
        assert deadline.remaining() == 0
        with pytest.raises(DeadlineExceeded):
            deadline.check()


@on_both_loops
async def test_tasks_and_threads_know_it() -> None:
    async def look() -> float | None:
        return deadline.at()

    with deadline.within(60):
        wanted = deadline.at()
        assert await asyncio.create_task(look()) == wanted
        assert await asyncio.to_thread(deadline.at) == wanted


@on_both_loops
async def test_a_block_is_stopped() -> None:
    ended: list[str] = []
    for seconds in (0.01, 0.0):
        with deadline.within(seconds), pytest.raises(DeadlineExceeded):
            async with deadline.bounded():
                try:
                    await asyncio.sleep(60)
                finally:
                    ended.append("stopped")
    assert ended == ["stopped"]  # the second one was not begun


@on_both_loops
async def test_another_timeout_and_another_cancellation_stay_what_they_are() -> None:
    with deadline.within(60):
        with pytest.raises(TimeoutError):
            async with deadline.bounded():
                raise TimeoutError

        async def work() -> None:
            async with deadline.bounded():
                await asyncio.sleep(60)

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
