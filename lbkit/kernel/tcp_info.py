"""TCP_INFO: what the kernel counts on a connection whose bytes user space does not see."""

from __future__ import annotations

import fcntl
import socket
import struct
from typing import NamedTuple

__all__ = ["TcpInfo", "taken", "tcp_info"]

# struct tcp_info of linux/tcp.h: the state is the first byte, bytes_acked and bytes_received are at 120. Its
# end moves with the kernel, these places don't.
_LAYOUT = struct.Struct("=B119xQQ")
_TCP_INFO = 11
_TIME_WAIT, _CLOSE, _CLOSE_WAIT, _LAST_ACK, _CLOSING = 6, 7, 8, 9, 11
_FINISHED = frozenset((_TIME_WAIT, _CLOSE_WAIT, _LAST_ACK, _CLOSING))  # the states after a FIN has come


class TcpInfo(NamedTuple):
    """Bytes on one connection since it began."""

    acked: int
    """Ours that the other end's kernel has; on the end that connected its SYN counts as one."""
    received: int
    """Theirs; a FIN counts as one."""
    has_finished: bool
    """Whether the other end's FIN has come."""
    is_closed: bool
    """Whether the socket has no connection any more: after a reset, or when both ends have finished and ours
    did first (the rest of TIME-WAIT is not on the socket)."""


def tcp_info(sock: socket.socket) -> TcpInfo:
    """The counts of *sock*. Raises OSError on what is no TCP socket."""
    state, acked, received = _LAYOUT.unpack(sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _LAYOUT.size))
    return TcpInfo(acked, received, state in _FINISHED, state == _CLOSE)


_SIOCOUTQ = 0x5411  # linux/sockios.h; the same as TIOCOUTQ
_COUNT = struct.Struct("=i")


def taken(sock: socket.socket) -> int:
    """Bytes that the connection has taken from us since it began, sent or not; never more than it has.

    They are those that are acknowledged and those in the send queue (tcp(7)). On the end that connected there
    is one more, its SYN. TCP_INFO's bytes_sent won't do: it counts what the local queue refused and was sent
    again as new. The acknowledged are asked for first: those that are so in between are then missing and
    not double.
    """
    acked = tcp_info(sock).acked
    (queued,) = _COUNT.unpack(fcntl.ioctl(sock.fileno(), _SIOCOUTQ, _COUNT.pack(0)))
    return int(acked + queued)
