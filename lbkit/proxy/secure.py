"""Connections to servers become secure ones."""

from __future__ import annotations

import asyncio
import socket

from lbkit.errors import ConnectFailed
from lbkit.relay.tls_transport import TlsTransport
from lbkit.server import Address
from lbkit.tls import ClientTls
from lbkit.tls.client import why_not_secured

__all__ = ["secure"]


async def secure(sock: socket.socket, address: Address, tls: ClientTls, timeout: float) -> TlsTransport:
    """Do the handshake with the server at *address* on *sock*, which belongs to the transport from now on.

    *timeout* is seconds, 0 for none. Raises ConnectFailed, with *sock* closed.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def failed(error: Exception) -> None:
        if not done.done():
            done.set_exception(ConnectFailed(f"{address}: {why_not_secured(error)}"))

    def secured(_: TlsTransport) -> None:
        if not done.done():
            done.set_result(None)

    transport = TlsTransport(
        loop,
        sock,
        tls.context,
        timeout=timeout,
        secured=secured,
        failed=failed,
        server_name=tls.name_of(address),
    )
    transport.start()
    try:
        await done
    except BaseException:
        transport.abort()
        raise
    return transport
