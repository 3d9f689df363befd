"""`Monitor`: asks every server, once an interval and on request, whether it lives and takes writes.

Each server has a held connection of its own for this, so that a probe neither waits for a busy pool nor
pays for a login, and the death of the server shows as the end of that connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lbkit.errors import ConnectFailed, ConnectionLost, QueryFailed
from lbkit.mysql.driver import Connection, connect
from lbkit.mysql.topology import Change, Member, Topology

__all__ = ["Monitor"]

PROBE = "SELECT @@global.read_only AS read_only"  # both flavours; MySQL's super_read_only implies it


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
        self._timeout = timeout
        self._changed = changed
        self._connections: dict[str, Connection] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._wakes = {member.name: asyncio.Event() for member in topology.members}

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
        connections, self._connections = self._connections, {}
        await asyncio.gather(*(connection.close() for connection in connections.values()))

    def wake(self, name: str = "") -> None:
        """Probe *name*, or everybody, without waiting for the interval to pass."""
        for event in [self._wakes[name]] if name else self._wakes.values():
            event.set()

    async def _run(self, member: Member) -> None:
        wake = self._wakes[member.name]
        while True:
            try:
                async with asyncio.timeout(self._interval):
                    await wake.wait()
            except TimeoutError:
                pass  # the usual case: nobody asked, the interval is over
            wake.clear()
            await self._probe(member)

    async def _probe(self, member: Member) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                writable = await self._ask(member)
        except TimeoutError:
            self._drop(member)
            reason = f"silent for {self._timeout:g} s"
            changes = self._topology.failed(member.name, reason, True, loop.time())
        except (ConnectFailed, ConnectionLost, QueryFailed) as error:
            self._drop(member)
            changes = self._topology.failed(member.name, str(error), False, loop.time())
        else:
            changes = self._topology.answered(member.name, writable, loop.time())
        if changes:
            self._changed(changes)

    async def _ask(self, member: Member) -> bool:
        held = self._connections.get(member.name)
        if held is None or held.closed:
            self._drop(member)
            # The probe's own time limit must be the one that ends it: silence is judged more mildly.
            held = self._connections[member.name] = await connect(member.dsn, self._timeout + 1)
        rows = await held.fetch(PROBE)
        return not int(rows[0]["read_only"])

    def _drop(self, member: Member) -> None:
        if held := self._connections.pop(member.name, None):
            held.drop()
