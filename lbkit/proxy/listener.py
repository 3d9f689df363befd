"""A bound address that turns accepts into sessions.

Accepting is a plain loop on the non-blocking socket until it would block, a bounded number at a
time, so that a flood of new clients does not hold up the sessions in progress. Three conditions pause
it: the connection limit, where clients wait in the kernel's backlog or, if so configured, are refused;
the owner of the sessions, when too many of them are only half open; and a lack of descriptors or memory,
where accepting again at once would only spin.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from pathlib import Path
from typing import Any, Protocol

from lbkit.proxy.origin import Origin
from lbkit.server import Address
from lbkit.sockets import EXHAUSTED, bind, reset

__all__ = ["Accept", "Gate", "Listener"]

logger = logging.getLogger("lbkit.listener")


class Accept(Protocol):
    """Takes an accepted non-blocking socket and owns it; *origin* is given where a gate let it in."""

    def __call__(self, client: socket.socket, origin: Origin | None = None, /) -> Any: ...


class Gate(Protocol):
    """What stands between accept and session where somebody may have to stay outside."""

    def receive(self, client: socket.socket, peer: Any) -> None:
        """Takes an accepted socket and its neighbour's address, as accept(2) gave them, and owns it.

        Who may come in is reserved a place (`Listener.reserve`) and then let in (`Listener.let_in`).
        """

    def close(self) -> None:
        """Whoever waits in it is sent away."""


_BATCH = 64
_PAUSE = 0.1
_QUIET = 5.0


class Listener:
    """Accepts on *address* and hands each socket to *accept*.

    The owner of the sessions says with `session_ended` when one is over; at most `max_connections`
    are open at a time. Further clients wait, or with `refuses` get a reset at once.
    """

    def __init__(
        self,
        name: str,
        address: Address,
        accept: Accept,
        *,
        loop: asyncio.AbstractEventLoop,
        max_connections: int = 20_000,
        refuses: bool = False,
    ) -> None:
        self.name = name
        self.address = address
        self.accept = accept
        self.open_sessions = 0
        self.sessions = 0
        """Sessions accepted since the start."""
        self.accept_errors = 0
        self.refused = 0
        """Clients turned away at the limit."""
        self.refuses = refuses
        self.gate: Gate | None = None
        """Firewall and PROXY protocol; None where neither is configured. May be replaced at any time."""
        self._is_held = False
        self._max_connections = max_connections
        self._loop = loop
        self._sock: socket.socket | None = None
        self._is_ours = False
        self._accepting = False
        self._pause: asyncio.TimerHandle | None = None
        self._quiet_until = 0.0

    @property
    def max_connections(self) -> int:
        """Sessions that may be open at a time; raising it lets clients that wait in at once."""
        return self._max_connections

    @max_connections.setter
    def max_connections(self, number: int) -> None:
        self._max_connections = number
        if self._pause is None:
            self._resume()

    def hold(self, is_held: bool) -> None:
        """Accept nobody while *is_held*; then those who wait."""
        self._is_held = is_held
        if not is_held and self._pause is None:
            self._resume()

    def bind(self, sock: socket.socket | None = None) -> None:
        """Take the address without accepting yet; raises StartFailed. Port 0 becomes a real one.

        *sock*, where given, listens on it already and is not blocking: the listener owns it from now on, but
        not the path of a Unix socket.
        """
        self._is_ours = sock is None
        self._sock = bind(self.address) if sock is None else sock
        if not self.address.path:
            host, port = self._sock.getsockname()[:2]
            self.address = Address(host, port)

    def start(self) -> None:
        """Accept from now on."""
        self._accepting = True
        self._resume()

    def _resume(self) -> None:
        self._pause = None
        if self._accepting and self._sock is not None and not self._must_wait:
            self._loop.add_reader(self._sock.fileno(), self._readable)

    @property
    def _is_full(self) -> bool:
        return self.open_sessions >= self._max_connections

    @property
    def _must_wait(self) -> bool:
        return self._is_held or (self._is_full and not self.refuses)

    def _readable(self) -> None:
        sock = self._sock
        assert sock is not None
        for _ in range(_BATCH):
            is_full = self.open_sessions >= self._max_connections
            if self._is_held or (is_full and not self.refuses):
                self._loop.remove_reader(sock.fileno())
                return
            try:
                client, peer = sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._accept_failed(error)
                return
            if is_full:
                self._refuse(client)
                continue
            if self.gate is not None:
                self.gate.receive(client, peer)
                continue
            client.setblocking(False)
            self.open_sessions += 1
            self.sessions += 1
            self.accept(client)

    def reserve(self) -> None:
        """One who is at the gate has a place from now on; `session_ended` gives it back."""
        self.open_sessions += 1

    def let_in(self, client: socket.socket, origin: Origin | None) -> None:
        """A session begins for one who has a place."""
        self.sessions += 1
        self.accept(client, origin)

    def _refuse(self, client: socket.socket) -> None:
        self.refused += 1
        reset(client)

    def _accept_failed(self, error: OSError) -> None:
        # Any other error is of the one connection that left before it was accepted (accept(2)).
        self.accept_errors += 1
        if error.errno in EXHAUSTED and self._sock is not None:
            now = self._loop.time()
            if now >= self._quiet_until:  # it may go on for hours, ten times a second
                self._quiet_until = now + _QUIET
                logger.warning("listener %s: accepting pauses: %s", self.name, error.strerror)
            self._loop.remove_reader(self._sock.fileno())
            self._pause = self._loop.call_later(_PAUSE, self._resume)

    def session_ended(self) -> None:
        """One session is over: one more may come."""
        was_full = self._is_full
        self.open_sessions -= 1
        if was_full and self._pause is None:
            self._resume()

    def stop(self) -> None:
        """Stop accepting and free the address; sessions in progress go on."""
        self._accepting = False
        if self.gate is not None:
            self.gate.close()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._sock is not None:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
            self._sock = None
            if self.address.path and self._is_ours:
                with contextlib.suppress(OSError):
                    Path(self.address.path).unlink(missing_ok=True)
