from __future__ import annotations

import asyncio
import threading

import pytest

from lbkit.asgi.blocked import Watch
from tests.support.loops import on_both_loops


@on_both_loops
async def test_who_holds_up_the_loop_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    told = threading.Event()

    def the_culprit() -> None:
        for _ in range(1000):
            if "the_culprit" in caplog.text:
                break
            told.wait(0.01)
        told.wait(0.15)  # told once, however long it takes

    watch = Watch(0.04)
    watch.start()
    try:
        await asyncio.sleep(0.1)
        assert not caplog.records, "a loop that turns is not blocked"
        the_culprit()
    finally:
        watch.stop()
    assert len(caplog.records) == 1 and "blocked for 0.04 s" in caplog.text
    assert "lbkit-blocked" not in {thread.name for thread in threading.enumerate()}
