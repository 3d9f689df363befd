"""`Probe`: looks at one server over a held connection of its own; `look` says what it saw.

The connection is held because a look then neither waits for a pool nor pays for a login (0.3 ms), and
because its end is the first sign that the server died: the kernel tells it within tens of milliseconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from errno import ECONNREFUSED
from typing import Any

from lbkit.errors import ConnectFailed, ConnectionLost, LbkitError, QueryFailed
from lbkit.mysql.dialect import dialect_of
from lbkit.mysql.driver import Connection, connect
from lbkit.mysql.dsn import Dsn
from lbkit.mysql.observation import Observation, Reach

__all__ = ["Probe", "look"]

OFFLINE_MODE = 3032  # an application's account is not let in
RIGHT_MISSING = (1227, 1142)  # what it would show then stays unknown


class Probe:
    """One server; for one task at a time.

    *whole*: everything that an `Observation` holds; else only what routing needs, which takes fewer rights.
    """

    def __init__(self, dsn: Dsn, timeout: float, whole: bool = True) -> None:
        self.dsn = dsn
        self._timeout = timeout
        self._whole = whole
        self._held: Connection | None = None
        self._features: Sequence[Any] = ()

    async def look(self) -> Observation:
        """What it says now; never raises for what a server or the way to it does."""
        try:
            async with asyncio.timeout(self._timeout):
                try:
                    return await self._look()
                except ConnectionLost:
                    return await self._look()  # that alone proves nothing: what does a new connection say?
        except TimeoutError:
            return self._failed(Reach.SILENT, f"silent for {self._timeout:g} s")
        except ConnectFailed as error:
            seen = self._failed(_reach(error), _plain(error, self.dsn.name))
            return replace(seen, offline=error.code == OFFLINE_MODE)
        except ConnectionLost as error:
            return self._failed(Reach.LOST, _plain(error, self.dsn.name))
        except (LbkitError, ValueError) as error:
            return self._failed(Reach.DENIED, _plain(error, self.dsn.name))

    async def _look(self) -> Observation:
        connection = await self._connection()
        return await look(connection, self._features, self._whole)

    def _failed(self, reach: Reach, reason: str) -> Observation:
        self.drop()
        return Observation(self.dsn.name, reach, reason)

    async def ended(self) -> None:
        """Return when the connection has ended; never while there is none."""
        if self._held is None:
            await asyncio.Future[None]()
        else:
            await self._held.ended()

    def drop(self) -> None:
        """Close the connection without a word."""
        held, self._held = self._held, None
        if held:
            held.drop()

    async def close(self) -> None:
        """Close the connection in order."""
        held, self._held = self._held, None
        if held:
            await held.close()

    async def _connection(self) -> Connection:
        held = self._held
        if held is not None and not held.closed:
            return held
        self.drop()
        # The look's own time limit must be the one that ends it: silence is judged more mildly.
        held = self._held = await connect(self.dsn, self._timeout + 1)
        self._features = await held.fetch(dialect_of(held.is_mariadb).features)
        return held


async def look(connection: Connection, features: Sequence[Any], whole: bool = True) -> Observation:
    """One look over *connection*; raises as its `fetch`, and ValueError for an answer that is none."""
    dialect = dialect_of(connection.is_mariadb)
    seen = (await connection.fetch(dialect.look))[0]
    links = await _allowed(connection, dialect.link)
    semi_sync: Sequence[Any] = ()
    clients: Sequence[Any] = ()
    if whole and dialect.has_semi_sync(features):
        semi_sync = await connection.fetch(dialect.semi_sync)
        clients = await connection.fetch(dialect.semi_sync_clients)
    group = await _allowed(connection, dialect.group) if dialect.has_group(features) else ()
    return dialect.observe(connection.server, seen, links, semi_sync, clients, group)


async def _allowed(connection: Connection, sql: str) -> Sequence[Any]:
    """Its rows; none where the account may not ask."""
    try:
        return await connection.fetch(sql)
    except QueryFailed as error:
        if error.code in RIGHT_MISSING:
            return ()
        raise


def _reach(error: ConnectFailed) -> Reach:
    """Of a connect that failed: nothing listens, it lives but lets nobody in, or nothing is known."""
    if error.errno == ECONNREFUSED:
        return Reach.REFUSED
    return Reach.DENIED if error.code else Reach.LOST


def _plain(error: Exception, name: str) -> str:
    return str(error).removeprefix(f"{name}: ")
