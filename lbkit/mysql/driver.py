"""`Connection`: one connection to a database server, on aiomysql's protocol code.

What it adds: a time limit that covers the handshake, typed errors, no loss of step (whatever goes wrong
in mid-answer closes the connection), a cheap test for life, COM_RESET_CONNECTION, and the character set
with the database's own collation. Several statements in one text are switched off: the server then
refuses them, and with them most SQL injections.

It derives from aiomysql's class instead of wrapping it because the protocol steps it must change are
not reachable otherwise.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import aiomysql
import pymysql
from pymysql.constants import CLIENT, COMMAND

from lbkit import deadline
from lbkit.errors import ConnectFailed, ConnectionLost, DeadlineExceeded, LbkitError, OutcomeUnknown
from lbkit.mysql.dsn import Dsn
from lbkit.mysql.results import Result, Row, Rows
from lbkit.mysql.translate import connect_failed, query_failed

__all__ = ["Arguments", "Connection", "Step", "connect"]

T_co = TypeVar("T_co", covariant=True)

Arguments = Sequence[Any] | Mapping[str, Any] | None

COM_RESET_CONNECTION = 0x1F
QUIT_TIMEOUT = 1.0  # seconds for a goodbye; the server needs none, it only keeps its log clean

# Variables then compare with columns of the database: the driver's own choice of utf8mb4_general_ci
# gives error 1267 (illegal mix of collations) on servers whose default is another one.
SESSION_SETUP = (
    "SET NAMES utf8mb4, autocommit = 1, collation_connection = "
    "IF(@@collation_database LIKE 'utf8mb4%', @@collation_database, @@collation_connection)"
)


class _Protocol(aiomysql.Connection):  # type: ignore[misc]  # aiomysql has no type information
    """aiomysql's connection with what it does not offer."""

    def __init__(self, dsn: Dsn) -> None:
        super().__init__(
            host=dsn.host,
            port=dsn.port,
            user=dsn.user,
            password=dsn.password,
            db=dsn.database or None,
            charset="utf8mb4",
            autocommit=None,
            init_command=None,
            program_name="lbkit",
        )
        self.client_flag &= ~CLIENT.MULTI_STATEMENTS
        self.ended = asyncio.Event()

    async def open(self) -> None:
        try:
            await self._connect()
            self._watch(self._reader)
            await self.query(SESSION_SETUP)
        except BaseException:
            # aiomysql cleans up after errors, but not after a cancellation.
            self.close()
            raise

    def _watch(self, reader: Any) -> None:
        """Have `ended` set when the other side closes; the reader tells nobody but who reads."""
        feed_eof, set_exception = reader.feed_eof, reader.set_exception

        def at_eof() -> None:
            feed_eof()
            self.ended.set()

        def at_error(error: BaseException) -> None:
            set_exception(error)
            self.ended.set()

        reader.feed_eof, reader.set_exception = at_eof, at_error

    async def reset(self) -> None:
        await self._execute_command(COM_RESET_CONNECTION, "")
        await self._read_ok_packet()
        # That forgets everything but USE: without this the next user's names mean another database.
        await self.select_db(self.db)
        await self.query(SESSION_SETUP)

    async def probe(self) -> None:
        await self._execute_command(COMMAND.COM_PING, "")
        await self._read_ok_packet()

    async def run(self, sql: str) -> Any:
        """The first result of a statement; those of a procedure after it are read and dropped."""
        await self.query(sql)
        first = self._result
        while self._result.has_next:
            await self.next_result()
        return first

    def abort(self) -> None:
        """Close without waiting for what is still to be sent."""
        if self._writer:
            self._writer.transport.abort()
        self.close()

    @property
    def has_ended(self) -> bool:
        """Closed, or the server said something unasked: its goodbye, with or without an error packet."""
        reader = self._reader
        return reader is None or reader.eof_received or reader.exception() is not None


class Connection:
    """An open connection, for one user at a time; made by `connect`.

    After `ConnectionLost`, `OutcomeUnknown` or a cancellation it is closed; after `QueryFailed` it can
    be used on. `opened` and `last_used` are loop times, for the pool.
    """

    def __init__(self, dsn: Dsn, protocol: _Protocol, now: float) -> None:
        self.server = dsn.name
        self.opened = now
        self.last_used = now
        self.needs_reset = False
        """Set by whoever changed the session's state; the pool resets it before the next user."""
        self._protocol = protocol
        self._busy = False

    @property
    def is_mariadb(self) -> bool:
        return "mariadb" in str(self._protocol.get_server_info()).lower()

    @property
    def id(self) -> int:
        """The server's number of this connection, for KILL."""
        return int(self._protocol.thread_id())

    @property
    def closed(self) -> bool:
        """Closed, or the server has closed it."""
        return bool(self._protocol.has_ended)

    async def ended(self) -> None:
        """Return as soon as the server has closed it, also while nothing is asked."""
        await self._protocol.ended.wait()

    @property
    def in_transaction(self) -> bool:
        """As the server said with its last answer."""
        return bool(self._protocol.get_transaction_status())

    @property
    def was_interrupted(self) -> bool:
        """Closed while the server was at work on a statement, which it may still be."""
        return self._busy

    async def execute(
        self, sql: str, args: Arguments = None, *, lost: type[LbkitError] = ConnectionLost
    ) -> Result:
        """Run one statement.

        Raises QueryFailed for what the server refuses, ConnectionLost when the connection was dead
        before the statement was sent, and *lost* when it died after that. At the request's deadline the
        connection is closed, which has the pool stop the statement on the server: then OutcomeUnknown where
        that is *lost*, else DeadlineExceeded.
        """
        result = await self._run(sql, args, lost)
        return Result(int(result.affected_rows or 0), int(result.insert_id or 0), self.server)

    async def fetch(
        self, sql: str, args: Arguments = None, *, lost: type[LbkitError] = ConnectionLost
    ) -> Rows:
        """Run one statement and read its rows; raises as `execute`."""
        result = await self._run(sql, args, lost)
        if result.rows is None:
            return Rows((), self.server)
        names = _column_names(result.fields)
        rows = (Row(zip(names, row, strict=False), self.server) for row in result.rows)
        return Rows(rows, self.server)

    async def reset(self) -> None:
        """Forget transactions, variables, temporary tables, locks and USE.

        Raises ConnectionLost, also where the DSN names no database: a server has no way to have none again.
        """
        if not self._protocol.db:
            self.drop()
            raise ConnectionLost(f"{self.server}: a connection without a database is not used again")
        await self._guard(self._protocol.reset(), ConnectionLost)
        self.needs_reset = False

    async def ping(self) -> None:
        """Raises ConnectionLost unless the server answers; never connects again."""
        await self._guard(self._protocol.probe(), ConnectionLost)

    def drop(self) -> None:
        """Close at once and without a word; the server rolls back, and who waits gets *lost*."""
        self._protocol.abort()

    async def close(self) -> None:
        """Say goodbye, for at most a second, and close."""
        try:
            if not self.closed:
                async with asyncio.timeout(QUIT_TIMEOUT):
                    await self._protocol.ensure_closed()
        except (TimeoutError, OSError):
            pass  # it is closed below in any case
        finally:
            self._protocol.close()

    async def _run(self, sql: str, args: Arguments, lost: type[LbkitError]) -> Any:
        text = sql if args is None else sql % _escaped(args, self._protocol)
        if self.closed:
            self.drop()
            raise ConnectionLost(f"{self.server}: the connection was closed")
        if deadline.at() is None:
            return await self._guard(self._protocol.run(text), lost)
        try:
            async with deadline.bounded():
                return await self._guard(self._protocol.run(text), lost)
        except DeadlineExceeded as error:
            if lost is OutcomeUnknown and self._busy:
                raise OutcomeUnknown(f"{self.server}: {error}{_hint(lost)}") from None
            raise

    async def _guard(self, step: Any, lost: type[LbkitError]) -> Any:
        """Await a protocol step; whatever but a server's own refusal ends the connection."""
        self._busy = True
        try:
            result = await step
        except BaseException as error:
            if refusal := query_failed(error):
                self._busy = False
                raise refusal from None
            self.drop()
            if isinstance(error, (pymysql.MySQLError, OSError, EOFError)):
                self._busy = False  # the server closed it, so it has nothing left to be killed
                raise lost(f"{self.server}: {_reason(error)}{_hint(lost)}") from None
            raise
        self._busy = False
        return result


class Step(Protocol[T_co]):
    """Something to do with a connection: called as ``await step(connection, lost)``.

    *lost* is the error that means "it was sent, and its answer never came".
    """

    def __call__(self, connection: Connection, lost: type[LbkitError], /) -> Awaitable[T_co]: ...


async def connect(dsn: Dsn, timeout: float) -> Connection:
    """Connect and log in within *timeout* seconds; raises ConnectFailed."""
    try:
        async with asyncio.timeout(timeout):
            protocol = _Protocol(dsn)
            await protocol.open()
    except (pymysql.MySQLError, OSError, EOFError) as error:
        raise connect_failed(error, dsn.name) from None
    except (struct.error, IndexError, ValueError, AssertionError):
        # What the driver raises over a greeting that is none.
        raise ConnectFailed(f"{dsn.name}: does not speak MySQL's protocol") from None
    return Connection(dsn, protocol, asyncio.get_running_loop().time())


def _escaped(args: Sequence[Any] | Mapping[str, Any], protocol: _Protocol) -> Any:
    if isinstance(args, Mapping):
        return {name: protocol.escape(value) for name, value in args.items()}
    return tuple(protocol.escape(value) for value in args)


def _column_names(fields: Sequence[Any]) -> list[str]:
    names: list[str] = []
    for field in fields:
        names.append(f"{field.table_name}.{field.name}" if field.name in names else field.name)
    return names


def _reason(error: BaseException) -> str:
    return str(error.args[-1]) if error.args else type(error).__name__


def _hint(lost: type[LbkitError]) -> str:
    return "; the statement may or may not have been carried out" if lost is OutcomeUnknown else ""
