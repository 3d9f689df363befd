"""Health check at layer 4."""

from __future__ import annotations

from lbkit.checks.base import CHECKS, HealthCheck
from lbkit.server import Address

__all__ = ["TcpCheck"]


@CHECKS.register("tcp")
class TcpCheck(HealthCheck):
    """The server accepts a connection."""

    async def probe(self, address: Address) -> str:
        (await self.connect(address)).close()
        return "connected"
