"""`Session`: one user's statements, which see what that user has written.

Reads go to replicas until the first statement that is not a plain read. From then on the session holds
one connection to the primary, so that later reads see its writes, and variables, temporary tables and
LAST_INSERT_ID() work. Keep a session as short as one request: it keeps its connection from others.
With ``consistency="eventual"`` plain reads stay with the replicas, until the session has a state of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from lbkit.errors import ConnectionLost, ReadOnlyServer
from lbkit.mysql.connections import Begin, Connections
from lbkit.mysql.driver import Arguments, Connection, Step
from lbkit.mysql.results import Result, Row, Rows
from lbkit.mysql.statements import Statement, classify
from lbkit.mysql.tokens import merged
from lbkit.mysql.transaction import Transaction

__all__ = ["Session"]

T = TypeVar("T")


class Session:
    """``async with router.session() as session``; for one task at a time.

    Errors are those of `Router`. When its held connection dies, what was only in that connection
    (variables, temporary tables, LAST_INSERT_ID()) is gone: a statement that may need it raises
    ConnectionLost, any other goes on over a new one, and likewise when its server is the primary no more.
    """

    def __init__(
        self,
        connections: Connections,
        after: str = "",
        wrote: Callable[[str], None] = lambda token: None,
        pins: bool = True,
    ) -> None:
        """*after* is what reads must show; *wrote* is told the token of each write; *pins*: after a write
        reads go to the primary."""
        self._connections = connections
        self._after = after
        self._tell = wrote
        self._pins = pins
        self._token = ""
        self._held: Connection | None = None
        self._open = False

    async def __aenter__(self) -> Session:
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        self._let_go()

    @property
    def wrote(self) -> bool:
        """Whether statements go to the primary by now."""
        return self._held is not None

    @property
    def token(self) -> str:
        """Names what the session has written and committed, for reads elsewhere that must show it."""
        return self._token

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
        if read_only and self._reads_elsewhere:
            take = self._connections.take_reader
            return Transaction(lambda begin: take(self._shown, begin), self._connections.give_back, read_only)
        return Transaction(self._hold, self._keep, read_only, self._note)

    @property
    def _reads_elsewhere(self) -> bool:
        """Whether plain reads need not go over the held connection."""
        return self._held is None or not (
            self._pins or self._held.needs_reset or self._held.in_transaction or self._held.closed
        )

    @property
    def _shown(self) -> str:
        """What reads elsewhere must show: own writes, too, when their connection is lost."""
        return merged(self._after, self._token) if self._pins else self._after

    async def _hold(self, begin: Begin = None) -> Connection:
        """The session's connection to the primary, taken at the first need."""
        if not self._open:
            raise RuntimeError("the session is not open: use it with `async with`")
        if self._held and begin:
            try:
                await begin(self._held)
            except (ConnectionLost, ReadOnlyServer):
                if self._held.needs_reset:
                    raise
                self._let_go()
        if self._held is None:
            self._held = await self._connections.take_primary(begin, self._after)
        return self._held

    async def _route(self, sql: str, step: Step[T]) -> T:
        statement = classify(sql)
        if statement.reads and self._reads_elsewhere:
            return await self._connections.read(
                lambda connection: step(connection, ConnectionLost), self._shown
            )
        connection = await self._hold()
        try:
            return await self._connections.write(statement, connection, step, self._note)
        except (ConnectionLost, ReadOnlyServer):
            if not self._may_move(statement, connection, sql):
                raise
        # Nothing of it was carried out, and nothing that it may need was in the old connection.
        self._let_go()
        return await self._connections.change(statement, step, self._note, self._adopt)

    def _may_move(self, statement: Statement, connection: Connection, sql: str) -> bool:
        """Whether a statement that was not carried out can be, over another connection."""
        return not (
            statement.reads
            or statement.changes_session
            or statement.may_commit
            or connection.needs_reset
            or connection.in_transaction
            or "LAST_INSERT_ID" in sql.upper()
            or "ROW_COUNT" in sql.upper()
        )

    def _note(self, token: str) -> None:
        self._token = merged(self._token, token)
        self._tell(token)

    def _adopt(self, connection: Connection) -> None:
        self._held = connection

    def _let_go(self) -> None:
        held, self._held = self._held, None
        if held:
            self._connections.give_back(held)

    def _keep(self, connection: Connection) -> None:
        """What a transaction gives back stays here, but one that a cancellation left open must not go on."""
        if not connection.closed and connection.in_transaction:
            connection.drop()
