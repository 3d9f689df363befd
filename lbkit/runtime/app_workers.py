"""``lbkit app --workers N``: a parent process that holds the sockets, and N that run the application.

The balancer's `Supervisor` hands configuration and health to its workers and takes their numbers; an
application server has none of that, so that its workers are ordinary ``lbkit app`` processes which inherit a
socket and one end of a link. On that a worker says ``ready``, ``full`` (it wants to be replaced) or why it
did not start; its end at the parent tells a worker that the parent is gone.

Nobody waits for a worker: a new one runs before the old one is told to stop, and the sockets of one that died
stay open here, so that who is in its backlog is served by the next. A busy worker is left alone: nothing asks
it for a sign of life.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from lbkit.asgi import AsgiServer
from lbkit.cluster.backoff import Backoff
from lbkit.cluster.child import describe_exit
from lbkit.errors import AppFailed, StartFailed
from lbkit.runtime.ports import Port
from lbkit.server import Address

__all__ = ["AppWorkers", "Link", "is_worn"]

logger = logging.getLogger("lbkit")

_IMPORTS = 15.0  # seconds over the time of the lifespan to come up
_GRACE = 10.0  # seconds over the time to stop until a worker is killed
_STEADY = 10.0  # seconds after which a worker that ends is no early death
_LOOK = 1.0
_ASK_AGAIN = 60.0  # where no new one came up
_STATM = Path("/proc/self/statm")
_APP_FAILED = 3


class _Process:
    """One process in the place *number*."""

    def __init__(self, number: int, process: asyncio.subprocess.Process, started: float) -> None:
        self.number = number
        self.process = process
        self.started = started
        self.is_ready = asyncio.get_running_loop().create_future()
        """True when it serves, False when it has ended before."""
        self.failure = ""


class AppWorkers:
    """Runs *count* workers on *address*, each started with *command* and the descriptors of its socket and
    its link and its number appended. *start_timeout* and *stop_timeout*: seconds that the application may
    take for each."""

    def __init__(
        self,
        address: Address,
        count: int,
        command: Sequence[str],
        *,
        start_timeout: float = 60.0,
        stop_timeout: float = 20.0,
    ) -> None:
        self.stop_failed = False
        """Whether an application did not stop as it should when `close` was called."""
        self._start_timeout = start_timeout + _IMPORTS
        self._wanted = address
        self._count = count
        self._command = command
        self._stop_timeout = stop_timeout
        self._port: Port | None = None
        self._current: dict[int, _Process] = {}
        self._alive: set[_Process] = set()
        self._backoffs = {number: Backoff(longest=5.0, steady=_STEADY) for number in range(1, count + 1)}
        self._tasks: set[asyncio.Task[object]] = set()
        self._replacing = asyncio.Lock()
        self._restarting = asyncio.Lock()
        self._restart_is_due = False
        """Whether one was asked for that has not begun."""
        self._is_up = self._is_stopping = False

    @property
    def address(self) -> Address:
        """The real one, once it has started."""
        return self._wanted if self._port is None else self._port.address

    @property
    def pids(self) -> dict[int, int]:
        """The process in each place."""
        return {number: one.process.pid for number, one in self._current.items()}

    async def start(self) -> None:
        """Bind and start all; raises StartFailed or AppFailed where one does not come up, and then `close`
        must follow."""
        self._port = Port.bind(self._wanted, self._count)
        for number in range(1, self._count + 1):
            self._current[number] = await self._run(number)
        for one in list(self._current.values()):
            if not await self._comes_up(one):
                error = AppFailed if one.process.returncode == _APP_FAILED else StartFailed
                raise error(one.failure or f"worker {one.number} did not start")
        self._is_up = True

    def restart(self) -> None:
        """Replace the workers one after the other, as after new code was put in place.

        One more, and no more than that, follows a restart that is under way.
        """
        if not self._restart_is_due:
            self._restart_is_due = True
            self._do(self._restart())

    async def close(self) -> None:
        """Stop all: requests may end. Where this is cancelled, and after a while, they are killed."""
        self._is_stopping = True
        if self._port is not None:
            self._port.close()
        try:
            await asyncio.gather(*(self._retire(one) for one in self._alive))
        finally:
            for one in self._alive:
                _kill(one)
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*(one.process.wait() for one in self._alive))

    # ------------------------------------------------------------ inside

    @property
    def _problem(self) -> int:
        """The level at which a restart that fails is logged: one that a stop has ended is no problem."""
        return logging.DEBUG if self._is_stopping else logging.ERROR

    def _do(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, number: int) -> _Process:
        assert self._port is not None
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        sock = self._port.of(number)
        descriptors = (sock.fileno(), theirs.fileno())
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    *("--fd", str(descriptors[0]), "--link", str(descriptors[1]), "--number", str(number)),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=descriptors,
                    start_new_session=True,  # Ctrl-C is for the parent
                )
        except OSError as error:
            ours.close()
            raise StartFailed(f"worker {number} cannot be started: {error.strerror}") from None
        one = _Process(number, process, asyncio.get_running_loop().time())
        self._alive.add(one)
        self._do(self._watch(one, ours))
        return one

    async def _watch(self, one: _Process, link: socket.socket) -> None:
        """Hear what it says until it ends."""
        reader, writer = await asyncio.open_connection(sock=link)
        try:
            while line := await reader.readline():
                word, _, rest = line.decode("utf-8", "replace").strip().partition(" ")
                if word == "ready" and not one.is_ready.done():
                    one.is_ready.set_result(True)
                elif word == "full" and self._current.get(one.number) is one:
                    logger.info("worker %d (pid %d) is replaced: %s", one.number, one.process.pid, rest)
                    self._do(self._replace(one.number))
                elif word == "failed":
                    one.failure = rest
            status = await one.process.wait()
        finally:
            writer.close()
        self._alive.discard(one)
        if not one.is_ready.done():
            one.is_ready.set_result(False)
        if self._is_up and not self._is_stopping and self._current.get(one.number) is one:
            reason = describe_exit(status) + (f" ({one.failure})" if one.failure else "")
            logger.error("worker %d ended: pid %d, %s; it is replaced", one.number, one.process.pid, reason)
            lifetime = asyncio.get_running_loop().time() - one.started
            pause = self._backoffs[one.number].after(lifetime)
            await asyncio.sleep(0.0 if lifetime >= _STEADY else pause)
            await self._revive(one)

    async def _revive(self, dead: _Process) -> None:
        while self._current.get(dead.number) is dead and not self._is_stopping:
            try:
                new = await self._run(dead.number)
            except StartFailed as error:  # no descriptors or memory at the moment
                logger.error("%s", error)
                await asyncio.sleep(_LOOK)
                continue
            if self._current[dead.number] is dead:
                self._current[dead.number] = new
            else:  # a restart was faster
                self._do(self._retire(new))

    async def _restart(self) -> None:
        async with self._restarting:
            self._restart_is_due = False
            for number in range(1, self._count + 1):
                if not await self._replace(number):
                    logger.log(self._problem, "restart given up: worker %d goes on as it was", number)
                    return
            logger.info("restarted: %d workers", self._count)

    async def _replace(self, number: int) -> bool:
        """Put a new process in the place before the old one is told to stop; False where none comes up."""
        async with self._replacing:
            if self._is_stopping:
                return False
            try:
                new = await self._run(number)
            except StartFailed as error:
                logger.error("%s", error)
                return False
            if not await self._comes_up(new):
                logger.log(
                    self._problem,
                    "worker %d: the new one did not start: %s",
                    number,
                    new.failure or "see above",
                )
                _kill(new)
                return False
            # What is there now: the one of before may have died meanwhile, and have been replaced.
            old, self._current[number] = self._current[number], new
            self._do(self._retire(old))
            return True

    async def _comes_up(self, one: _Process) -> bool:
        try:
            async with asyncio.timeout(self._start_timeout):
                return bool(await asyncio.shield(one.is_ready))
        except TimeoutError:
            one.failure = f"not ready within {self._start_timeout:g} s"
            return False

    async def _retire(self, one: _Process) -> None:
        """Let it end what it has begun."""
        if one.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                one.process.terminate()
        try:
            async with asyncio.timeout(self._stop_timeout + _GRACE):
                await one.process.wait()
        except TimeoutError:
            logger.error("worker %d (pid %d) did not stop: it is killed", one.number, one.process.pid)
            self.stop_failed = self.stop_failed or self._is_stopping
        finally:
            _kill(one)
        if self._is_stopping and one.is_ready.done() and one.process.returncode == _APP_FAILED:
            self.stop_failed = one.is_ready.result() or self.stop_failed


def _kill(one: _Process) -> None:
    if one.process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            one.process.kill()


class Link:
    """A worker's end of its link, on *sock*."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock

    def say(self, word: str) -> None:
        """One line to the parent; nothing where that is gone."""
        with contextlib.suppress(OSError):
            self._sock.send(f"{' '.join(word.split())}\n".encode())

    async def broken(self) -> None:
        """Return when the parent is gone."""
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_recv(self._sock, 1)

    async def look(self, server: AsgiServer, max_requests: int, max_memory: int) -> None:
        """Ask to be replaced when *server* has answered so many requests or the process has so many
        bytes; 0 is no limit."""
        if not (max_requests or max_memory):
            return
        while True:
            if why := is_worn(server.http.counters.requests, max_requests, _memory, max_memory):
                self.say(f"full {why}")
            await asyncio.sleep(_ASK_AGAIN if why else _LOOK)


def is_worn(requests: int, max_requests: int, memory: Callable[[], int], max_memory: int) -> str:
    """Why a worker is to be replaced; "" where it is not. 0 is no limit."""
    if 0 < max_requests <= requests:
        return f"it has answered {requests} requests"
    if max_memory and (size := memory()) >= max_memory:
        return f"it has {size >> 20} MiB of memory"
    return ""


def _memory() -> int:
    """Resident bytes of this process; 0 where the system does not say (proc(5))."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
