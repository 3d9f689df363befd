"""Keeps child processes running: one that ends is started again, later each time it ends soon."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from lbkit.cluster.backoff import Backoff
from lbkit.cluster.child import Child, describe_exit
from lbkit.cluster.report import Report
from lbkit.errors import StartFailed

__all__ = ["Supervisor"]


class Supervisor:
    """Watches started children until `stop`; what happens is told to *report*."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._children: list[Child] = []
        self._tasks: list[asyncio.Task[None]] = []

    def watch(self, child: Child) -> None:
        """Take over a child that was started."""
        self._children.append(child)
        task = asyncio.get_running_loop().create_task(self._watch(child), name=f"watch {child.name}")
        self._tasks.append(task)

    async def _watch(self, child: Child) -> None:
        loop = asyncio.get_running_loop()
        backoff = Backoff()
        while True:
            started = loop.time()
            how = describe_exit(await child.wait())
            wait = backoff.after(loop.time() - started)
            self._report.say(f"{child.name} ended ({how}); starting it again in {wait:g} s")
            await asyncio.sleep(wait)
            try:
                await child.start()
            except StartFailed as error:
                self._report.say(str(error))

    async def stop(self, order: Sequence[Child] | None = None) -> None:
        """End all children, in *order* where given (those of one group at a time), and all watching."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        for child in order if order is not None else self._children:
            await child.stop()
        self._children.clear()
