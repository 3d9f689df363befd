"""``workers = N``: a parent process that checks, listens and administers, and N that carry the traffic.

The parent's `Runtime` has the pools with their probers and the administration, but no listeners. What its
checks find out and what an operator changes is told to every worker over its `Channel`, in the
order in which it happened; a worker that starts gets all that is known first. So the servers see one prober,
however many workers there are, and every worker knows the same. Beside that each worker judges by its own
traffic (`observe`, `outlier`), and says which servers it has errors with, so that the parent checks them.

A worker that dies is replaced at once, and after a growing pause where it dies again and again. One that is
busy reads late and is left alone; only one that reads nothing while megabytes wait for it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lbkit.admin import ListenerView, View, WorkerView
from lbkit.cluster.backoff import Backoff
from lbkit.cluster.child import describe_exit
from lbkit.config import Config, ListenerConfig
from lbkit.errors import StartFailed
from lbkit.pool import Pool
from lbkit.proxy.access_log import AccessLog
from lbkit.proxy.ticker import Ticker
from lbkit.runtime.channel import MOST_DESCRIPTORS, Channel, pair
from lbkit.runtime.messages import (
    Drain,
    Draining,
    Failed,
    Members,
    Message,
    Ready,
    Report,
    Result,
    Results,
    Setup,
    Sockets,
    Stop,
    Suspect,
)
from lbkit.runtime.part import Part
from lbkit.runtime.ports import Port, Ports
from lbkit.runtime.runtime import ADMIN, Runtime, Secrets, relay_of
from lbkit.runtime.tally import Tally
from lbkit.runtime.views import leads_to
from lbkit.runtime.web import prepare
from lbkit.server import Address, Server
from lbkit.tls import Termination, read_file

__all__ = ["Source", "Supervisor", "worker_command", "worker_count"]

logger = logging.getLogger("lbkit")

_STEADY = 10.0  # seconds after which a worker that ends is no early death
_LONGEST_PAUSE = 5.0
_LOOK_INTERVAL = 1.0
_MOST_QUEUED = 8 << 20
_STUCK = 10.0
_START = 30.0  # seconds for every worker to come up
_ANSWER = 10.0  # seconds to wait for workers where going on without an answer does no harm
_GRACE = 5.0  # seconds over drain_timeout until a worker is killed
_STOP_GRACE = 1.0  # the same after Stop


def worker_count(config: Config) -> int:
    """How many processes *config* wants; ``"auto"`` is one for each core that this one may use."""
    workers = config.global_.workers
    if workers != "auto":
        return workers
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Source:
    """A configuration with the text that says it; `folder` is what paths in it are relative to."""

    config: Config
    text: str
    folder: Path | None = None


class _Worker:
    """The place of one worker: the process that is in it now, or none."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: asyncio.subprocess.Process | None = None
        self.channel: Channel | None = None
        self.version = 0
        """Of the Setup that it has carried out; 0 is none."""
        self.draining: int | None = None
        """How many sessions were open when it stopped accepting."""
        self.failure: str | None = None
        """Why the last one ended, where it did."""
        self.replaced = 0

    @property
    def pid(self) -> int:
        """0 where there is no process."""
        return 0 if self.process is None else self.process.pid

    def send(self, message: Message) -> None:
        """To the process, if there is one: the next one gets all that is known."""
        if self.channel is not None:
            self.channel.send(message)

    def kill(self) -> None:
        """At once."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()


class _ParentsPart(Part):
    """What the parent's runtime tells the workers."""

    announces = False

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def checked(
        self, pool: str, server: Server, passed: bool, reason: str, *, advises: bool, counts: bool
    ) -> None:
        result = Result(pool, server.name, str(server.address), passed, reason, advises, counts)
        self._supervisor.checked(result)

    def changed(self, pool: str) -> None:
        self._supervisor.changed(pool)

    def shown(self, view: View) -> View:
        return self._supervisor.shown(view)


class Supervisor:
    """Runs *source* with *count* workers, each started with *command* and the descriptor of its channel and
    its number appended. `start`, `reload`, `drain` and `close` as those of `Runtime`."""

    def __init__(self, source: Source, count: int, command: Sequence[str]) -> None:
        self._source = source
        self._command = command
        self._loop = asyncio.get_running_loop()
        self._runtime = Runtime(_parents(source.config), _ParentsPart(self))
        self._ports = Ports(count)
        self._workers = [_Worker(number) for number in range(1, count + 1)]
        self._version = 1
        self._tally = Tally()
        self._results: list[Result] = []
        self._secrets = Secrets()
        self._files: dict[Path, bytes] = {}
        """The certificates and keys that the workers get: what they begin with must not have changed
        since."""
        self._tasks: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()
        self._changing = asyncio.Lock()
        self._stopping = asyncio.Event()

    @property
    def failed_reloads(self) -> int:
        """Reloads that were refused."""
        return self._runtime.failed_reloads

    @failed_reloads.setter
    def failed_reloads(self, number: int) -> None:
        self._runtime.failed_reloads = number

    @property
    def addresses(self) -> Mapping[str, Address]:
        """The real address of each listener; the administration endpoint is ``admin``."""
        listeners = {name: self._ports[name].address for name in self._source.config.listeners}
        return {**listeners, **self._runtime.addresses}

    # ------------------------------------------------------------ start, reload, end

    async def start(self) -> None:
        """Bind, check every server once, start the workers, and wait until all are ready.

        Raises StartFailed or ConfigError, also where a worker does not come up: clients would wait on its
        socket. Then `close` must follow.
        """
        async with self._changing:
            config = self._source.config
            self._secrets, self._files = self._rehearse(config)
            self._ports.take(self._ports.plan(_addresses(config)))
            await self._runtime.start()
            for work in (*(self._keep(worker) for worker in self._workers), self._look_after()):
                task = self._loop.create_task(work)
                task.add_done_callback(self._task_ended)
                self._tasks.append(task)
            await self._until(lambda: self._all_ready() or self._none_came_up(), _START)
            missing = [worker for worker in self._workers if worker.version != self._version]
            if missing:
                reason = missing[0].failure or f"not ready within {_START:g} s"
                if len(missing) == len(self._workers):
                    raise StartFailed(f"no worker could be started: {reason}")
                raise StartFailed(f"worker {missing[0].number} could not be started: {reason}")
            self._announce(config)

    def _announce(self, config: Config) -> None:
        addresses = self.addresses
        for name, item in config.listeners.items():
            what = f"{leads_to(item)}, {len(self._workers)} workers"
            logger.info("%s listens on %s (%s)", name, addresses[name], what)
        if config.admin is not None:
            logger.info("%s listens on %s (%s)", ADMIN, addresses[ADMIN], leads_to(config.admin))

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """A bug in it must not go unseen: whoever waits gets it, and it is in the log."""
        self._news.set()
        if not task.cancelled() and (error := task.exception()):
            self._loop.call_exception_handler({"message": "the supervisor failed", "exception": error})

    def _all_ready(self) -> bool:
        return all(worker.version == self._version for worker in self._workers)

    def _none_came_up(self) -> bool:
        return all(worker.failure is not None and not worker.version for worker in self._workers)

    async def reload(self, source: Source) -> None:
        """Change to *source* without cutting a session. Raises ConfigError or StartFailed, and then nothing
        has changed, here and in the workers."""
        async with self._changing:
            if self._stopping.is_set():
                logger.info("not reloaded: stopping")
                return
            config = source.config
            secrets, files = self._rehearse(config)
            planned = self._ports.plan(_addresses(config))
            try:
                await self._runtime.reload(_parents(config))
            except BaseException:
                self._ports.undo(planned)
                raise
            if self._stopping.is_set():  # since: its ports would stay open
                self._ports.undo(planned)
                return
            self._secrets, self._files = secrets, files
            await self._take(source, planned)
        logger.info("reloaded: %d listeners, %d pools", len(config.listeners), len(config.pools))

    async def _take(self, source: Source, planned: dict[str, Port]) -> None:
        """Tell the workers; nothing fails any more."""
        self._flush()
        self._source = source
        self._version += 1
        new = self._ports.new(planned)
        left_over = self._ports.take(planned)
        self._tally.keep(planned, self._pools())
        for worker in self._workers:
            self._give_all(worker, new)
        # Also where a worker is late: what nobody accepts on must not take clients.
        await self._until(self._all_ready, _ANSWER)
        for port in left_over:
            port.close()

    def _rehearse(self, config: Config) -> tuple[Secrets, dict[Path, bytes]]:
        """What may fail in a worker is tried here first, so that a worker does not fail with it. Returns the
        certificates and the files that they are from."""
        files: dict[Path, bytes] = {}

        def read(path: Path) -> bytes:
            if path not in files:
                files[path] = read_file(path)
            return files[path]

        secrets = Secrets.of(config, read)
        secrets.warn()
        ticker = Ticker(self._loop)
        try:
            for name, item in config.listeners.items():
                if item.mode == "tcp":
                    relay_of(name, item, config)
                else:
                    prepare(name, item)
                if item.access_log is not None:
                    AccessLog(item.access_log, name, ticker, self._loop.time).close()
        finally:
            ticker.close()
        return secrets, files

    async def drain(self) -> bool:
        """Let the workers accept nobody and end when their sessions have, within `drain_timeout`; False where
        one had to be killed."""
        self._stopping.set()
        self._ports.close()
        timeout = self._source.config.global_.drain_timeout
        for worker in self._workers:
            worker.send(Drain())
        draining = self._loop.create_task(self._runtime.drain())
        try:
            await self._until(self._all_draining, _ANSWER)
            sessions = sum(worker.draining or 0 for worker in self._workers)
            logger.info("stopping: %d sessions may end within %g s", sessions, timeout)
            ended = await self._until(self._all_gone, timeout + _GRACE)
            return await draining and ended
        finally:
            draining.cancel()
            await asyncio.gather(draining, return_exceptions=True)

    def _all_draining(self) -> bool:
        return all(worker.draining is not None or not worker.pid for worker in self._workers)

    def _all_gone(self) -> bool:
        return not any(worker.pid for worker in self._workers)

    async def close(self) -> None:
        """Stop everything now. No worker is left."""
        self._stopping.set()
        self._ports.close()
        for worker in self._workers:
            worker.send(Stop())
        try:
            await self._until(self._all_gone, _STOP_GRACE)
        finally:
            for worker in self._workers:
                worker.kill()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._runtime.close()

    # ------------------------------------------------------------ the workers' processes

    async def _keep(self, worker: _Worker) -> None:
        """Have a process in the place of *worker* until everything stops."""
        backoff = Backoff(longest=_LONGEST_PAUSE, steady=_STEADY)
        while not self._stopping.is_set():
            started = self._loop.time()
            reason = await self._run(worker)
            self._news.set()
            if self._stopping.is_set():
                return
            lifetime = self._loop.time() - started
            pause = backoff.after(lifetime)
            worker.replaced += 1
            logger.error("worker %d ended: %s; it is replaced", worker.number, reason)
            await asyncio.sleep(0.0 if lifetime >= _STEADY else pause)

    async def _run(self, worker: _Worker) -> str:
        """Start a process and serve it until its end; why it ended."""
        worker.version, worker.draining = 0, None
        try:
            ours, theirs = pair()
        except OSError as error:
            worker.failure = f"cannot be started: {error.strerror}"
            return worker.failure
        try:
            worker.process = process = await asyncio.create_subprocess_exec(
                *self._command,
                str(theirs.fileno()),
                str(worker.number),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the parent, also while a worker is not yet up
            )
        except OSError as error:
            ours.close()
            worker.failure = f"cannot be started: {error.strerror}"
            return worker.failure
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._flush()  # before it listens: what it is told to begin with has these results in it
        worker.channel = channel = Channel(ours)
        try:
            if self._stopping.is_set():  # since it was started
                channel.send(Stop())
            else:
                self._give_all(worker, list(self._source.config.listeners))
            why = await self._listen(worker, channel)
            with contextlib.suppress(TimeoutError):  # it has said its last word: it must not stay for ever
                await asyncio.wait_for(process.wait(), _GRACE)
            worker.kill()
            status = await process.wait()
        finally:
            worker.kill()
            worker.channel = None
            channel.close()
            await process.wait()
            worker.process = None
            self._tally.ended(worker.number, self._pools())
        worker.failure = f"{describe_exit(status)}{why and f' ({why})'}"
        return f"pid {process.pid}, {worker.failure}"

    async def _listen(self, worker: _Worker, channel: Channel) -> str:
        """Take in what the worker says until it says no more; its last words."""
        why = ""
        try:
            while (received := await channel.receive()) is not None:
                message, _ = received
                if isinstance(message, Failed):
                    why = message.reason
                else:
                    self._hear(worker, message)
                self._news.set()
        except Exception:  # a bug, which is shown; the other workers go on
            logger.exception("worker %d said what cannot be understood", worker.number)
            worker.kill()
        return why

    def _hear(self, worker: _Worker, message: Message) -> None:
        match message:
            case Ready(version):
                worker.version = version
            case Suspect(pool, server):
                self._runtime.hurry(pool, server)
            case Report():
                self._tally.take(worker.number, message, self._pools())
            case Draining(open_sessions):
                worker.draining = open_sessions
            case _:
                raise AssertionError(f"{type(message).__name__} is nothing for the parent")

    def _give_all(self, worker: _Worker, names: Sequence[str]) -> None:
        """`_set_up`; a worker that cannot be given its sockets now is replaced by one that is given all."""
        try:
            self._set_up(worker, names)
        except OSError as error:
            logger.error("worker %d cannot be told of its listeners: %s", worker.number, error.strerror)
            worker.kill()

    def _set_up(self, worker: _Worker, names: Sequence[str]) -> None:
        """Give it the present configuration, all that is known, and the sockets of the listeners *names*."""
        if worker.channel is None:
            return
        for start in range(0, len(names), MOST_DESCRIPTORS):
            some = list(names[start : start + MOST_DESCRIPTORS])
            descriptors = [self._ports[name].of(worker.number).fileno() for name in some]
            worker.channel.send(Sockets(some), descriptors)
        source = self._source
        worker.channel.send(
            Setup(
                self._version,
                source.text,
                None if source.folder is None else os.fsencode(source.folder),
                worker.number,
                len(self._workers),
                self._runtime.known(),
                source.config.admin is not None,
                [(os.fsencode(path), text) for path, text in source.config.lists.items()],
                [(os.fsencode(path), content) for path, content in self._files.items()],
            )
        )

    async def _look_after(self) -> None:
        """Kill who takes nothing while more and more waits for it."""
        while True:
            await asyncio.sleep(_LOOK_INTERVAL)
            for worker in self._workers:
                channel = worker.channel
                if channel and channel.queued > _MOST_QUEUED and channel.stuck_for() > _STUCK:
                    logger.error("worker %d has not read for %g s: it is killed", worker.number, _STUCK)
                    worker.kill()

    async def _until(self, condition: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until what the workers say or do makes *condition* true; False where that takes too long."""
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    for task in self._tasks:
                        if task.done():
                            task.result()  # raises where it failed
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    # ------------------------------------------------------------ what the workers are told

    def checked(self, result: Result) -> None:
        """Tell the workers, together with what else is checked at this moment."""
        if not self._results:
            self._loop.call_soon(self._flush)
        self._results.append(result)

    def _flush(self) -> None:
        results, self._results = self._results, []
        if results:
            self._tell(Results(results))

    def changed(self, pool: str) -> None:
        """Tell the workers what *pool* is now."""
        self._flush()
        self._tell(Members(pool, self._runtime.pool(pool).known(self._loop.time())))

    def _tell(self, message: Message) -> None:
        for worker in self._workers:
            worker.send(message)

    # ------------------------------------------------------------ what the administration shows

    def _pools(self) -> Iterable[Pool]:
        return self._runtime.pools

    def shown(self, view: View) -> View:
        """*view* of the parent with what the workers carry."""
        listeners = [
            self._tally.listener(
                _listener_view(name, item, self._ports[name], self._secrets.listeners.get(name))
            )
            for name, item in self._source.config.listeners.items()
        ]
        workers = [
            WorkerView(worker.number, worker.pid, self._tally.open_sessions(worker.number), worker.replaced)
            for worker in self._workers
        ]
        return replace(
            view,
            listeners=[*listeners, *view.listeners],
            workers=workers,
            waiting=self._tally.waiting(),
            standings=self._tally.standings(view.pools),
        )


def _listener_view(name: str, config: ListenerConfig, port: Port, tls: Termination | None) -> ListenerView:
    expiries = {} if tls is None else tls.expiries
    return ListenerView(name, str(port.address), config.mode, config.pool, 0, {}, certificates=expiries)


def _parents(config: Config) -> Config:
    """The parent's part: no listener but the administration."""
    return replace(config, listeners={})


def _addresses(config: Config) -> dict[str, Address]:
    return {name: item.listen for name, item in config.listeners.items()}


def worker_command(arguments: Sequence[str]) -> list[str]:
    """How a worker is started; *arguments* come before its command."""
    return [sys.executable, "-m", "lbkit", *arguments, "worker"]
