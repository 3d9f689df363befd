"""A check's connection over TLS: its own handshake errors are verdicts."""

from __future__ import annotations

import asyncio
import socket
import ssl

from lbkit.errors import CheckFailed
from lbkit.tls.client import why_not_secured

__all__ = ["open_secured"]


async def open_secured(
    sock: socket.socket, context: ssl.SSLContext, name: str, *, limit: int = 64 * 1024
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Do the handshake with a server called *name* on the connected *sock*.

    Raises CheckFailed with the reason, and *sock* is closed.
    """
    try:
        return await asyncio.open_connection(sock=sock, ssl=context, server_hostname=name, limit=limit)
    except (OSError, ValueError, EOFError) as error:  # ValueError: a name that TLS cannot have
        sock.close()
        raise CheckFailed(why_not_secured(error)) from None
    except BaseException:
        sock.close()
        raise
