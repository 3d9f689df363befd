"""What every health check is: one way to probe a server. It does not judge; `Health` counts."""

from __future__ import annotations

import asyncio
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any, ClassVar

from lbkit.errors import CheckFailed
from lbkit.registry import Registry
from lbkit.server import Address
from lbkit.sockets import connect
from lbkit.tls import ClientTls

__all__ = ["CHECKS", "HealthCheck"]


class HealthCheck(ABC):
    """Probes one address at a time; *options* is the dataclass that the check registered."""

    advises: ClassVar[bool] = False
    """Whether what `probe` returns is an agent's line, to be read with `parse_advice`."""

    def __init__(self, options: Any) -> None:
        self.options = options
        self.tls: ClientTls | None = None
        """How the pool's connections are secured; a check that speaks to what it is for does so too."""
        self.introduction = b""
        """What a connection to a server begins with: a PROXY header where the pool's servers expect one."""

    async def connect(self, address: Address) -> socket.socket:
        """A connection that has begun. Raises ConnectFailed, or CheckFailed where it was lost at once."""
        sock = await connect(address, timeout=0)
        if self.introduction:
            try:
                await asyncio.get_running_loop().sock_sendall(sock, self.introduction)
            except OSError as error:
                sock.close()
                raise CheckFailed(f"connection lost: {os.strerror(error.errno or 0).lower()}") from None
            except BaseException:
                sock.close()
                raise
        return sock

    def members_are(self, addresses: Collection[Address]) -> None:  # noqa: B027 - most look at each alone
        """Who is checked: told before the first check, and when that changes, for a check that compares."""

    def passed_before(self, address: Address) -> None:  # noqa: B027 - most look at each alone
        """*address* passed another such check, that of the pool's start or the one before a reload."""

    @abstractmethod
    async def probe(self, address: Address) -> str:
        """What was seen of a server that passed, in a few words.

        Raises ServerError (CheckFailed, ConnectFailed) with the reason where it did not. The caller
        bounds the time and cancels; nothing may stay open then.
        """


CHECKS: Registry[HealthCheck] = Registry("check")
