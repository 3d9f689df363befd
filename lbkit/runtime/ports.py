"""The listening sockets that workers share, held by their parent.

Each worker has a socket of its own for each address, and the kernel spreads new connections over them
(SO_REUSEPORT). The parent keeps all of them open: when a worker dies, those who wait in its backlog are
taken by the next one, which gets the same socket. What cannot be shared so, a Unix socket, or any address on
a system other than Linux (there the last socket would get everything), is one socket for all workers.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lbkit.server import Address
from lbkit.sockets import bind

__all__ = ["Port", "Ports"]


@dataclass(frozen=True, slots=True)
class Port:
    """The sockets of one listener. `wanted` is the address as configured, `address` has a real port."""

    wanted: Address
    address: Address
    sockets: tuple[socket.socket, ...]

    @classmethod
    def bind(cls, wanted: Address, workers: int) -> Port:
        """Raises StartFailed with nothing left open."""
        if wanted.path or sys.platform != "linux":
            sock = bind(wanted)
            return cls(wanted, _real(wanted, sock), (sock,))
        if wanted.port:
            bind(wanted).close()  # another program that shares its port would not be noticed otherwise
        sockets = [bind(wanted, reuse_port=True)]
        address = _real(wanted, sockets[0])
        try:
            for _ in range(workers - 1):
                sockets.append(bind(address, reuse_port=True))
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        return cls(wanted, address, tuple(sockets))

    def of(self, number: int) -> socket.socket:
        """What worker *number*, from 1, accepts on."""
        return self.sockets[(number - 1) % len(self.sockets)]

    def close(self) -> None:
        """Close them; the address is free when the workers have, too."""
        for sock in self.sockets:
            sock.close()
        if self.address.path:
            with contextlib.suppress(OSError):
                Path(self.address.path).unlink(missing_ok=True)


def _real(wanted: Address, sock: socket.socket) -> Address:
    return wanted if wanted.path else Address(wanted.host, sock.getsockname()[1])


class Ports:
    """By listener. A change is planned first, which may fail, and then taken, which may not."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._ports: dict[str, Port] = {}

    def __getitem__(self, name: str) -> Port:
        return self._ports[name]

    def plan(self, wanted: Mapping[str, Address]) -> dict[str, Port]:
        """By listener: the ports that are there, and new ones for the rest.

        Raises StartFailed with nothing left open. Either `take` or `undo` must follow.
        """
        planned: dict[str, Port] = {}
        try:
            for name, address in wanted.items():
                planned[name] = self._at(name, address) or Port.bind(address, self._workers)
        except BaseException:
            self.undo(planned)
            raise
        return planned

    def _at(self, name: str, address: Address) -> Port | None:
        """Found as `Runtime` finds its listeners: by address, and by name where any port would do."""
        if address.path or address.port:
            return next((port for port in self._ports.values() if port.wanted == address), None)
        port = self._ports.get(name)
        return port if port is not None and port.wanted == address else None

    def undo(self, planned: Mapping[str, Port]) -> None:
        """Close what is new in *planned*."""
        for port in _without(planned, self._ports):
            port.close()

    def take(self, planned: dict[str, Port]) -> list[Port]:
        """From now on these. Returns those that are left over, to be closed."""
        old, self._ports = self._ports, planned
        return _without(old, planned)

    def new(self, planned: Mapping[str, Port]) -> list[str]:
        """The listeners of *planned* whose sockets are new."""
        known = {id(port) for port in self._ports.values()}
        return [name for name, port in planned.items() if id(port) not in known]

    def close(self) -> None:
        """Close all."""
        for port in self.take({}):
            port.close()


def _without(ports: Mapping[str, Port], others: Mapping[str, Port]) -> list[Port]:
    kept = {id(port) for port in others.values()}
    return [port for port in ports.values() if id(port) not in kept]
