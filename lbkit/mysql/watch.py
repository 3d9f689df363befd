"""`Watch`: looks at every server of a topology again and again, and keeps what was seen last.

One silent look proves nothing about a server: a busy machine stalls for half a second now and then. So it
keeps what it said before, until a second look in a row is silent, too. Everything else counts at once: a
refused connection, and the end of the held one, upon which a new one is tried at once. When one server's
state changes, all others are looked at in the same moment, because a diagnosis needs them all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from lbkit.mysql.diagnosis import foreign
from lbkit.mysql.dsn import Dsn
from lbkit.mysql.observation import Observation, Reach
from lbkit.mysql.probe import Probe

__all__ = ["Watch"]

SILENCES = 2  # looks without an answer before a server counts as silent
AWAY = (Reach.SILENT, Reach.REFUSED, Reach.LOST)  # and not DENIED, which is there
SHORTEST = 0.01  # seconds between two looks at a server, whatever happens


class Watch:
    """Looks every *interval* seconds, each for at most *timeout*, at the servers of *dsns*.

    `changed` is set whenever a look said something new. `heard` holds by name what each server said when it
    answered the last time, `last_writable` what it said when it took writes the last time.

    `replaced` are the servers that took writes when they were heard of last, and during whose absence another
    one began to: one of them that comes back and takes writes was only silent, and does not know that it is
    the primary no more. That holds while another one takes writes, or has taken some that it lacks. Of two
    that were both there when the later one was opened nothing of the kind is known: somebody may have opened
    it by mistake.
    """

    def __init__(self, dsns: Sequence[Dsn], interval: float, timeout: float) -> None:
        self._interval = interval
        self._timeout = timeout
        self._probes = {dsn.name: Probe(dsn, timeout) for dsn in dsns}
        self._seen: dict[str, Observation] = {}
        self._silences = dict.fromkeys(self._probes, 0)
        self._wakes = {name: asyncio.Event() for name in self._probes}
        self._orders: dict[str, list[asyncio.Future[None]]] = {name: [] for name in self._probes}
        self._tasks: list[asyncio.Task[None]] = []
        self.changed = asyncio.Event()
        self.heard: dict[str, Observation] = {}
        self.last_writable: dict[str, Observation] = {}
        self.replaced: set[str] = set()

    async def start(self) -> None:
        """Look at everybody once, then go on in the background until `stop`."""
        await self.look_once()
        self._tasks = [asyncio.create_task(self._run(name)) for name in self._probes]

    async def stop(self) -> None:
        """End looking and close its connections. Whoever waits for new looks gets the last ones."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for name, orders in self._orders.items():
            self._orders[name] = []
            _fulfil(orders)
        await asyncio.gather(*(probe.close() for probe in self._probes.values()))

    @property
    def observations(self) -> list[Observation]:
        """What was seen last of each server, in the given order."""
        return [self._seen[name] for name in self._probes if name in self._seen]

    async def look_once(self) -> list[Observation]:
        """One look at everybody, before `start` or without it; a silent one counts at once."""
        seen = await asyncio.gather(*(probe.look() for probe in self._probes.values()))
        # Who is away is known first: without them somebody else may have been made the primary.
        for one in sorted(seen, key=lambda one: one.answers):
            self._silences[one.name] = SILENCES
            self._keep(one)
        return self.observations

    async def look_again(self) -> list[Observation]:
        """New looks at all, waiting for none of those that are silent already; the last ones after `stop`."""
        if not self._tasks:
            return self.observations
        loop = asyncio.get_running_loop()
        waiting = []
        for name, wake in self._wakes.items():
            if self._seen[name].reach is not Reach.SILENT:
                waiting.append(loop.create_future())
                self._orders[name].append(waiting[-1])
            wake.set()
        await asyncio.gather(*waiting)
        return self.observations

    def wake(self) -> None:
        """Look at everybody now."""
        for event in self._wakes.values():
            event.set()

    @property
    def away(self) -> set[str]:
        """Those that cannot be reached, and took writes when they were heard of last, or never were."""
        return {
            name
            for name, seen in self._seen.items()
            if seen.reach in AWAY and (name not in self.heard or self.heard[name].writable)
        }

    async def _run(self, name: str) -> None:
        probe, wake = self._probes[name], self._wakes[name]
        while True:
            # One that is silent may go on at any moment, and must not do so unseen.
            urgent = self._seen[name].reach in (Reach.SILENT, Reach.LOST)
            await self._pause(probe, wake, SHORTEST if urgent else self._interval)
            wake.clear()
            orders, self._orders[name] = self._orders[name], []
            try:
                self._keep(await probe.look())
            finally:
                _fulfil(orders)
            await asyncio.sleep(SHORTEST)

    async def _pause(self, probe: Probe, wake: asyncio.Event, seconds: float) -> None:
        """*seconds*, or until somebody asks or the connection ends."""
        waits = [asyncio.ensure_future(wake.wait()), asyncio.ensure_future(probe.ended())]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _keep(self, one: Observation) -> None:
        before = self._seen.get(one.name)
        if one.reach is Reach.SILENT:
            self._silences[one.name] += 1
            if self._silences[one.name] < SILENCES:
                return
        else:
            self._silences[one.name] = 0
        if one.answers:
            self._judge(one)
            self.heard[one.name] = one
        self._seen[one.name] = one
        if before is None or _state(before) != _state(one):
            self.changed.set()
            for name, event in self._wakes.items():
                if name != one.name:
                    event.set()

    def _judge(self, one: Observation) -> None:
        """Keep `last_writable` and `replaced` by what *one* says now."""
        if not one.writable:
            self.replaced.discard(one.name)
            return
        self.last_writable[one.name] = one
        others = [self.heard[name] for name in self.last_writable if name != one.name]
        if not any(last.writable or foreign(last.received, one) for last in others):
            self.replaced.discard(one.name)
        before = self.heard.get(one.name)
        present = any(other.answers and other.writable for other in self._seen.values())
        if not present and (before is None or not before.writable):
            self.replaced |= self.away - {one.name}


def _fulfil(orders: Iterable[asyncio.Future[None]]) -> None:
    for order in orders:
        if not order.done():
            order.set_result(None)


def _state(one: Observation) -> object:
    """What of it matters to others; transactions go on all the time."""
    link = one.link and (one.link.source, one.link.connected, one.link.applying, one.link.at_work)
    semi_sync = one.semi_sync.waits, one.semi_sync.clients >= one.semi_sync.replicas
    return one.reach, one.writable, one.offline, link, semi_sync, one.group
