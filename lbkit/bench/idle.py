"""How much memory a proxy takes for a connection that does nothing.

Memory of a process hardly ever shrinks, so each figure comes from a process that was started for it. It has
served some connections before the first look, so that what is allocated once is not counted.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import time

from lbkit.bench.answers import BODIES
from lbkit.bench.contenders import Route
from lbkit.bench.usage import resident_bytes
from lbkit.errors import ConfigError, StartFailed
from lbkit.server import Address

__all__ = ["bytes_per_connection", "raise_file_limit"]

_BATCH = 50
_TIMEOUT = 10.0
_SPARE = 200
_LOOKS = 30
_PAUSE = 0.1
"""Seconds between two looks at the memory."""


def raise_file_limit(connections: int) -> None:
    """Let this process and its children have as many open files as the system allows.

    Raises ConfigError where *connections* through a proxy, which has two files for each, would not fit.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and 2 * connections + _SPARE > hard:
        most = (hard - _SPARE) // 2
        raise ConfigError(
            f"--idle-connections {connections}: a process may have {hard} open files here (ulimit -Hn), "
            f"which is enough for {most}"
        )


def bytes_per_connection(route: Route, connections: int) -> float:
    """What *connections* idle ones, each after one small request, take of the proxy's memory, each.

    Raises StartFailed where one of them is not answered.
    """
    try:
        with contextlib.ExitStack() as stack:
            _open(route.address, _BATCH, stack)
        before = _settled(route.group)
        with contextlib.ExitStack() as stack:
            for first in range(0, connections, _BATCH):
                _open(route.address, min(_BATCH, connections - first), stack)
            after = _settled(route.group)
    except OSError as error:
        name = route.contender.name
        raise StartFailed(f"{name} did not hold {connections} connections: {error}") from None
    return (after - before) / connections


def _settled(group: int) -> int:
    """Bytes, when three looks in a row saw the same or it was looked at often enough.

    A process that starts has helpers that end, and one that was just busy frees what it used for that.
    """
    seen: list[int] = []
    while len(seen) < _LOOKS and not (len(seen) > 2 and len(set(seen[-3:])) == 1):
        time.sleep(_PAUSE)
        seen.append(resident_bytes(group))
    return seen[-1]


def _open(address: Address, count: int, stack: contextlib.ExitStack) -> None:
    """So many connections that have their answer, together: some proxies take milliseconds for each."""
    opened = []
    for _ in range(count):
        sock = stack.enter_context(socket.create_connection((address.host, address.port), timeout=_TIMEOUT))
        sock.sendall(b"GET /small HTTP/1.1\r\nHost: bench\r\n\r\n")
        opened.append(sock)
    for sock in opened:
        _read_answer(sock)


def _read_answer(sock: socket.socket) -> None:
    answer = b""
    while len(answer.partition(b"\r\n\r\n")[2]) < len(BODIES[b"/small"]):
        data = sock.recv(4096)
        if not data:
            raise ConnectionError("closed without an answer")
        answer += data
