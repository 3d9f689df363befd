"""`Monitor`: asks every server, once an interval and on request, whether it lives and takes writes.

Each server has a held connection of its own for this, so that a probe neither waits for a busy pool nor
pays for a login, and the death of the server shows as the end of that connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lbkit.mysql.observation import Observation
from lbkit.mysql.probe import Probe
from lbkit.mysql.topology import Change, Member, Topology

__all__ = ["Monitor"]

HURRY = 0.03  # seconds between two looks while there is no primary: somebody is about to be made one
SHORTEST = 0.01  # seconds between two looks at a server that goes on to close its connections


class Monitor:
    """Keeps *topology* true while it runs; *changed* is called with everything that changed.

    `start` returns after the first round; `wake` asks for a round now, for whoever saw a failure.
    """

    def __init__(
        self,
        topology: Topology,
        interval: float,
        timeout: float,
        changed: Callable[[list[Change]], None],
    ) -> None:
        self._topology = topology
        self._interval = interval
        self._changed = changed
        # Only what routing needs: an application's account may not see the rest.
        self._probes = {member.name: Probe(member.dsn, timeout, whole=False) for member in topology.members}
        self._looking = {member.name: asyncio.Lock() for member in topology.members}
        self._tasks: list[asyncio.Task[None]] = []
        self._wakes = {member.name: asyncio.Event() for member in topology.members}
        self._rounds = asyncio.Lock()
        self._begun, self._done = 0, 0
        self._answered = False

    async def start(self) -> None:
        """Probe everybody once, then go on in the background until `stop`."""
        await asyncio.gather(*(self._probe(member) for member in self._topology.members))
        self._tasks = [asyncio.create_task(self._run(member)) for member in self._topology.members]

    async def stop(self) -> None:
        """End probing and close its connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await asyncio.gather(*(probe.close() for probe in self._probes.values()))

    def wake(self, name: str = "") -> None:
        """Probe *name*, or everybody, without waiting for the interval to pass."""
        for event in [self._wakes[name]] if name else self._wakes.values():
            event.set()

    async def look(self) -> bool:
        """Probe everybody in a round that begins now; whether all answered. Who asks meanwhile shares it."""
        wanted = self._begun + 1
        async with self._rounds:
            if self._done < wanted:
                self._begun += 1
                number = self._begun
                seen = await asyncio.gather(*(self._probe(member) for member in self._topology.members))
                self._answered, self._done = all(seen), number
            return self._answered

    async def _run(self, member: Member) -> None:
        wake, probe = self._wakes[member.name], self._probes[member.name]
        while True:
            await self._pause(wake, probe)
            wake.clear()
            await self._probe(member)
            await asyncio.sleep(SHORTEST)

    async def _pause(self, wake: asyncio.Event, probe: Probe) -> None:
        """Until the interval is over, somebody asks, or the held connection ends."""
        seconds = self._interval if self._topology.primary else min(self._interval, HURRY)
        waits = [asyncio.ensure_future(wake.wait()), asyncio.ensure_future(probe.ended())]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _probe(self, member: Member) -> bool:
        """Look and take what was seen; whether it answered."""
        seen = await self._look(member)
        returns = seen.answers and seen.writable and member.writable is not False
        if returns and self._tasks and self._topology.primary is None:
            # A former primary that was only silent; another one may be open since the last look.
            others = [other for other in self._topology.members if other is not member and other.up]
            for other in await asyncio.gather(*(self._look(other) for other in others)):
                self._take(other)
        self._take(seen)
        return seen.answers

    async def _look(self, member: Member) -> Observation:
        async with self._looking[member.name]:
            return await self._probes[member.name].look()

    def _take(self, seen: Observation) -> None:
        if changes := self._topology.observed(seen, asyncio.get_running_loop().time()):
            if any(change.text.startswith("is down") for change in changes):
                self.wake()  # where one has gone another one may take its place
            self._changed(changes)
