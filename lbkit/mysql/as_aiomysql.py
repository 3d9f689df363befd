"""The router for code that is written for aiomysql: `connect` and `create_pool` with a router in front.

    pool = create_pool(router, maxsize=20, autocommit=True)
    async with pool.acquire() as connection, connection.cursor() as cursor:
        await cursor.execute("SELECT …")

A `RoutedConnection` is an aiomysql connection to the primary, cursors, transactions, charset and all. While
it is in autocommit mode, in no transaction, and has no state of its own (variables, temporary tables, locks),
its plain reads are answered by a replica, under the router's consistency: what the task wrote is shown.
Anything else, and whatever reads row by row (SSCursor), goes over its own connection; ``read_only=True``
takes that to a replica. Errors are aiomysql's.

`RoutedPool` has aiomysql's interface and the rules of `connection_pool`: waiters are served in turn and get
an error in time, connections are reset on release, nothing hangs on a connect.
"""

from __future__ import annotations

import asyncio
import re
import warnings
from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import aiomysql
import pymysql
from pymysql.constants import CLIENT, SERVER_STATUS

from lbkit.errors import ConnectFailed, ConnectionLost, LbkitError, NoServerAvailable
from lbkit.mysql.catch_up import has
from lbkit.mysql.connections import Connections, may_write
from lbkit.mysql.driver import Connection, Wire, arguments_of
from lbkit.mysql.driver import connect as open_connection
from lbkit.mysql.dsn import Dsn
from lbkit.mysql.options import PoolLimits
from lbkit.mysql.router import Router
from lbkit.mysql.statements import classify
from lbkit.mysql.tokens import PRIMARY_ONLY
from lbkit.mysql.translate import query_failed

__all__ = ["RoutedConnection", "RoutedPool", "connect", "create_pool"]

CANT_CONNECT, LOST = 2003, 2013  # pymysql's CR: the client library's own errors
_HARMLESS = re.compile(
    r"\s*(SET\s+SESSION\s+TRANSACTION\s+ISOLATION\s+LEVEL\s+(REPEATABLE\s+READ|READ\s+(UN)?COMMITTED)"
    r"|COMMIT|ROLLBACK|BEGIN|START\s+TRANSACTION|SET\s+NAMES\s+(?P<charset>\w+))\s*;?\s*",
    re.IGNORECASE,
)
_MORE_THAN_ASKS = re.compile(r"[(;]|:=|/\*|\binto\b", re.IGNORECASE)
_WHERE = ("host", "port", "unix_socket", "loop", "read_default_file", "read_default_group")
_pools: WeakKeyDictionary[Router, dict[Any, RoutedPool]] = WeakKeyDictionary()
Divert: TypeAlias = Callable[["RoutedConnection", "str | bytes"], Awaitable[Any]]


class RoutedConnection(Wire):
    """An aiomysql connection; made by `connect` and `RoutedPool`."""

    autocommit_mode: bool | None
    _charset: str
    _encoding: str

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.lent: Connection | None = None
        """What the router's pools know it as."""
        self.divert: Divert | None = None
        """Has a plain read answered by a replica; None while nobody has it."""
        self.wrote: Callable[[str], None] = lambda token: None
        self.behind: Callable[[Connection], Awaitable[bool]] | None = None
        """Of a connection for reading: whether its server lacks what a read must show."""
        self.owner: RoutedPool | None = None
        """Where it goes when it is closed, for one that is nobody else's."""
        self._pinned = False
        self._is_new = True
        self._usual = self.autocommit_mode, self._charset, self._encoding

    async def _connect(self) -> None:
        self.autocommit_mode, self._charset, self._encoding = self._usual
        self._is_new = True
        await super()._connect()

    async def set_up(self) -> None:
        """Set the session's variables; those of aiomysql's arguments again after a reset."""
        self.autocommit_mode, self._charset, self._encoding = self._usual
        if self.charset == "utf8mb4":
            await super().set_up()
        else:
            await self.track()
        if self._is_new:
            self._is_new = False
        else:
            if self.charset != "utf8mb4":
                await self.raw(f"SET NAMES {self.charset}")
            if self.sql_mode is not None:
                await self.raw(f"SET sql_mode={self.sql_mode}")
            if self.init_command is not None:
                await self.raw(self.init_command)
                await super().commit()
        if self.autocommit_mode is not None:
            await self.autocommit(self.autocommit_mode)
        self._pinned = False

    def close(self) -> None:
        """Close it for good."""
        super().close()
        if self.owner is not None:
            self.owner.release(self)

    async def query(self, sql: str | bytes, unbuffered: bool = False) -> Any:
        """Run a statement, here or as a plain read on a replica."""
        if self.lent is None:
            return await self.raw(sql, unbuffered=unbuffered)
        text = sql if isinstance(sql, str) else bytes(sql).decode(self.encoding, "surrogateescape")
        statement = classify(text)
        if self.divert and statement.reads and not unbuffered and await self._goes_elsewhere():
            answer = await self.divert(self, sql)
            self._result, self._affected_rows = answer, answer.affected_rows
            return answer.affected_rows
        if statement.changes_session or unbuffered:
            self.lent.needs_reset = True
            self._pinned = (
                self._pinned or unbuffered or not _leaves_reads_alone(statement.reason, text, self.charset)
            )
        try:
            with self.lent.at_work():
                affected = await self.raw(sql, unbuffered=unbuffered)
        except BaseException:
            if may_write(statement):
                self._doubt()
            raise
        await self._note(may_write(statement))
        return affected

    async def autocommit(self, value: bool) -> None:
        """Switch the mode of this session; the next user has the usual one again."""
        if self.lent is not None and value != self.get_autocommit():
            self.lent.needs_reset = True
        await super().autocommit(value)

    async def select_db(self, db: str) -> None:
        """Name the database of what comes, over this connection only: replicas know nothing of it."""
        self._change_session()
        await super().select_db(db)

    async def set_charset(self, charset: str) -> None:
        """Change the character set of this session."""
        self._change_session()
        await super().set_charset(charset)

    def _change_session(self) -> None:
        """aiomysql has its own ways to send this, which `query` does not see."""
        if self.lent is not None:
            self.lent.needs_reset = True
        self._pinned = True

    async def commit(self) -> None:
        """Commit; what was written is what the task's reads show from now on."""
        try:
            await super().commit()
        except BaseException:
            self._doubt()
            raise
        await self._note(False)

    def _doubt(self) -> None:
        """Of what was sent and never answered nobody knows: who looks is to look where it would be seen."""
        if self.has_ended:
            self.wrote(PRIMARY_ONLY)

    async def _goes_elsewhere(self) -> bool:
        """Whether a plain read is for another connection.

        From the primary it goes to a replica; from a replica that has not, in time, what it must show, to
        one that has.
        """
        if self.behind is None:
            return self._is_free
        if self.get_transaction_status() or self.lent is None:
            return False
        return await self.behind(self.lent)

    @property
    def _is_free(self) -> bool:
        """Whether a read sees the same elsewhere, by all that its session is."""
        status = self.server_status
        return not self._pinned and bool(
            status & SERVER_STATUS.SERVER_STATUS_AUTOCOMMIT
            and not status & SERVER_STATUS.SERVER_STATUS_IN_TRANS
        )

    async def _note(self, wrote: bool) -> None:
        """Tell the router of transactions that the server has named."""
        if self.lent is None or self.get_transaction_status():
            return
        if self._result is not None and (self._result.unbuffered_active or self._result.has_next):
            return  # more is to be read first
        if wrote and not self.has_named:
            result, affected = self._result, self._affected_rows
            token = await self.lent.take_token()
            self._result, self._affected_rows = result, affected
        else:
            token, self.token = self.token, ""
        if token:
            self.wrote(token)


class _Taking:
    """What `acquire` gives: to be awaited, or entered with ``async with``, which releases it at the end."""

    def __init__(self, pool: RoutedPool) -> None:
        self._pool = pool
        self._connection: RoutedConnection | None = None

    def __await__(self) -> Generator[Any, None, RoutedConnection]:
        return self._pool._take().__await__()

    async def __aenter__(self) -> RoutedConnection:
        self._connection = await self._pool._take()
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._connection is not None
        await self._pool.release(self._connection)


class _Held:
    """What ``with await pool as connection`` enters."""

    def __init__(self, pool: RoutedPool, connection: RoutedConnection) -> None:
        self._pool = pool
        self._connection = connection

    def __enter__(self) -> RoutedConnection:
        return self._connection

    def __exit__(self, *error: object) -> None:
        self._pool.release(self._connection)


class RoutedPool(aiomysql.Pool):  # type: ignore[misc]  # aiomysql has no type information
    """aiomysql's pool, with a router in front; made by `create_pool`.

    `minsize` connections to each server are kept warm, and there are at most `maxsize` to each; `size` and
    `freesize` are of the server whose connections are given out, the primary. It is aiomysql's for
    isinstance() and takes nothing else from it.
    """

    def __init__(
        self, router: Router, minsize: int, maxsize: int, read_only: bool, arguments: dict[str, Any]
    ) -> None:
        if minsize < 0:
            raise ValueError("minsize should be zero or greater")
        if maxsize < minsize and maxsize != 0:
            raise ValueError("maxsize should be not less than minsize")
        recycle = arguments.pop("pool_recycle", -1)
        self._router = router
        self._loop = asyncio.get_running_loop()
        self._read_only = read_only
        self._minsize, self._maxsize = minsize, maxsize
        if not arguments.get("ssl"):
            arguments.pop("ssl", None)  # None is what it is unless given; TLS is not to be lost by that
        self._arguments = {key: value for key, value in arguments.items() if key not in _WHERE}
        usual = router.options.pool
        limits = PoolLimits(
            size=maxsize or 1_000_000,
            warm=minsize,
            wait=usual.wait,
            max_age=min(usual.max_age, recycle) if recycle > 0 else usual.max_age,
            idle=usual.idle,
            ping_after=usual.ping_after,
            reset=usual.reset,
        )
        self._connections: Connections = router.connections(limits, self._open)
        self._used: set[RoutedConnection] = set()
        self._closing = self._closed = False
        self._all_back = asyncio.Event()

    @property
    def minsize(self) -> int:
        return self._minsize

    @property
    def maxsize(self) -> int | None:
        return self._maxsize or None

    @property
    def size(self) -> int:
        """Connections, those being opened included."""
        return self._count("open")

    @property
    def freesize(self) -> int:
        return self._count("idle")

    @property
    def closed(self) -> bool:
        return self._closed

    def acquire(self) -> _Taking:
        """``async with pool.acquire() as connection``, or ``await`` it and `release` it.

        Raises pymysql.OperationalError where no server can be had in time.
        """
        return _Taking(self)

    def release(self, connection: RoutedConnection) -> asyncio.Future[None]:
        """Give a connection back, in whatever state it is; need not be awaited."""
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        if connection in self._used:
            self._used.discard(connection)
            connection.divert = connection.owner = None
            if connection.token and not connection.get_transaction_status():
                connection.wrote(connection.token)  # of a result that nobody has read on from
            assert connection.lent is not None
            self._connections.give_back(connection.lent)
            if not self._used:
                self._all_back.set()
        return done

    async def clear(self) -> None:
        """Close all connections that nobody has now."""
        self._connections.clear()

    def close(self) -> None:
        """Give out no more; see `wait_closed`."""
        self._closing = True

    def terminate(self) -> None:
        """`close`, and close those in use, too."""
        self.close()
        for connection in list(self._used):
            connection.close()
            self.release(connection)

    async def wait_closed(self) -> None:
        """Wait until all have been given back, and close them."""
        if self._closed:
            return
        if not self._closing:
            raise RuntimeError(".wait_closed() should be called after .close()")
        while self._used:
            self._all_back.clear()
            await self._all_back.wait()
        await self._connections.close()
        self._closed = True

    def __await__(self) -> Generator[Any, None, _Held]:
        """aiomysql's former way: ``with await pool as connection``."""
        warnings.warn("use `async with pool.acquire() as connection`", DeprecationWarning, stacklevel=2)
        connection = yield from self._take().__await__()
        return _Held(self, connection)

    async def __aenter__(self) -> RoutedPool:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        await self.wait_closed()

    @property
    def echo(self) -> bool:
        return bool(self._arguments.get("echo"))

    async def _start(self) -> RoutedPool:
        for connection in [await self._take() for _ in range(self._minsize)]:
            self.release(connection)
        self._connections.keep()
        return self

    async def _take(self) -> RoutedConnection:
        if self._closing:
            raise RuntimeError("Cannot acquire connection after closing pool")
        try:
            if self._read_only:
                lent = await self._connections.take_reader(self._router.shown())
            else:
                lent = await self._connections.take_primary()
        except LbkitError as error:
            raise _as_pymysql(error) from error
        wire = lent.wire
        assert isinstance(wire, RoutedConnection)
        wire.lent, wire.wrote, wire.token = lent, self._router.wrote, ""
        wire.divert = self._divert
        wire.behind = self._behind if self._read_only else None
        self._used.add(wire)
        return wire

    async def _behind(self, connection: Connection) -> bool:
        shown = self._router.shown()
        return bool(shown) and not await has(connection, shown, self._router.options.wait_for_writes)

    async def _divert(self, asker: RoutedConnection, sql: str | bytes) -> Any:
        """Have a replica answer *sql*; the answer, or aiomysql's error."""

        async def step(connection: Connection) -> tuple[Any, Exception | None]:
            wire = connection.wire
            try:
                with connection.at_work():
                    await wire.query(sql)
            except Exception as error:
                if query_failed(error):
                    return None, error  # the server's answer is one, too
                connection.drop()
                if isinstance(error, (pymysql.MySQLError, OSError, EOFError)):
                    raise ConnectionLost(str(error)) from error
                raise
            return wire._result, None

        try:
            answer, refusal = await self._connections.read(step, self._router.shown())
        except LbkitError as error:
            raise _as_pymysql(error) from error
        if refusal is not None:
            raise refusal
        return answer

    async def _open(self, dsn: Dsn, timeout: float) -> Connection:
        def wire(dsn: Dsn) -> RoutedConnection:
            arguments = {"charset": "utf8mb4", **arguments_of(dsn), **self._arguments}
            return _made(arguments)

        return await open_connection(dsn, timeout, wire)

    def _count(self, what: str) -> int:
        topology = self._connections.topology
        members = topology.members if self._read_only else [topology.primary] if topology.primary else []
        return sum(self._connections.counts(member)[what] for member in members)


class _Pending:
    """aiomysql's way: to be awaited, or entered with ``async with``."""

    def __init__(self, making: Awaitable[Any]) -> None:
        self._making = making
        self._made: Any = None

    def __await__(self) -> Generator[Any, None, Any]:
        return self._making.__await__()

    async def __aenter__(self) -> Any:
        self._made = await self._making
        return self._made

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._made.__aexit__(kind, error, trace)


def create_pool(
    router: Router, minsize: int = 1, maxsize: int = 10, *, read_only: bool = False, **arguments: Any
) -> Any:
    """As ``aiomysql.create_pool``, to the servers of *router*, which must be open.

    *arguments* are those of ``aiomysql.connect``; where to connect to is the router's, and so are user,
    password, database and TLS unless given.
    """
    return _Pending(RoutedPool(router, minsize, maxsize, read_only, arguments)._start())


def connect(router: Router, *, read_only: bool = False, **arguments: Any) -> Any:
    """As ``aiomysql.connect``: one connection for good, which closing closes.

    For what has a pool of its own, such as SQLAlchemy: ``async_creator=lambda: connect(router)``.
    """
    return _Pending(_connect(router, read_only, arguments))


async def _connect(router: Router, read_only: bool, arguments: dict[str, Any]) -> RoutedConnection:
    """Of a pool for all that are opened alike, which share what answers their plain reads."""
    pools = _pools.setdefault(router, {})
    key = (read_only, *((name, _key(value)) for name, value in sorted(arguments.items())))
    pool = pools.get(key)
    if pool is None:
        pool = pools[key] = RoutedPool(router, 0, 0, read_only, dict(arguments))
        pool._connections.keep()
    connection = await pool._take()
    connection.owner = pool
    return connection


def _key(value: Any) -> Any:
    return value if isinstance(value, (str, int, bytes, type(None))) else id(value)


def _made(arguments: dict[str, Any]) -> RoutedConnection:
    wire = RoutedConnection(**arguments)
    # aiomysql's arguments for a new session are set by `set_up`, after the login and after each reset.
    wire.client_flag |= CLIENT.MULTI_STATEMENTS
    return wire


def _leaves_reads_alone(reason: str, text: str, charset: str) -> bool:
    """Whether a plain read in autocommit mode is the same after it.

    It is after what only asks for a variable of the session, and after what ORMs send with each connection:
    the isolation of transactions, their beginning and end, and the character set that it has.
    """
    if harmless := _HARMLESS.fullmatch(text):
        return harmless["charset"] in (None, charset)
    asks = reason.endswith("belongs to one session") and text.count("@") == 2 * text.count("@@")
    return asks and not _MORE_THAN_ASKS.search(text)


def _as_pymysql(error: LbkitError) -> pymysql.MySQLError:
    if isinstance(error, ConnectFailed) and error.code:
        # A server's own refusal, as aiomysql has it: without the server's name.
        return pymysql.OperationalError(error.code, str(error).partition(": ")[2])
    code = CANT_CONNECT if isinstance(error, (ConnectFailed, NoServerAvailable)) else LOST
    return pymysql.OperationalError(code, str(error))
