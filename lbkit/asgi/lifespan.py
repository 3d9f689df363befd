"""The lifespan protocol: an application's start and stop, in a task that lives as long as the server."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from lbkit.asgi.types import App, Message, Scope
from lbkit.errors import AppFailed

__all__ = ["Lifespan"]

_log = logging.getLogger("lbkit.asgi")

_CANCEL_TIME = 1.0
"""Seconds for the task to end after it was cancelled."""


class Lifespan:
    """Use: `startup` before the first request, `shutdown` after the last, both in the same task's loop.

    `state` is what the application put there, for the scope of each request. An application that does
    not know the protocol, which shows by an exception at its first message, is served without it.
    """

    def __init__(self, app: App, *, startup_timeout: float = 60.0, shutdown_timeout: float = 60.0) -> None:
        """Both in seconds; the defaults are hypercorn's."""
        self.state: dict[str, Any] = {}
        self._app = app
        self._startup_timeout = startup_timeout
        self._shutdown_timeout = shutdown_timeout
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._started = asyncio.Event()
        self._stopped = asyncio.Event()
        self._failure: str | None = None
        self._is_known = True

    async def startup(self) -> None:
        """Raises AppFailed with the application's own message, or when it takes too long."""
        self._task = asyncio.create_task(self._run())
        await self._inbox.put({"type": "lifespan.startup"})
        try:
            async with asyncio.timeout(self._startup_timeout):
                await self._started.wait()
        except TimeoutError:
            await self._cancel()
            raise AppFailed(f"the application did not start within {self._startup_timeout:g} s") from None
        except asyncio.CancelledError:
            await self._cancel()
            raise
        if self._failure is not None:
            await self._cancel()
            raise AppFailed(f"the application failed to start: {self._failure}")

    async def shutdown(self) -> bool:
        """Tell the application to end; a failure or a lack of an answer is logged. Whether it stopped."""
        is_fine = True
        if self._is_known:
            await self._inbox.put({"type": "lifespan.shutdown"})
            try:
                async with asyncio.timeout(self._shutdown_timeout):
                    await self._stopped.wait()
            except TimeoutError:
                is_fine = False
                _log.error("the application did not stop within %g s: it is given up", self._shutdown_timeout)
            if self._failure is not None:
                is_fine = False
                _log.error("the application failed to stop: %s", self._failure)
        return await self._cancel() and is_fine

    async def _cancel(self) -> bool:
        """End the task; one that goes on nevertheless is left behind, and False."""
        if self._task is None:
            return True
        self._task.cancel()
        _, stuck = await asyncio.wait([self._task], timeout=_CANCEL_TIME)
        if stuck:
            _log.error("the application's lifespan goes on although it was cancelled")
        elif not self._task.cancelled():
            self._task.exception()  # it is fetched, or asyncio would tell it
        return not stuck

    async def _run(self) -> None:
        scope: Scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._app(scope, self._inbox.get, self._send)
        except Exception as error:  # noqa: BLE001 - the protocol's way to say that it is not known
            self._ended_by(error)
        finally:
            self._is_known = False
            self._started.set()
            self._stopped.set()

    def _ended_by(self, error: Exception) -> None:
        if not self._started.is_set():
            _log.debug("the application knows no lifespan: %r", error)
        elif not self._stopped.is_set() and self._failure is None:
            _log.error("the lifespan of the application ended early", exc_info=error)

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind.endswith(".failed"):
            self._failure = _last_line(message.get("message", "")) or "it gave no reason"
        if kind in ("lifespan.startup.complete", "lifespan.startup.failed"):
            self._started.set()
        elif kind in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            self._stopped.set()
        else:
            raise ValueError(f'unexpected ASGI message "{kind}"')


def _last_line(message: str) -> str:
    """Frameworks send a whole traceback, whose last line says what is wrong."""
    if "\n" in message.strip():
        _log.error("the application's lifespan failed:\n%s", message.rstrip())
    return message.strip().rpartition("\n")[2].strip()
