"""What the sessions of one event loop share: one buffer, pipes, one poller, one map of joined sockets."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from lbkit.errors import KernelUnsupported
from lbkit.kernel.pipes import PipePool
from lbkit.kernel.poller import Poller
from lbkit.kernel.pressure import Pressure
from lbkit.relay.joins import Joins

__all__ = ["BUFFER", "Resources"]

logger = logging.getLogger("lbkit.relay")

BUFFER = 256 * 1024
"""Bytes read at a time. Nothing stays in it from one event to the next, so that one serves all sessions."""


class Resources:
    """Made once for a loop; `close` it when its sessions have ended.

    `poller` is None where the system has no epoll: then only relays that need none can be used.
    """

    __slots__ = ("_joins", "_why_not", "buffer", "loop", "pipes", "poller", "pressure", "view")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.poller: Poller | None = None
        with contextlib.suppress(KernelUnsupported):
            self.poller = Poller(loop)
        self.pipes = PipePool()
        self.buffer = bytearray(BUFFER)
        self.view = memoryview(self.buffer)
        self.pressure = Pressure()
        self._joins: Joins | None = None
        self._why_not: str | None = None
        """Why there are none, once that is known: not tried again for each session."""

    @property
    def joins(self) -> Joins:
        """Joins sockets in the kernel; made at the first use. Raises KernelUnsupported."""
        if self._why_not is not None:
            raise KernelUnsupported(self._why_not)
        if self._joins is None:
            try:
                if self.poller is None:
                    raise KernelUnsupported("there is no epoll")
                self._joins = Joins(self.poller)
            except KernelUnsupported as error:
                self._why_not = str(error)
                logger.warning("sessions cannot be joined in the kernel any more: %s", error)
                raise
        return self._joins

    def close(self) -> None:
        """Free everything."""
        self.pipes.close()
        if self._joins is not None:
            self._joins.close()
            self._joins = None
        if self.poller is not None:
            self.poller.stop()
            self.poller = None
