"""`Part`: what a `Runtime` leaves to others where several processes share the work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lbkit.admin import View
from lbkit.pool import Known
from lbkit.proxy.listener import Listener
from lbkit.server import Server
from lbkit.tls import read_file

__all__ = ["Part"]


class Part:
    """The part of one process alone: it does everything, and there is nobody to tell.

    A worker and the parent of workers override what is different for them.
    """

    checks = True
    """Whether it checks servers itself; else `known` is where it begins."""
    announces = True
    """Whether it says in the log what it listens on, and when it reloads and stops."""

    def bind(self, listener: Listener) -> None:
        """Give *listener* its socket. Raises StartFailed."""
        listener.bind()

    def read(self, path: Path) -> bytes:
        """What is in a file with a certificate or key. Raises OSError."""
        return read_file(path)

    def known(self, pool: str) -> Sequence[Known]:
        """What others know of the servers of *pool* when it starts or changes; nothing where it checks."""
        return ()

    def suspects(self, pool: str, server: Server) -> None:
        """Live traffic has errors with *server*, which somebody else checks."""

    def checked(
        self, pool: str, server: Server, passed: bool, reason: str, *, advises: bool, counts: bool
    ) -> None:
        """A check of *server* has ended and was taken in. *advises*: *reason* is an agent's line. *counts*:
        it counts for health."""

    def changed(self, pool: str) -> None:
        """The administration changed servers of *pool*."""

    def shown(self, view: View) -> View:
        """What the administration shows, from what this process sees itself."""
        return view
