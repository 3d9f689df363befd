"""TCP_INFO: what the kernel counts on a connection whose bytes user space does not see."""

from __future__ import annotations

import fcntl
import socket
import struct
from typing import NamedTuple

__all__ = ["TcpInfo", "taken", "tcp_info"]

# struct tcp_info of linux/tcp.h: bytes_acked and bytes_received at 120, notsent_bytes at 144, bytes_sent and
# bytes_retrans at 200; the state is the first byte. Its end moves with the kernel, these places don't.
_LAYOUT = struct.Struct("=B119xQQ8xI52xQQ")
_TCP_INFO = 11
_TIME_WAIT, _CLOSE, _CLOSE_WAIT, _LAST_ACK, _CLOSING = 6, 7, 8, 9, 11
_FINISHED = frozenset((_TIME_WAIT, _CLOSE_WAIT, _LAST_ACK, _CLOSING))  # the states after a FIN has come


class TcpInfo(NamedTuple):
    """Bytes on one connection since it began."""

    acked: int
    """Ours that the other end's kernel has; on the end that connected its SYN counts as one."""
    received: int
    """Theirs; a FIN counts as one."""
    unsent: int
    """In the send queue and not sent for the first time."""
    sent: int
    """Ours that were sent, each time they were."""
    sent_again: int
    has_finished: bool
    """Whether the other end's FIN has come."""
    is_closed: bool
    """Whether the socket has no connection any more: after a reset, or when both ends have finished and ours
    did first (the rest of TIME-WAIT is not on the socket)."""


def tcp_info(sock: socket.socket) -> TcpInfo:
    """The counts of *sock*. Raises OSError on what is no TCP socket."""
    state, *counts = _LAYOUT.unpack(sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _LAYOUT.size))
    acked, received, unsent, sent, sent_again = counts
    return TcpInfo(acked, received, unsent, sent, sent_again, state in _FINISHED, state == _CLOSE)


_SIOCOUTQ = 0x5411  # linux/sockios.h; the same as TIOCOUTQ
_COUNT = struct.Struct("=i")


def taken(sock: socket.socket) -> int:
    """Bytes that the connection has taken from us since it began, sent or not; never more than it has.

    They are those that are acknowledged and those in the send queue (tcp(7)). On the end that connected there
    is one more, its SYN. `sent` won't do: it counts what the local queue refused and was sent again as new.
    The acknowledged are asked for first: those that are acknowledged in between are then missing and not
    double.
    """
    acked = tcp_info(sock).acked
    (queued,) = _COUNT.unpack(fcntl.ioctl(sock.fileno(), _SIOCOUTQ, _COUNT.pack(0)))
    return int(acked + queued)
