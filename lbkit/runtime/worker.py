"""A worker: a process that carries part of the traffic and does what its parent says.

It binds nothing, reads no file and checks no server: sockets, configuration and health come over the
channel. Signals that ask a process to end do nothing here, because service managers send them to all
processes of a service: the parent gets them too and decides. When the channel ends the parent has died;
then the worker drains as the parent would have it do for SIGTERM, so that none stays for ever.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from lbkit.config import Config, loads
from lbkit.errors import LbkitError
from lbkit.pool import Known
from lbkit.proxy.listener import Listener
from lbkit.runtime.catalog import catalog
from lbkit.runtime.channel import Channel
from lbkit.runtime.messages import (
    Drain,
    Draining,
    Failed,
    Members,
    Message,
    Ready,
    Results,
    Setup,
    Sockets,
    Stop,
    Suspect,
)
from lbkit.runtime.part import Part
from lbkit.runtime.runtime import Runtime
from lbkit.runtime.shares import Share
from lbkit.runtime.tally import Reporter
from lbkit.server import Server

__all__ = ["run_worker"]

logger = logging.getLogger("lbkit.worker")

REPORT_INTERVAL = 0.5
"""Seconds between two reports of counters."""
_FULL = 1 << 20  # bytes that the parent has not taken, from which on nothing is added that can be left out


async def run_worker(sock: socket.socket) -> None:
    """Serve as the parent at the other end of *sock* says, until it says otherwise or is gone.

    Raises LbkitError where it cannot carry out what it was told; the parent was told why.
    """
    loop, signals = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, lambda: None)
    channel = Channel(sock)
    try:
        await _Worker(channel).serve()
    finally:
        channel.close()
        for number in signals:
            loop.remove_signal_handler(number)


class _WorkersPart(Part):
    """What a worker's runtime gets from the parent."""

    checks = False
    announces = False

    def __init__(self, channel: Channel) -> None:
        self.sockets: dict[str, int] = {}
        """By listener: descriptors that nobody has taken yet."""
        self.known_by_pool: dict[str, list[Known]] = {}
        self.files: dict[Path, bytes] = {}
        self._channel = channel

    def read(self, path: Path) -> bytes:
        """What the parent has read and found good; FileNotFoundError for anything else."""
        try:
            return self.files[path]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "not among what the parent has read") from None

    def bind(self, listener: Listener) -> None:
        """The parent's socket; KeyError where it gave none."""
        sock = socket.socket(fileno=self.sockets.pop(listener.name))
        sock.setblocking(False)
        listener.bind(sock)

    def close(self) -> None:
        """Close what nobody has taken."""
        while self.sockets:
            os.close(self.sockets.popitem()[1])

    def known(self, pool: str) -> Sequence[Known]:
        return self.known_by_pool.get(pool, ())

    def suspects(self, pool: str, server: Server) -> None:
        if self._channel.queued < _FULL:
            self._channel.send(Suspect(pool, server.name))


class _Worker:
    """What one worker does: each message is carried out before the next one is read."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._part = _WorkersPart(channel)
        self._share = Share(1, 1)
        self._runtime: Runtime | None = None
        self._reporter = Reporter()
        self._reports = False
        self._draining: asyncio.Task[bool] | None = None

    async def serve(self) -> None:
        """Until the end."""
        reporting = asyncio.create_task(self._report_always())
        listening = asyncio.create_task(self._listen())
        try:
            await asyncio.wait((reporting, listening), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reporting, listening):
                task.cancel()
            await asyncio.gather(reporting, listening, return_exceptions=True)
            if self._runtime is not None:
                await self._runtime.close()
            self._part.close()
        for task in (reporting, listening):
            if not task.cancelled():
                task.result()

    async def _listen(self) -> None:
        """Carry out what comes; ends when the worker is to end."""
        while (received := await self._next()) is not None:
            message, descriptors = received
            match message:
                case Sockets(names):
                    self._part.sockets |= dict(zip(names, descriptors, strict=True))
                case Setup():
                    await self._set_up(message)
                case Drain():
                    await self._drain()
                case Stop():
                    return
                case _:
                    self._hear(message)
        if self._draining is None:
            logger.error("the parent process is gone: sessions may end, then so does this one")
            await self._drain()
        if self._draining is not None:
            await self._draining

    async def _next(self) -> tuple[Message, list[int]] | None:
        """The next message; None when there is none any more, or when all sessions have ended."""
        receiving = asyncio.ensure_future(self._channel.receive())
        while True:
            ends = {receiving} if self._draining is None else {receiving, self._draining}
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if receiving in done:
                return receiving.result()
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)
            return None

    def _hear(self, message: Message) -> None:
        runtime = self._runtime
        assert runtime is not None
        match message:
            case Results(results):
                runtime.hear(results, self._share)
            case Members(pool, known):
                runtime.learn(pool, [self._share.known(one) for one in known])
            case _:
                raise AssertionError(f"{type(message).__name__} is nothing for a worker")

    async def _set_up(self, setup: Setup) -> None:
        self._share = Share(setup.number, setup.workers)
        self._reports = setup.reports
        self._part.known_by_pool = {
            name: [self._share.known(one) for one in known] for name, known in setup.known.items()
        }
        self._part.files = {Path(os.fsdecode(path)): content for path, content in setup.files}
        try:
            config = self._share.config(_read(setup))
            if self._runtime is None:
                self._runtime = Runtime(config, self._part)
                await self._runtime.start()
            else:
                await self._runtime.reload(config)
        except LbkitError as error:
            self._channel.send(Failed(str(error)))
            raise
        self._report()
        self._channel.send(Ready(setup.version))

    async def _drain(self) -> None:
        runtime = self._runtime
        if runtime is None or self._draining is not None:
            return
        self._draining = asyncio.create_task(runtime.drain())
        await asyncio.sleep(0)  # from here on it accepts nobody
        self._channel.send(Draining(runtime.open_sessions))

    def _report(self) -> None:
        runtime = self._runtime
        if runtime is not None and self._reports and not self._channel.queued:
            self._channel.send(self._reporter.report(runtime.view(), runtime.open_sessions))

    async def _report_always(self) -> None:
        while True:
            await asyncio.sleep(REPORT_INTERVAL)
            self._report()


def _read(setup: Setup) -> Config:
    folder = None if setup.folder is None else Path(os.fsdecode(setup.folder))
    lists = {os.fsdecode(path): text for path, text in setup.lists}
    return loads(setup.text, catalog(), folder, lists)
