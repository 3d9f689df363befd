"""Real servers that are as slow as a scenario says: ``python -m lbkit.bench.backends``, one process for all.

The work comes with each request (``X-Work: SECONDS``), and how it is served is the simulator's own `Machine`,
in real time: it says when a request is done, and a timer waits for that. So live and simulated runs differ by
nothing but the balancer's cost, the sockets, and the clock.

The scenario's servers and events come as JSON on the first line of standard input, the ports go out as JSON
on standard output; events count from the next line of input on. The end of input ends the process.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
from typing import Any, cast

from lbkit.config.values import Duration
from lbkit.simulation.machines import Machine, Request, Sharing, make_machine
from lbkit.simulation.scenario import Event, ServerSpec

__all__ = ["Backend", "as_json", "main"]

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_BACKLOG = 2048


def as_json(servers: tuple[ServerSpec, ...], events: tuple[Event, ...]) -> str:
    """What the process reads on its first line."""
    return json.dumps(
        {
            "servers": [
                {
                    "name": spec.name,
                    "count": spec.count,
                    "speed": spec.speed,
                    "concurrency": spec.concurrency,
                    "discipline": spec.discipline,
                    "drops": spec.drops,
                }
                for spec in servers
            ],
            "events": [
                {
                    "at": event.at,
                    "server": event.server,
                    "speed": event.speed,
                    "down": event.down,
                    "until": event.until,
                    "every": event.every,
                }
                for event in events
            ],
        }
    )


class Backend:
    """One server: a listening socket and the machine behind it."""

    def __init__(self, name: str, machine: Machine) -> None:
        self.name = name
        self.port = 0
        self._machine = machine
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._waiting: dict[Request, tuple[_Connection, asyncio.TimerHandle | None]] = {}
        self._tick: asyncio.TimerHandle | None = None

    async def listen(self) -> None:
        """Take a free port, the same one again after a failure."""
        self._server = await self._loop.create_server(
            lambda: _Connection(self), "127.0.0.1", self.port, backlog=_BACKLOG
        )
        self.port = self._server.sockets[0].getsockname()[1]

    def opened(self, connection: _Connection) -> None:
        """A client is here."""
        self._connections.add(connection)

    def closed(self, connection: _Connection) -> None:
        """A client is gone."""
        self._connections.discard(connection)

    def serve(self, connection: _Connection, work: float) -> None:
        """A request has come; it is answered when the machine is done with it."""
        machine, now = self._machine, self._loop.time()
        if not machine.is_up:
            return  # silent: whoever waits for the answer waits in vain
        # The machine asks for nothing but the work; who sent it is no affair of its.
        nobody = cast(Any, None)
        request = Request(nobody, nobody, machine, now, now, work, None)
        due = machine.admit(request, now)
        self._waiting[request] = (connection, self._timer(request, due))
        if isinstance(machine, Sharing):
            self._look()

    def _timer(self, request: Request, due: float) -> asyncio.TimerHandle | None:
        return None if due == math.inf else self._loop.call_at(due, self._done, request)

    def _done(self, request: Request) -> None:
        connection, _ = self._waiting.pop(request)
        self._machine.in_flight -= 1
        connection.answer()

    def _look(self) -> None:
        """A shared machine knows only who is done next."""
        machine = self._machine
        assert isinstance(machine, Sharing)
        if self._tick is not None:
            self._tick.cancel()
        due = machine.next_due()
        self._tick = None if due == math.inf else self._loop.call_at(due, self._take_done)

    def _take_done(self) -> None:
        assert isinstance(self._machine, Sharing)
        for request in self._machine.take_done(self._loop.time()):
            self._done(request)
        self._look()

    async def begin(self, event: Event) -> None:
        """*event* happens to it."""
        self._machine.begin(event)
        await self._change()

    async def end(self, event: Event) -> None:
        """It is over."""
        self._machine.end(event)
        await self._change()

    async def _change(self) -> None:
        """Into the condition that events want it in."""
        machine, now = self._machine, self._loop.time()
        speed, down = machine.condition()
        if speed != machine.speed:
            self._set_speed(speed, now)
        machine.is_up = down is None
        if down is not None:
            self._drop_all(now)
        if down == "refuse":
            assert self._server is not None
            self._server.close()
            for connection in list(self._connections):
                connection.abort()
        elif self._server is None or not self._server.is_serving():
            await self.listen()

    def _set_speed(self, speed: float, now: float) -> None:
        machine = self._machine
        machine.set_speed(speed, now)
        if isinstance(machine, Sharing):
            self._look()
            return
        for request, (connection, timer) in list(self._waiting.items()):
            if timer is not None:
                timer.cancel()
            self._waiting[request] = (connection, self._timer(request, machine.due(request, now)))

    def _drop_all(self, now: float) -> None:
        for _, timer in self._waiting.values():
            if timer is not None:
                timer.cancel()
        self._waiting.clear()
        self._machine.clear(now)
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None


class _Connection(asyncio.Protocol):
    """One client, one request at a time, kept open in between."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._backend.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._backend.closed(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            work = 0.0
            for line in head.split(b"\r\n")[1:]:
                name, _, value = line.partition(b":")
                if name.lower() == b"x-work":
                    work = float(value)
            self._backend.serve(self, work)

    def answer(self) -> None:
        """The request is done."""
        if not self._transport.is_closing():
            self._transport.write(_ANSWER)

    def abort(self) -> None:
        """The server died."""
        self._transport.abort()


async def _play(event: Event, backends: list[Backend], start: float) -> None:
    """One event of the scenario, again and again where it says so."""
    loop, shift = asyncio.get_running_loop(), 0.0
    while True:
        await asyncio.sleep(start + event.at + shift - loop.time())
        for backend in backends:
            await backend.begin(event)
        if event.until is None:
            return
        await asyncio.sleep(start + event.until + shift - loop.time())
        for backend in backends:
            await backend.end(event)
        if event.every is None:
            return
        shift += event.every


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    wanted = json.loads(await lines.readline())
    specs = [ServerSpec(**facts) for facts in wanted["servers"]]
    backends: dict[str, list[Backend]] = {}
    for spec in specs:
        for name in spec.names():
            backend = Backend(name, make_machine(0, name, spec))
            await backend.listen()
            # An event may be for all of a table or for one of them.
            backends.setdefault(spec.name, []).append(backend)
            if name != spec.name:
                backends[name] = [backend]
    ports = {backend.name: backend.port for group in backends.values() for backend in group}
    print(json.dumps(ports), flush=True)
    if not await lines.readline():
        return
    start = loop.time()
    events = [_event(facts) for facts in wanted["events"]]
    playing = [loop.create_task(_play(event, backends[event.server], start)) for event in events]
    await lines.read()
    for task in playing:
        task.cancel()


def _event(facts: dict[str, Any]) -> Event:
    durations = {key: None if facts[key] is None else Duration(facts[key]) for key in ("until", "every")}
    return Event(Duration(facts["at"]), facts["server"], facts["speed"], facts["down"], **durations)


def main() -> None:
    """Serve until the input ends."""
    import uvloop

    uvloop.run(_serve())


if __name__ == "__main__":
    main()
