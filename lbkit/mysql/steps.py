"""`Step`: something to do with a connection, given the error that means "its answer never came"."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol, TypeVar

from lbkit.errors import LbkitError
from lbkit.mysql.driver import Connection

__all__ = ["Step"]

T_co = TypeVar("T_co", covariant=True)


class Step(Protocol[T_co]):
    """Called as ``await step(connection, lost)``."""

    def __call__(self, connection: Connection, lost: type[LbkitError], /) -> Awaitable[T_co]: ...
