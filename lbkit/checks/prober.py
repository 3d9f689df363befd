"""Runs the due checks of one pool and reports each result to it; `judge` runs a single one.

One task waits for the earliest due time; each check runs in a task of its own, so that a hanging
server does not delay the checks of the others. A server's next check is not started before its last
one has ended.

The due times are in a heap in which old entries stay until they come up: a server's schedule says which one
holds. So a result costs little even where there are thousands of servers. At most `AT_A_TIME` checks are in
progress: where thousands are due at once, as at the start, more would run out of descriptors, and the
loop would come to their answers only after their time was over. Results that come together are given to the
pool together, because each change costs it as much as it has servers.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable
from itertools import count

from lbkit.checks.base import HealthCheck
from lbkit.errors import Exhausted, ServerError
from lbkit.health import CheckSchedule, Intervals, parse_advice
from lbkit.pool import Pool
from lbkit.server import Address, Server

__all__ = ["AT_A_TIME", "Prober", "judge", "report"]

AT_A_TIME = 500
"""Checks of one pool in progress."""


async def judge(check: HealthCheck, address: Address, timeout: float) -> tuple[bool, str]:
    """Run *check* once, at most *timeout* seconds: whether it passed, and what was seen.

    Raises Exhausted where this process has no descriptor left for it: that says nothing about the server.
    """
    try:
        async with asyncio.timeout(timeout):
            return True, await check.probe(address)
    except TimeoutError:
        return False, f"no answer within {timeout:g} s"
    except ServerError as error:
        return False, str(error)


def report(
    pool: Pool, check: HealthCheck, server: Server, passed: bool, reason: str, *, counts: bool = True
) -> None:
    """Give *pool* a result of *check*; *counts* False takes only the advice that came with it.

    A result for a server that has left in the meantime is dropped, also where another one has its name.
    """
    if server.name not in pool or pool[server.name] is not server:
        return
    now = asyncio.get_running_loop().time()
    if passed and check.advises:
        pool.advise(server.name, parse_advice(reason), now)
    if counts:
        pool.observe(server.name, passed, reason, now)


class Prober:
    """Checks every server of *pool* as often as *intervals* say, each check at most `timeout` seconds.

    *counts* False: results don't count for health, only the advice of the servers' agents is taken.
    """

    def __init__(
        self,
        pool: Pool,
        check: HealthCheck,
        intervals: Intervals,
        *,
        timeout: float = 1.0,
        counts: bool = True,
        rng: random.Random,
        on_result: Callable[[Server, bool, str], None] | None = None,
    ) -> None:
        """*on_result* is told of each result that was given to the pool."""
        self._on_result = on_result
        self._pool = pool
        self._check = check
        self._intervals = intervals
        self._timeout = timeout
        self._counts = counts
        self._rng = rng
        self._schedules: dict[Server, CheckSchedule] = {}
        self._heap: list[tuple[float, int, Server]] = []
        self._order = count()
        self._running: dict[Server, asyncio.Task[None]] = {}
        self._results: list[tuple[Server, bool, str]] = []
        self._is_stopped = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_changed = True

    def start(self) -> None:
        """Begin; the first checks run at once."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"prober {self._pool.name}")

    def refresh(self) -> None:
        """The pool's members changed: new servers are checked at once."""
        self._is_changed = True
        self._wake.set()

    def seen(self, server: Server, passed: bool) -> None:
        """Somebody checked *server* just now: its next check is an interval away."""
        if passed:
            self._check.passed_before(server.address)
        now = asyncio.get_running_loop().time()
        schedule = self._schedules[server] = CheckSchedule(self._intervals, now, self._rng)
        schedule.started(now, self._pool.health(server.name))
        self._plan(server, schedule)

    def hurry(self, server: Server) -> None:
        """Something seems wrong with *server*: check it within the fast interval."""
        schedule = self._schedules.get(server)
        if schedule is not None:
            schedule.hurry()
            self._plan(server, schedule)
            self._wake.set()

    async def stop(self) -> None:
        """End the checks; none is in progress afterwards."""
        self._is_stopped = True
        tasks = [task for task in (self._task, *self._running.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _plan(self, server: Server, schedule: CheckSchedule) -> None:
        heapq.heappush(self._heap, (schedule.due, next(self._order), server))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            if self._is_changed:
                self._is_changed = False
                self._take_members(loop.time())
            due = self._start_due(loop.time())
            wait = None if due is None else max(0.0, due - loop.time())
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _take_members(self, now: float) -> None:
        known = self._schedules
        self._schedules = {
            server: known.get(server) or CheckSchedule(self._intervals, now, self._rng)
            for server in self._pool
        }
        self._check.members_are({server.address for server in self._schedules})
        self._heap = []
        for server, schedule in self._schedules.items():
            self._plan(server, schedule)

    def _start_due(self, now: float) -> float | None:
        """Start what is due; when to look again, None for not before a wake-up."""
        heap = self._heap
        while heap:
            due, _, server = heap[0]
            schedule = self._schedules.get(server)
            # A check in progress plans the next one when it ends.
            if schedule is not None and schedule.due == due and server not in self._running:
                if due > now:
                    return due
                if len(self._running) >= AT_A_TIME:
                    return None  # the end of any of them is a wake-up
                schedule.started(now, self._pool.health(server.name))
                self._running[server] = asyncio.get_running_loop().create_task(self._probe(server))
            heapq.heappop(heap)
        return None

    async def _probe(self, server: Server) -> None:
        try:
            passed, reason = await judge(self._check, server.address, self._timeout)
        except Exhausted:
            self._over(server)
            return
        except BaseException:
            self._over(server)
            raise
        self._results.append((server, passed, reason))
        if len(self._results) == 1:
            asyncio.get_running_loop().call_soon(self._take_results)

    def _take_results(self) -> None:
        results, self._results = self._results, []
        if self._is_stopped:
            return
        try:
            with self._pool.together(asyncio.get_running_loop().time()):
                for server, passed, reason in results:
                    report(self._pool, self._check, server, passed, reason, counts=self._counts)
                    if self._on_result is not None:
                        self._on_result(server, passed, reason)
        finally:
            for server, _, _ in results:
                self._over(server)

    def _over(self, server: Server) -> None:
        """A check of it has ended."""
        self._running.pop(server, None)
        schedule = self._schedules.get(server)
        if schedule is not None and server.name in self._pool:
            schedule.ended(self._pool.health(server.name))
            self._plan(server, schedule)
        self._wake.set()
