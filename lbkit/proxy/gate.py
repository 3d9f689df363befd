"""`EdgeGate`: who of those that a listener accepted gets a session: firewall first, and before TLS.

Who is denied gets a reset: two system calls, no session object, nothing read and nothing sent. What the
firewall decides it decides on numbers (`lbkit.firewall`); here are only sockets and counters.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from lbkit.firewall import Firewall, place_of
from lbkit.proxy.listener import Listener
from lbkit.proxy.origin import Origin
from lbkit.sockets import reset

__all__ = ["EdgeGate"]


class EdgeGate:
    """The gate of one listener. `firewall` may be replaced at any time; None lets everybody in."""

    def __init__(self, listener: Listener, *, clock: Callable[[], float]) -> None:
        """*clock* gives monotonic seconds, as ``loop.time``."""
        self.firewall: Firewall | None = None
        self._listener = listener
        self._clock = clock

    def receive(self, client: socket.socket, peer: Any) -> None:
        """See `Gate`. A client on a Unix socket has no address: whether it may come is its path's matter."""
        origin = None
        if self.firewall is not None and client.family != socket.AF_UNIX:
            origin = self._judge(self.firewall, client, Origin(), peer[0])
            if origin is None:
                return
        client.setblocking(False)
        self._listener.reserve()
        self._listener.let_in(client, origin)

    def _judge(
        self, firewall: Firewall, client: socket.socket, origin: Origin, address: str
    ) -> Origin | None:
        """*origin* with a count of the client's sessions; None where it was denied, and closed."""
        place = place_of(address)
        if firewall.judge(place, self._clock()) is not None:
            reset(client)
            return None
        # A firewall of later may be another object: who began with this one ends with it.
        return Origin(origin.client, origin.server, partial(firewall.ended, firewall.began(place)))

    def close(self) -> None:
        """See `Gate`."""

    @property
    def counters(self) -> dict[str, int]:
        """Totals by name."""
        return {} if self.firewall is None else self.firewall.counters
