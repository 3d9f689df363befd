"""`Transaction`: several statements that happen together or not at all, on one connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType

from lbkit.errors import ConnectionLost, LbkitError, OutcomeUnknown
from lbkit.mysql.connections import Begin
from lbkit.mysql.driver import Arguments, Connection
from lbkit.mysql.results import Result, Row, Rows
from lbkit.mysql.statements import classify
from lbkit.mysql.tokens import PRIMARY_ONLY

__all__ = ["Transaction"]

Take = Callable[[Begin], Awaitable[Connection]]
GiveBack = Callable[[Connection], None]


class Transaction:
    """``async with router.transaction() as tx``: commits at the end, rolls back on any exception.

    A connection that dies in the middle raises ConnectionLost: nothing was changed, and the transaction
    can be run again from its start. Only when it dies in the commit (or in a statement that commits by
    itself, such as CREATE TABLE, or after one) is it OutcomeUnknown. LockConflict also means: run it again,
    and so does ReadOnlyServer, whose server has been the primary when the transaction began.
    """

    def __init__(
        self,
        take: Take,
        give_back: GiveBack,
        read_only: bool,
        wrote: Callable[[str], None] = lambda token: None,
    ) -> None:
        """*wrote* is told the token of what was committed."""
        self._take = take
        self._give_back = give_back
        # READ WRITE has a server that is read-only refuse at the beginning, where another one will do.
        self._start = f"START TRANSACTION READ {'ONLY' if read_only else 'WRITE'}"
        self._read_only = read_only
        self._wrote = wrote
        self._connection: Connection | None = None
        self._token = ""
        self.may_have_committed = False
        """Whether a statement in it may have ended it: then it must not be run again from its start."""

    @property
    def token(self) -> str:
        """Names what the transaction wrote, once it is committed, for reads that must show it."""
        return self._token

    @property
    def server(self) -> str:
        """The name of the server it runs on."""
        return self._held.server

    async def __aenter__(self) -> Transaction:
        self._connection = await self._take(self._begin)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connection, self._connection = self._held, None
        try:
            if error is None:
                await self._commit(connection)
            elif isinstance(error, Exception) and not connection.closed:
                await self._roll_back(connection)
        finally:
            # After a cancellation whoever takes it back rolls back, without keeping the cancelled task.
            self._give_back(connection)

    async def _commit(self, connection: Connection) -> None:
        try:
            await connection.execute("COMMIT", lost=OutcomeUnknown)
        except BaseException:
            if not self._read_only and connection.closed:
                self._wrote(PRIMARY_ONLY)  # who looks whether it happened is to look where that would be seen
            raise
        if not self._read_only:
            self._token = await connection.take_token()
            self._wrote(self._token)

    async def execute(self, sql: str, args: Arguments = None) -> Result:
        """Run one statement; raises QueryFailed, ConnectionLost or OutcomeUnknown."""
        return await self._held.execute(sql, args, lost=self._prepare(sql))

    async def fetch_all(self, sql: str, args: Arguments = None) -> Rows:
        """All rows of one statement; raises as `execute`."""
        return await self._held.fetch(sql, args, lost=self._prepare(sql))

    async def fetch_one(self, sql: str, args: Arguments = None) -> Row | None:
        """The first row, None when there is none; raises as `execute`."""
        rows = await self.fetch_all(sql, args)
        return rows[0] if rows else None

    async def _begin(self, connection: Connection) -> None:
        if connection.in_transaction:
            # The server would silently commit the open one.
            raise RuntimeError("a transaction is open already in this session")
        await connection.execute(self._start)

    async def _roll_back(self, connection: Connection) -> None:
        try:
            await connection.execute("ROLLBACK")
        except LbkitError:
            connection.drop()  # the server rolls back what its client has left

    def _prepare(self, sql: str) -> type[LbkitError]:
        """Note what the statement does to the connection; the error for "its answer never came"."""
        statement = classify(sql)
        if statement.changes_session:
            self._held.needs_reset = True
        if statement.may_commit:
            self.may_have_committed = True
        return OutcomeUnknown if self.may_have_committed else ConnectionLost

    @property
    def _held(self) -> Connection:
        if self._connection is None:
            raise RuntimeError("the transaction is not open: use it with `async with`")
        return self._connection
