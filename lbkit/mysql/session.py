"""`Session`: one user's statements, which see what that user has written.

Reads go to replicas until the first statement that is not a plain read. From then on the session holds
one connection to the primary, so that later reads see its writes, and variables, temporary tables and
LAST_INSERT_ID() work. Keep a session as short as one request: it keeps its connection from others.
"""

from __future__ import annotations

from types import TracebackType
from typing import TypeVar

from lbkit.errors import ConnectionLost
from lbkit.mysql.connections import Connections
from lbkit.mysql.driver import Arguments, Connection, Step
from lbkit.mysql.results import Result, Row, Rows
from lbkit.mysql.statements import classify
from lbkit.mysql.transaction import Transaction

__all__ = ["Session"]

T = TypeVar("T")


class Session:
    """``async with router.session() as session``; for one task at a time.

    Errors are those of `Router`. When its held connection dies, what was only in that connection
    (variables, temporary tables) is gone, so the next statement raises ConnectionLost too.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._held: Connection | None = None
        self._open = False

    async def __aenter__(self) -> Session:
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        if self._held:
            self._connections.give_back(self._held)
            self._held = None

    @property
    def wrote(self) -> bool:
        """Whether all statements go to the primary by now."""
        return self._held is not None

    async def execute(self, sql: str, args: Arguments = None) -> Result:
        """Run one statement."""
        return await self._route(sql, lambda connection, lost: connection.execute(sql, args, lost=lost))

    async def fetch_all(self, sql: str, args: Arguments = None) -> Rows:
        """All rows of one statement; `Rows.server` tells who answered."""
        return await self._route(sql, lambda connection, lost: connection.fetch(sql, args, lost=lost))

    async def fetch_one(self, sql: str, args: Arguments = None) -> Row | None:
        """The first row, with `Row.server`; None when there is none."""
        rows = await self.fetch_all(sql, args)
        return rows[0] if rows else None

    def transaction(self, read_only: bool = False) -> Transaction:
        """A transaction within the session; with *read_only* on a replica until the session wrote."""
        if read_only and not self._held:
            return Transaction(self._connections.take_reader, self._connections.give_back, read_only)
        return Transaction(self._hold, self._keep, read_only)

    async def _hold(self) -> Connection:
        """The session's connection to the primary, taken at the first need."""
        if not self._open:
            raise RuntimeError("the session is not open: use it with `async with`")
        if self._held is None:
            self._held = await self._connections.take_primary()
        return self._held

    async def _route(self, sql: str, step: Step[T]) -> T:
        statement = classify(sql)
        if statement.reads and self._held is None:
            return await self._connections.read(lambda connection: step(connection, ConnectionLost))
        return await self._connections.write(statement, await self._hold(), step)

    def _keep(self, connection: Connection) -> None:
        """What a transaction gives back stays here, but one that a cancellation left open must not go on."""
        if not connection.closed and connection.in_transaction:
            connection.drop()
