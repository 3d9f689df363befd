"""One administrative connection at a time to a server that this package started."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Any

import aiomysql
import pymysql

from lbkit.cluster.flavours import HOST
from lbkit.errors import ConnectFailed, QueryFailed, ServerError

__all__ = ["Administration"]

TIMEOUT = 20.0  # seconds for any one statement, and for connecting


class Administration:
    """``async with Administration(port, password) as admin: await admin.run(sql)``.

    Raises ConnectFailed when the server can't be reached and QueryFailed for what it refuses.
    """

    def __init__(self, port: int, password: str, timeout: float = TIMEOUT) -> None:
        self._port = port
        self._password = password
        self._timeout = timeout
        self._connection: Any = None

    async def __aenter__(self) -> Administration:
        try:
            async with asyncio.timeout(self._timeout):
                self._connection = await aiomysql.connect(
                    host=HOST,
                    port=self._port,
                    user="lbkit_admin",
                    password=self._password,
                    charset="utf8mb4",
                    autocommit=True,
                )
        except TimeoutError:
            raise ConnectFailed(f"port {self._port}: no answer in {self._timeout:g} s") from None
        except (pymysql.MySQLError, OSError) as error:
            raise ConnectFailed(f"port {self._port}: {error.args[-1] if error.args else error}") from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # With a goodbye, so that the server's log has no aborted connections.
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(1):
                await self._connection.ensure_closed()
        self._connection.close()

    async def run(self, sql: str) -> list[dict[str, Any]]:
        """Run one statement; its rows, if any."""
        try:
            async with asyncio.timeout(self._timeout):
                # Not through a cursor: it would turn the server's notes into Python warnings.
                await self._connection.query(sql)
        except TimeoutError:
            raise ServerError(f"port {self._port}: no answer to {sql.split()[0]}") from None
        except pymysql.MySQLError as error:
            raise QueryFailed(*_code_and_text(error)) from None
        result = self._connection._result
        names = [column[0] for column in result.description or ()]
        return [dict(zip(names, row, strict=True)) for row in result.rows or ()]


def _code_and_text(error: pymysql.MySQLError) -> tuple[int, str]:
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    return code, str(error.args[-1]) if error.args else str(error)
