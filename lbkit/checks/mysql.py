"""Health check of a MySQL or MariaDB server.

With a user it logs in and runs a statement, which is the only proof that queries work. Without one
it reads the greeting that a server sends first: that tells "up" from "too many connections" or
"shutting down", as HAProxy's `mysql-check` does, but MySQL counts each such visit as an aborted
connection, so a user is better.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomysql
import pymysql

from lbkit.checks.base import CHECKS, HealthCheck
from lbkit.errors import CheckFailed
from lbkit.server import Address

__all__ = ["MysqlCheck", "MysqlCheckOptions"]

_PROTOCOL_10 = 0x0A
_ERROR = 0xFF
_MAX_GREETING = 4096


@dataclass(frozen=True, slots=True)
class MysqlCheckOptions:
    """`user` logs in and runs ``SELECT 1``; its password comes from `password_env` or `password_file`."""

    user: str = ""
    password_env: str = ""
    password_file: Path | None = None

    def __post_init__(self) -> None:
        if self.password_env and self.password_file is not None:
            raise ValueError('password_file: the password comes from "password_env" already')
        for key in ("password_env", "password_file"):
            if getattr(self, key) and not self.user:
                raise ValueError(f'{key}: a password needs "user", too')

    def password(self) -> str:
        """The password, read anew each time; raises CheckFailed where there is none."""
        if self.password_env:
            try:
                return os.environ[self.password_env]
            except KeyError:
                raise CheckFailed(f"${self.password_env} is not set") from None
        if self.password_file is not None:
            try:
                return self.password_file.read_text("utf-8").rstrip("\n")
            except OSError as error:
                raise CheckFailed(f"{self.password_file}: {error.strerror}") from None
            except UnicodeDecodeError:
                raise CheckFailed(f"{self.password_file}: is not UTF-8 text") from None
        return ""


class _Login(aiomysql.Connection):  # type: ignore[misc]  # aiomysql has no type information
    """A connection that says something before the server greets."""

    def __init__(self, introduction: bytes, user: str, password: str, where: dict[str, Any]) -> None:
        super().__init__(user=user, password=password, **where)
        self._introduction = introduction

    async def _get_server_information(self) -> None:
        if self._introduction:
            self._writer.write(self._introduction)
        await super()._get_server_information()


@CHECKS.register("mysql", MysqlCheckOptions)
class MysqlCheck(HealthCheck):
    """A MySQL or MariaDB server greets, and with `user` answers a query."""

    async def probe(self, address: Address) -> str:
        if self.options.user:
            return await self._query(address)
        return await self._greeting(address)

    async def _query(self, address: Address) -> str:
        where: dict[str, Any] = (
            {"unix_socket": address.path} if address.path else {"host": address.host, "port": address.port}
        )
        try:
            connection = _Login(self.introduction, self.options.user, self.options.password(), where)
            await connection._connect()
        except Exception as error:  # noqa: BLE001 - see _verdict
            raise _verdict(error) from None
        try:
            cursor = await connection.cursor()
            await cursor.execute("SELECT 1")
            await cursor.fetchall()
        except Exception as error:  # noqa: BLE001 - see _verdict
            raise _verdict(error) from None
        finally:
            connection.close()
        return f"answered, version {connection.get_server_info()}"

    async def _greeting(self, address: Address) -> str:
        sock = await self.connect(address)
        reader, writer = await asyncio.open_connection(sock=sock)
        try:
            head = await reader.readexactly(4)
            length = int.from_bytes(head[:3], "little")
            if not 1 < length <= _MAX_GREETING:
                raise CheckFailed("the greeting is not MySQL's")
            return _read_greeting(await reader.readexactly(length))
        except (asyncio.IncompleteReadError, OSError):
            raise CheckFailed("closed before its greeting was complete") from None
        finally:
            writer.transport.abort()


def _verdict(error: Exception) -> CheckFailed:
    """A driver's error as ``code: text``.

    The driver does not expect packets that are no MySQL: it then raises whatever its parser stumbles
    over, IndexError or struct.error among others, which are the server's fault and no bug of ours.
    """
    if isinstance(error, CheckFailed):
        return error
    if isinstance(error, (pymysql.err.Error, OSError)):
        return CheckFailed(": ".join(str(arg) for arg in error.args) or type(error).__name__)
    return CheckFailed(f"the answer is not MySQL's ({type(error).__name__}: {error})")


def _read_greeting(packet: bytes) -> str:
    """The version in a server's first packet (protocol 10), or its refusal as CheckFailed."""
    if packet[0] == _ERROR:
        code = int.from_bytes(packet[1:3], "little")
        raise CheckFailed(f"{code}: {packet[3:].decode('utf-8', 'replace')}")
    version, end, _ = packet[1:].partition(b"\0")
    if packet[0] != _PROTOCOL_10 or not end:
        raise CheckFailed("the greeting is not MySQL's")
    return f"greeted, version {version.decode('ascii', 'replace')}"
