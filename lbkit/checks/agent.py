"""Agent check: the server says itself how much traffic it wants, in one line over TCP.

HAProxy's `agent-check`: connect, read up to the first line feed, close; `parse_advice` knows the words.
As a pool's check an agent that does not answer is a failed check; under ``[pools.NAME.agent]``, beside
another check, it changes nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import ClassVar

from lbkit.checks.base import CHECKS, HealthCheck
from lbkit.errors import CheckFailed
from lbkit.health import parse_advice
from lbkit.server import Address
from lbkit.sockets import connect

__all__ = ["AgentCheck", "AgentCheckOptions"]

_MAX_LINE = 512


@dataclass(frozen=True, slots=True)
class AgentCheckOptions:
    """`port` of the server's address where its agent listens; 0 is the server's own."""

    port: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port: {self.port} is not from 0 to 65535")


@CHECKS.register("agent", AgentCheckOptions)
class AgentCheck(HealthCheck):
    """The server's agent says what it wants: 75%, ready, drain, maint, up, down, maxconn:N."""

    advises: ClassVar[bool] = True

    async def probe(self, address: Address) -> str:
        if self.options.port and not address.path:
            address = replace(address, port=self.options.port)
        sock = await connect(address, timeout=0)
        reader, writer = await asyncio.open_connection(sock=sock, limit=_MAX_LINE)
        try:
            line = await reader.readline()
        except OSError as error:
            raise CheckFailed(f"connection lost: {error.strerror}") from None
        except ValueError:
            raise CheckFailed(f"the agent's line has more than {_MAX_LINE} bytes") from None
        finally:
            writer.transport.abort()
        text = line.decode("ascii", "replace").strip()
        try:
            parse_advice(text)
        except ValueError as error:
            raise CheckFailed(str(error)) from None
        return text
