"""What an operator may change while everything runs: JSON → a change, with every problem at once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from lbkit.config.decoder import INVALID, Problems, decode
from lbkit.config.loader import NO_NAME, check_server
from lbkit.config.schema import ServerConfig
from lbkit.errors import ConfigError
from lbkit.server import Address

__all__ = ["Control", "ServerChange", "read_change", "read_new_server"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServerChange:
    """What is None stays as it is.

    A weight and a limit hold until a reload brings another configured one, a state until it is changed
    again, an address until the next reload.
    """

    state: Literal["ready", "drain", "maint"] | None = None
    weight: int | None = None
    max_connections: int | None = None
    address: Address | None = None


class Control(Protocol):
    """What carries changes out. Each raises KeyError for a pool or server that is not there."""

    def change_server(self, pool: str, server: str, change: ServerChange) -> None:
        """Change one server; sessions in progress go on."""

    def add_server(self, pool: str, server: ServerConfig) -> None:
        """It is there until the next reload, or for good where that has it too.

        Raises ConfigError where the name is taken.
        """

    def remove_server(self, pool: str, server: str) -> None:
        """It gets no new sessions; those in progress go on."""


def read_change(body: bytes) -> ServerChange:
    """Raises ConfigError with one line for each problem."""
    return _read(ServerChange, body)


def read_new_server(body: bytes) -> ServerConfig:
    """Raises ConfigError with one line for each problem."""
    return _read(ServerConfig, body)


def _read(kind: type[T], body: bytes) -> T:
    try:
        raw: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the body is not JSON: {error}") from None
    problems = Problems()
    change = decode(kind, raw, "", problems)
    if change is not INVALID:
        _check(change, problems)
    if problems.lines:
        raise ConfigError(problems.lines)
    assert isinstance(change, kind)
    return change


def _check(change: ServerChange | ServerConfig, problems: Problems) -> None:
    if problems.lines:
        return  # what could not be read has a stand-in, of which nobody should be told
    check_server(change.weight, change.max_connections, change.address, "", problems)
    if isinstance(change, ServerConfig) and not change.name:
        problems.add("name", NO_NAME)
    if isinstance(change, ServerConfig) and not _is_unicode(change.name):
        problems.add("name", "is not Unicode text")  # JSON can say half of a character; metrics can't


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
