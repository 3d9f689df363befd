from __future__ import annotations

import asyncio
import threading

import pytest

from lbkit.exchange.disk import THREADS, on_disk
from tests.support.loops import on_both_loops


@on_both_loops
async def test_as_many_as_there_are_threads_wait_and_nobody_else() -> None:
    go_on = threading.Event()
    waiting = [on_disk(go_on.wait, 5) for _ in range(THREADS - 1)]
    try:
        assert await asyncio.wait_for(on_disk(pow, 2, 3), 5) == 8
        assert await asyncio.wait_for(asyncio.to_thread(pow, 2, 4), 5) == 16
    finally:
        go_on.set()
    assert all(await asyncio.gather(*waiting))


@on_both_loops
async def test_errors_are_the_callers() -> None:
    with pytest.raises(ZeroDivisionError):
        await on_disk(divmod, 1, 0)
