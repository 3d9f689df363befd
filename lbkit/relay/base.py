"""What every relay is: it owns a session's two sockets and moves bytes until both directions end."""

from __future__ import annotations

import logging
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum
from typing import ClassVar

from lbkit.registry import Registry
from lbkit.relay.resources import Resources

__all__ = ["RELAYS", "Relay", "RelayEnd", "choose_relay"]

logger = logging.getLogger("lbkit.relay")


class RelayEnd(Enum):
    """Why a relay ended."""

    DONE = "both sides finished"
    CLIENT_RESET = "client reset the connection"
    SERVER_RESET = "server reset the connection"
    ABORTED = "ended by the balancer"


class Relay(ABC):
    """One session's data path.

    Takes two connected non-blocking sockets and owns them: whatever happens, both are closed when
    `on_end` is called, which is exactly once. A half-close of one side is passed on to the other,
    a reset as a reset. Memory is bounded with a slow reader, in both directions.

    `on_first_byte`, where given, is called when the server's first byte comes.
    """

    preference: ClassVar[int]
    """Which one `auto` takes: the highest that works here."""
    needs_poller: ClassVar[bool] = False
    """Whether its sockets are watched by the resources' poller, and may be watched there before it starts."""

    @classmethod
    def unsupported(cls) -> str | None:
        """Why this relay cannot be used on this machine by this process; None where it can."""
        return None

    may_relieve: ClassVar[bool] = False
    """Whether `relieve` may do something."""

    def relieve(self) -> bool:
        """This process is short of time: do the rest with less of it, if that can be; whether it was done."""
        return False

    @classmethod
    def for_auto(cls) -> type[Relay]:
        """What stands for this relay where ``auto`` has taken it."""
        return cls

    @abstractmethod
    def __init__(
        self,
        resources: Resources,
        downstream: socket.socket,
        upstream: socket.socket,
        on_end: Callable[[RelayEnd], None],
        on_first_byte: Callable[[], None] | None = None,
    ) -> None: ...

    @abstractmethod
    def start(self) -> None:
        """Begin to move bytes; call once."""

    @abstractmethod
    def abort(self) -> None:
        """Drop what is not sent and close both sides; `on_end` follows with ABORTED."""

    @property
    @abstractmethod
    def bytes_in(self) -> int:
        """Bytes received from the client so far."""

    @property
    @abstractmethod
    def bytes_out(self) -> int:
        """Bytes received from the server so far."""

    @abstractmethod
    def progress(self) -> tuple[int, int]:
        """Bytes moved so far on the client's side and on the server's side, either way.

        A side is idle while its number does not change: it neither sent nor took anything. Bytes
        that wait for a slow reader are not counted as taken.
        """


RELAYS: Registry[Relay] = Registry("relay")


def choose_relay(name: str, *, opens_tls: bool = False) -> type[Relay]:
    """The relay called *name*; for ``auto`` the best one that works here, and where it *opens_tls* the one
    that does: a session takes `SecureRelay` then, which is made of the same.

    Raises ValueError with the reason for a named relay that cannot work here.
    """
    if name == "auto" and opens_tls:
        _say_once("relay stream taken where TLS is opened: the others move bytes as they are")
        name = "stream"
    if name != "auto":
        relay = RELAYS[name].factory
        if reason := relay.unsupported():
            raise ValueError(f'relay "{name}" cannot be used here: {reason}')
        return relay
    for entry in sorted(RELAYS.values(), key=lambda entry: -entry.factory.preference):
        reason = entry.factory.unsupported()
        if reason is None:
            return entry.factory.for_auto()
        _say_once(f"relay {entry.name} passed over: {reason}")
    raise AssertionError("the stream relay works everywhere")


_said: set[str] = set()


def _say_once(line: str) -> None:
    """A process with many listeners, or many reloads, says it no more often than one with one."""
    if line not in _said:
        _said.add(line)
        logger.info(line)
