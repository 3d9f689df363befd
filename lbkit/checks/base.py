"""What every health check is: one way to probe a server. It does not judge; `Health` counts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from lbkit.registry import Registry
from lbkit.server import Address

__all__ = ["CHECKS", "HealthCheck"]


class HealthCheck(ABC):
    """Probes one address at a time; *options* is the dataclass that the check registered."""

    advises: ClassVar[bool] = False
    """Whether what `probe` returns is an agent's line, to be read with `parse_advice`."""

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    async def probe(self, address: Address) -> str:
        """What was seen of a server that passed, in a few words.

        Raises ServerError (CheckFailed, ConnectFailed) with the reason where it did not. The caller
        bounds the time and cancels; nothing may stay open then.
        """


CHECKS: Registry[HealthCheck] = Registry("check")
