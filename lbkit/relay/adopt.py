"""A connected socket becomes a transport without a task.

`loop.connect_accepted_socket` is the only public way to wrap a raw socket, and it is a coroutine. A
task for each would cost more than the wrapping, so the coroutine is stepped by hand: it waits for
one future of the loop, whose callback takes the next step.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["adopt"]


def adopt(
    loop: asyncio.AbstractEventLoop,
    protocol: asyncio.Protocol,
    sock: socket.socket,
    failed: Callable[[OSError], None],
) -> None:
    """Wrap *sock*; `protocol.connection_made` follows, or `failed`, after which *sock* is closed."""
    step(loop.connect_accepted_socket(lambda: protocol, sock), sock, failed)


def step(coroutine: Coroutine[Any, Any, Any], sock: socket.socket, failed: Callable[[OSError], None]) -> None:
    """Run *coroutine* up to the next future that it waits for."""
    try:
        future = coroutine.send(None)
    except StopIteration:
        return
    except OSError as error:
        sock.close()
        failed(error)
        return
    future.add_done_callback(lambda _: step(coroutine, sock, failed))
