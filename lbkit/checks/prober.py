"""Runs the due checks of one pool and reports each result to it; `judge` runs a single one.

One task waits for the earliest due time; each check runs in a task of its own, so that a hanging
server does not delay the checks of the others. A server's next check is not started before its last
one has ended.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from lbkit.checks.base import HealthCheck
from lbkit.errors import ServerError
from lbkit.health import CheckSchedule
from lbkit.pool import HealthChange, Pool
from lbkit.server import Address, Server

__all__ = ["Prober", "judge", "report"]

logger = logging.getLogger("lbkit.health")


async def judge(check: HealthCheck, address: Address, timeout: float) -> tuple[bool, str]:
    """Run *check* once, at most *timeout* seconds: whether it passed, and what was seen."""
    try:
        async with asyncio.timeout(timeout):
            return True, await check.probe(address)
    except TimeoutError:
        return False, f"no answer within {timeout:g} s"
    except ServerError as error:
        return False, str(error)


def report(pool: Pool, name: str, passed: bool, reason: str) -> HealthChange | None:
    """Give *pool* a result; a change is logged and returned."""
    change = pool.observe(name, passed, reason, asyncio.get_running_loop().time())
    if change is not None:
        level = logging.INFO if passed else logging.WARNING
        logger.log(level, "pool %s: server %s is %s: %s", pool.name, name, change.state.value, reason)
    return change


class Prober:
    """Checks every server of *pool* each `interval` seconds, each check at most `timeout` seconds.

    *changed* is told of each server that went up or down, after the pool took it in.
    """

    def __init__(
        self,
        pool: Pool,
        check: HealthCheck,
        *,
        interval: float = 2.0,
        timeout: float = 1.0,
        jitter: float = 0.1,
        rng: random.Random,
        changed: Callable[[HealthChange], None] = lambda change: None,
    ) -> None:
        self._pool = pool
        self._check = check
        self._interval = interval
        self._timeout = timeout
        self._jitter = jitter
        self._rng = rng
        self._changed = changed
        self._schedules: dict[Server, CheckSchedule] = {}
        self._running: dict[Server, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; the first checks run at once."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"prober {self._pool.name}")

    def refresh(self) -> None:
        """The pool's members changed: new servers are checked at once."""
        self._wake.set()

    def seen(self, server: Server) -> None:
        """Somebody checked *server* just now: its next check is an interval away."""
        now = asyncio.get_running_loop().time()
        schedule = self._schedules[server] = CheckSchedule(self._interval, self._jitter, now, self._rng)
        schedule.started(now)

    async def stop(self) -> None:
        """End the checks; none is in progress afterwards."""
        tasks = [task for task in (self._task, *self._running.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            due = self._start_due(loop.time())
            wait = None if due is None else max(0.0, due - loop.time())
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _start_due(self, now: float) -> float | None:
        """Start what is due; when to look again, None for not before a wake-up."""
        self._schedules = {server: self._schedule(server, now) for server in self._pool}
        waiting: list[float] = []
        for server, schedule in self._schedules.items():
            if server in self._running:
                continue
            if schedule.due <= now:
                schedule.started(now)
                self._running[server] = asyncio.get_running_loop().create_task(self._probe(server))
            else:
                waiting.append(schedule.due)
        return min(waiting, default=None)

    def _schedule(self, server: Server, now: float) -> CheckSchedule:
        known = self._schedules.get(server)
        return known or CheckSchedule(self._interval, self._jitter, now, self._rng)

    async def _probe(self, server: Server) -> None:
        try:
            passed, reason = await judge(self._check, server.address, self._timeout)
            # By name and object: the server may have left the pool, or another one may have its name.
            if server.name in self._pool and self._pool[server.name] is server:
                change = report(self._pool, server.name, passed, reason)
                if change is not None:
                    self._changed(change)
        finally:
            self._running.pop(server, None)
            self._wake.set()
