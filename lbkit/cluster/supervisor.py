"""Keeps child processes running: one that ends is started again, later each time it ends soon."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from lbkit.cluster.child import Child, describe_exit
from lbkit.cluster.report import Report
from lbkit.errors import StartFailed

__all__ = ["Backoff", "Supervisor"]


class Backoff:
    """Seconds to wait before the next start.

    `first` doubles up to `longest` while the child ends within `steady` seconds of its start, and
    begins anew after it ran for longer. The first restart comes at once for practical purposes: a
    process that was killed should be back before anybody misses it.
    """

    def __init__(self, first: float = 0.1, longest: float = 10.0, steady: float = 10.0) -> None:
        self.first = first
        self.longest = longest
        self.steady = steady
        self._next = first

    def after(self, lifetime: float) -> float:
        """The wait after a child that ran for *lifetime* seconds."""
        if lifetime >= self.steady:
            self._next = self.first
        wait = self._next
        self._next = min(self._next * 2, self.longest)
        return wait


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
