"""Where the entries are kept: in MySQL behind a read/write-splitting router, or in memory."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Protocol

from lbkit.mysql import Router

SHOWN = 50
_TABLE = """
CREATE TABLE IF NOT EXISTS guestbook (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    author VARCHAR(80) NOT NULL,
    text VARCHAR(500) NOT NULL,
    written DATETIME NOT NULL
) CHARACTER SET utf8mb4
"""


@dataclass(frozen=True)
class Entry:
    author: str
    text: str
    written: datetime.datetime


class Store(Protocol):
    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def add(self, author: str, text: str) -> None: ...

    async def latest(self) -> tuple[list[Entry], str]:
        """The newest entries and the name of the database server that answered."""


class MemoryStore:
    """For running without a database: each app server has its own entries, gone when it ends."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def add(self, author: str, text: str) -> None:
        self._entries.append(Entry(author, text, _now()))
        del self._entries[:-SHOWN]

    async def latest(self) -> tuple[list[Entry], str]:
        return self._entries[::-1], ""


class MysqlStore:
    """Writes go to the primary, reads to a replica; `names` are shown in place of addresses."""

    def __init__(self, servers: list[str], names: dict[str, str]) -> None:
        self._router = Router(servers)
        self._names = names

    async def start(self) -> None:
        await self._router.start()
        await self._router.execute(_TABLE)

    async def close(self) -> None:
        await self._router.close()

    async def add(self, author: str, text: str) -> None:
        await self._router.execute(
            "INSERT INTO guestbook (author, text, written) VALUES (%s, %s, %s)", (author, text, _now())
        )
        # The page that follows is read from a replica: let it have the entry first.
        await self._router.catch_up(timeout=1.0)

    async def latest(self) -> tuple[list[Entry], str]:
        rows = await self._router.fetch_all(
            "SELECT author, text, written FROM guestbook ORDER BY id DESC LIMIT %s", (SHOWN,)
        )
        return [Entry(**row) for row in rows], self._names.get(rows.server, rows.server)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0, tzinfo=None)
