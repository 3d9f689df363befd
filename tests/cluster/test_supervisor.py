from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from lbkit.cluster.child import Child
from lbkit.cluster.statedir import StateDir
from lbkit.cluster.supervisor import Supervisor


class Lines:
    """A report that keeps what was said."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[str] = asyncio.Queue()

    def say(self, text: str) -> None:
        self.said.put_nowait(text)

    def progress(self, label: str, done: int, total: int) -> None: ...


async def test_a_killed_child_is_started_again_and_stop_ends_it(tmp_path: Path) -> None:
    report = Lines()
    with StateDir(tmp_path) as state:
        child = Child(
            state, "sleeper", [sys.executable, "-c", "import time; time.sleep(600)"], tmp_path / "log"
        )
        supervisor = Supervisor(report)
        await child.start()
        supervisor.watch(child)
        first = child.pid
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(10):
            assert "sleeper ended (killed by SIGKILL); starting it again" in await report.said.get()
            while child.pid in (0, first):
                await asyncio.sleep(0.01)
        second = child.pid
        await supervisor.stop()
        assert child.pid == 0
        with pytest.raises(ProcessLookupError):
            os.kill(second, 0)
        assert state.recorded() == []
