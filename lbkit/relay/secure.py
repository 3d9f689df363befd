"""The data path of sessions that have TLS on one side or on both: transports, as in `stream`.

It is none that could be chosen: a session takes it where an end of it is secured, whatever else the listener
has.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from lbkit.relay.adopt import adopt
from lbkit.relay.base import RelayEnd
from lbkit.relay.resources import Resources
from lbkit.relay.stream import StreamRelay
from lbkit.relay.tls_transport import TlsTransport

__all__ = ["SecureRelay"]


class SecureRelay(StreamRelay):
    """As every relay, with ends that may be secured already and have nobody attached. Bytes are counted as
    they are inside."""

    __slots__ = ("_ends",)

    def __init__(
        self,
        resources: Resources,
        downstream: socket.socket | TlsTransport,
        upstream: socket.socket | TlsTransport,
        on_end: Callable[[RelayEnd], None],
        on_first_byte: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(resources, _socket_of(downstream), _socket_of(upstream), on_end, on_first_byte)
        self._ends = upstream, downstream

    def start(self) -> None:
        for side, end in zip((self._upstream, self._downstream), self._ends, strict=True):
            if isinstance(end, TlsTransport):
                end.attach(side)
                continue
            if self._poller is not None:
                self._poller.forget(side.sock.fileno())
            adopt(self._loop, side, end, side.connection_lost)


def _socket_of(end: socket.socket | TlsTransport) -> socket.socket:
    return end.sock if isinstance(end, TlsTransport) else end
