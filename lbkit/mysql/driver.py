"""`Connection`: one connection to a database server, on aiomysql's protocol code.

What it adds: a time limit that covers the handshake, typed errors, no loss of step (whatever goes wrong
in mid-answer closes the connection), a cheap test for life, COM_RESET_CONNECTION, the character set
with the database's own collation, and the ids of its own transactions (`session_track`). Several
statements in one text are switched off: the server then refuses them, and with them most SQL injections.

It derives from aiomysql's class instead of wrapping it because the protocol steps it must change are
not reachable otherwise.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import aiomysql
import pymysql
from pymysql.connections import MAX_PACKET_LEN, MysqlPacket, OKPacketWrapper
from pymysql.constants import CLIENT, COMMAND, CR
from pymysql.converters import decoders

from lbkit import deadline
from lbkit.errors import ConnectFailed, ConnectionLost, DeadlineExceeded, LbkitError, OutcomeUnknown
from lbkit.mysql.answers import Answer
from lbkit.mysql.dsn import Dsn, Tls
from lbkit.mysql.results import Result, Row, Rows
from lbkit.mysql.session_track import STATE_CHANGED, own_gtids
from lbkit.mysql.tokens import PRIMARY_ONLY, checked, merged
from lbkit.mysql.translate import connect_failed, query_failed

__all__ = ["Arguments", "Connection", "Step", "Wire", "arguments_of", "connect", "password_of"]

T_co = TypeVar("T_co", covariant=True)

Arguments = Sequence[Any] | Mapping[str, Any] | None

COM_RESET_CONNECTION = 0x1F
ERROR_PACKET = 0xFF
EOF_PACKET, EOF_PACKET_LENGTH = 0xFE, 5
QUERY = bytes([0, COMMAND.COM_QUERY])  # the number of a first packet, and what it is
CLEAR = "mysql_clear_password"
QUIT_TIMEOUT = 1.0  # seconds for a goodbye; the server needs none, it only keeps its log clean

# Variables then compare with columns of the database: the driver's own choice of utf8mb4_general_ci
# gives error 1267 (illegal mix of collations) on servers whose default is another one.
SESSION_SETUP = (
    "SET NAMES utf8mb4, autocommit = 1, collation_connection = "
    "IF(@@collation_database LIKE 'utf8mb4%', @@collation_database, @@collation_connection)"
)
# With these the server says in its answers which transactions a statement made.
TRACK_MYSQL = "session_track_gtids = 'OWN_GTID'"
TRACK_MARIADB = "session_track_system_variables = 'last_gtid'"
KEEPS_MYSQL = "@@global.gtid_mode LIKE 'ON%' AND @@session_track_gtids IS NOT NULL"
KEEPS_MARIADB = "@@session_track_system_variables IS NOT NULL"
POSITION_MYSQL = "SELECT @@global.gtid_executed"
POSITION_MARIADB = "SELECT @@last_gtid"
NO_SUCH_VARIABLE = 1193
# What the driver raises over something that is not of the protocol.
NO_ANSWER = (struct.error, IndexError, KeyError, TypeError, ValueError, ArithmeticError, AssertionError)
# Possessive: what was passed over is not tried in other ways, of which comments have very many.
_FIRST_WORD = re.compile(r"(?:[\s(]|/\*.*?\*/|--\s[^\n]*|#[^\n]*)*+([A-Za-z]+)", re.DOTALL)


class Wire(aiomysql.Connection):  # type: ignore[misc]  # aiomysql has no type information
    """aiomysql's connection with what it does not offer."""

    def __init__(self, **arguments: Any) -> None:
        """*arguments*: those of aiomysql."""
        self._next_seq_id = 0
        self._result: Any = None
        self._watched: Any = None
        super().__init__(**arguments)
        self.ended = asyncio.Event()
        self.client_flag |= CLIENT.SESSION_TRACK
        self.tracks = True
        self.token = ""
        """The transactions that the server has named since somebody took them from here."""
        self.has_named = True
        """Whether the last answer was of the kind that names them: rows do not, nor refusals."""
        self.has_ended = True
        """Closed, or the server said something unasked: its goodbye, with or without an error packet."""

    @property
    def is_mariadb(self) -> bool:
        return "mariadb" in str(self.get_server_info()).lower()

    async def _get_server_information(self) -> None:
        await super()._get_server_information()
        # aiomysql would go on without, and send the password.
        if self._ssl_context and not self.server_capabilities & CLIENT.SSL:
            raise pymysql.err.OperationalError(2026, "the server offers no TLS, and the DSN asks for it")
        if not self._client_auth_plugin and not self._ssl_context:
            self._keep_secret(self._server_auth_plugin)

    async def _process_auth(self, plugin_name: bytes, auth_packet: Any) -> Any:
        self._keep_secret(plugin_name.decode("latin-1"))
        return await super()._process_auth(plugin_name, auth_packet)

    def _keep_secret(self, plugin: str) -> None:
        """aiomysql would do what a server asks for; MySQL's own clients have to be told that they may."""
        if plugin == CLEAR and not self._secure and self._client_auth_plugin != CLEAR:
            raise pymysql.err.OperationalError(
                2059, "the server asks for the password in the clear, which needs TLS"
            )

    async def open(self) -> None:
        """Connect, log in and set the session up."""
        await self._connect()

    async def _connect(self) -> None:
        # aiomysql's `ping` comes here, too, to make a connection anew: then it is all that a new one is.
        aiomysql.Connection.close(self)
        self.has_ended, self._watched = False, None
        self.ended.clear()
        try:
            await super()._connect()
            self._watch(self._reader)
            self.tracks = await self.keeps_ids()
            await self.set_up()
        except BaseException:
            # aiomysql cleans up after errors, but not after a cancellation.
            self.close()
            raise

    def _watch(self, reader: Any) -> None:
        """Have it known when the other side closes; the reader tells nobody but who reads."""
        feed_eof, set_exception = reader.feed_eof, reader.set_exception

        def over() -> None:
            if self._watched is reader:  # and no other one, by a new connection
                self.has_ended = True
                self.ended.set()

        def at_eof() -> None:
            feed_eof()
            over()

        def at_error(error: BaseException) -> None:
            set_exception(error)
            over()

        reader.feed_eof, reader.set_exception = at_eof, at_error
        self._watched = reader
        self.has_ended = reader.eof_received or reader.exception() is not None

    async def keeps_ids(self) -> bool:
        """Whether the server gives transactions global ids and tells the session that made them."""
        try:
            await self.raw("SELECT " + (KEEPS_MARIADB if self.is_mariadb else KEEPS_MYSQL))
        except pymysql.MySQLError as error:
            if error.args and error.args[0] == NO_SUCH_VARIABLE:
                return False
            raise
        return bool(self._result.rows[0][0])

    async def set_up(self) -> None:
        """Set the session's variables."""
        await self.raw(SESSION_SETUP + (f", {self._tracking}" if self.tracks else ""))

    async def track(self) -> None:
        """Of these only what has the server name transactions."""
        if self.tracks:
            await self.raw(f"SET {self._tracking}")

    @property
    def _tracking(self) -> str:
        return TRACK_MARIADB if self.is_mariadb else TRACK_MYSQL

    async def raw(self, sql: str | bytes, unbuffered: bool = False) -> Any:
        """Run a statement over this very connection, whatever `query` would do."""
        if isinstance(sql, str):
            sql = sql.encode(self._encoding, "surrogateescape")
        before = self._result
        is_read = before is None or not (before.has_next or before.unbuffered_active)
        if is_read and self._writer and not self.has_ended and len(sql) < MAX_PACKET_LEN - 1:
            self._next_seq_id = 1
            self._writer.write((len(sql) + 1).to_bytes(3, "little") + QUERY + sql)
        else:  # what is left of the answer before comes first
            await self._execute_command(COMMAND.COM_QUERY, sql)
        await self._read_query_result(unbuffered)
        return self._affected_rows

    def _write_bytes(self, data: bytes) -> None:
        if self.has_ended:  # uvloop would raise an error of its own
            raise pymysql.err.OperationalError(CR.CR_SERVER_LOST, "the connection was closed meanwhile")
        self._writer.write(data)

    async def reset(self) -> None:
        await self._execute_command(COM_RESET_CONNECTION, "")
        await self._read_ok_packet()
        # That forgets everything but USE: without this the next user's names mean another database.
        await self.select_db(self.db)
        await self.set_up()
        self.token = ""

    def hear(self, tail: bytes) -> None:
        """Note what an OK packet's rest tells."""
        try:
            self.token = merged(self.token, own_gtids(tail))
        except ValueError:  # a server, or something in between, that has its own idea of the format
            self.token = PRIMARY_ONLY

    async def _read_ok_packet(self) -> bool:
        packet = await self._read_packet()
        if not packet.is_ok_packet():
            raise pymysql.OperationalError(2014, "Command Out of Sync")
        answer = OKPacketWrapper(packet)
        self.server_status = answer.server_status
        if answer.server_status & STATE_CHANGED:
            self.hear(answer.message)
        return True

    async def _read_query_result(self, unbuffered: bool = False) -> None:
        self.has_named = False
        try:
            if unbuffered:
                await super()._read_query_result(unbuffered=True)
                answer = self._result
            else:
                self._result = None
                answer = Answer(self)
                await answer.read()
                self._result = answer
                self._affected_rows = answer.affected_rows
                if answer.server_status is not None:
                    self.server_status = answer.server_status
        except Exception as error:
            if not query_failed(error):
                self.abort()  # what is left of this answer would be taken for the next one
            raise
        self.has_named = not answer.field_count
        if answer.message and answer.server_status & STATE_CHANGED:
            self.hear(answer.message)

    def cut(self) -> bytes | None:
        """The next packet's content, where it is whole in the reader's buffer, and no error; else None."""
        if self._reader is None:
            return None
        buffer = self._reader._buffer
        if len(buffer) > 4 and (number := buffer[3]) == self._next_seq_id:
            end = 4 + (buffer[0] | buffer[1] << 8 | buffer[2] << 16)
            if 4 < end <= len(buffer) and end - 4 < MAX_PACKET_LEN and buffer[4] != ERROR_PACKET:
                data = bytes(memoryview(buffer)[4:end])
                del buffer[:end]
                self.has_taken((number + 1) & 0xFF)
                if len(data) == EOF_PACKET_LENGTH and data[0] == EOF_PACKET:
                    # aiomysql drops the status that ends an answer with rows: a transaction may be open.
                    self.server_status = data[3] | data[4] << 8
                return data
        return None

    def has_taken(self, number: int) -> None:
        """Packets were taken from the reader's buffer; *number* is that of the next one."""
        self._next_seq_id = number
        if self._reader is not None and self._reader._paused:
            self._reader._maybe_resume_transport()

    async def wait(self) -> None:
        """Return when something has arrived, or nothing will: then `packet` finds out why."""
        reader = self._reader
        if reader is None or reader.eof_received or reader.exception() is not None:
            return  # of what has ended before, the reader would tell nobody
        try:
            await reader._wait_for_data("wait")
        except asyncio.CancelledError:
            self._close_on_cancel()
            raise
        except OSError:
            pass

    @property
    def shares_columns(self) -> bool:
        """Whether values become what they become by default."""
        return self.decoders is decoders and self.use_unicode and self._encoding == "utf8"

    async def packet(self) -> bytes:
        """The next packet's content; waits for it, and raises what an error says."""
        if self._reader is None:
            raise pymysql.err.OperationalError(CR.CR_SERVER_LOST, "the connection was closed meanwhile")
        packet = await super()._read_packet()
        data: bytes = packet.get_all_data()
        if len(data) == EOF_PACKET_LENGTH and data[0] == EOF_PACKET:
            self.server_status = data[3] | data[4] << 8
        return data

    async def _read_packet(self, packet_type: Any = MysqlPacket) -> Any:
        return packet_type(self.cut() or await self.packet(), self._encoding)

    async def probe(self) -> None:
        await self._execute_command(COMMAND.COM_PING, "")
        await self._read_ok_packet()

    async def run(self, sql: str | bytes) -> Any:
        """The first result of a statement; those of a procedure after it are read and dropped."""
        await self.raw(sql)
        first = self._result
        while self._result.has_next:
            await self.next_result()
        return first

    def abort(self) -> None:
        """Close without waiting for what is still to be sent."""
        if self._writer:
            self._writer.transport.abort()
        self.close()

    def close(self) -> None:
        """Close it for good."""
        self.has_ended = True
        super().close()


class Connection:
    """An open connection, for one user at a time; made by `connect`.

    After `ConnectionLost`, `OutcomeUnknown` or a cancellation it is closed; after `QueryFailed` it can
    be used on. `opened` and `last_used` are loop times, for the pool.
    """

    def __init__(self, dsn: Dsn, protocol: Wire, now: float) -> None:
        self.server = dsn.name
        self.opened = now
        self.last_used = now
        self.needs_reset = False
        """Set by whoever changed the session's state; the pool resets it before the next user."""
        self.expires = 0.0
        self.reached = ""
        """The token that its server is known to have; see `Connections`."""
        self.position: Callable[[], str] = str
        """The transactions that its server had when it was last asked; "" where nobody asks."""
        self._protocol = protocol
        self._busy = False

    @property
    def is_mariadb(self) -> bool:
        return self._protocol.is_mariadb

    @property
    def id(self) -> int:
        """The server's number of this connection, for KILL."""
        return int(self._protocol.thread_id())

    @property
    def closed(self) -> bool:
        """Closed, or the server has closed it."""
        return self._protocol.has_ended

    async def ended(self) -> None:
        """Return as soon as the server has closed it, also while nothing is asked."""
        await self._protocol.ended.wait()

    @property
    def in_transaction(self) -> bool:
        """As the server said with its last answer."""
        return bool(self._protocol.get_transaction_status())

    @property
    def wire(self) -> Wire:
        """aiomysql's connection underneath."""
        return self._protocol

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While somebody uses the wire: what ends by a cancellation leaves the server at work on it."""
        self._busy = True
        try:
            yield
        except Exception:
            self._busy = False
            raise
        self._busy = False

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
        return Result(
            int(result.affected_rows or 0), int(result.insert_id or 0), self.server, self._protocol.token
        )

    async def fetch(
        self, sql: str, args: Arguments = None, *, lost: type[LbkitError] = ConnectionLost
    ) -> Rows:
        """Run one statement and read its rows; raises as `execute`."""
        result = await self._run(sql, args, lost)
        if result.rows is None:
            return Rows((), self.server)
        names, server = result.head.names, self.server
        return Rows([Row(zip(names, row, strict=False), server) for row in result.rows], server)

    async def take_token(self, may_write: bool = True) -> str:
        """The transactions of all statements since the last call, "" for none.

        An answer with rows, such as that of INSERT … RETURNING, and a refusal name none, also not later:
        where the last one was such, and its statement *may_write*, the server is asked for its position.
        `PRIMARY_ONLY` where it does not name them at all, or not any more, or not by the request's deadline.
        """
        token, self._protocol.token = self._protocol.token, ""
        if not self._protocol.tracks:
            return PRIMARY_ONLY
        if self._protocol.has_named or not may_write:
            return token
        position = POSITION_MARIADB if self.is_mariadb else POSITION_MYSQL
        try:
            async with deadline.bounded():
                await self._guard(self._protocol.raw(position), ConnectionLost)
            return merged(token, checked(str(self._protocol._result.rows[0][0] or "")))
        except (LbkitError, ValueError):
            return PRIMARY_ONLY

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
        data = text.encode(self._protocol.encoding, "surrogateescape")  # what cannot be sent is no failure
        if self.closed:
            self.drop()
            raise ConnectionLost(f"{self.server}: the connection was closed")
        try:
            if deadline.at() is None:
                return await self._guard(self._protocol.run(data), lost)
            async with deadline.bounded():
                return await self._guard(self._protocol.run(data), lost)
        except DeadlineExceeded as error:
            if lost is OutcomeUnknown and self._busy:
                raise self._unknown(f"{self.server}: {error}{_hint(lost)}", text) from None
            raise
        except OutcomeUnknown as error:
            raise self._unknown(str(error), text) from None

    def _unknown(self, message: str, text: str) -> OutcomeUnknown:
        """With all that is known of a statement that nobody has heard the end of."""
        return OutcomeUnknown(message, self.server, self.id, _verb(text), self.position())

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
            if isinstance(error, (pymysql.MySQLError, OSError, EOFError, *NO_ANSWER)):
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


def _wire(dsn: Dsn) -> Wire:
    """As the router itself uses it."""
    wire = Wire(**arguments_of(dsn), charset="utf8mb4", autocommit=None, program_name="lbkit")
    wire.client_flag &= ~CLIENT.MULTI_STATEMENTS
    return wire


def arguments_of(dsn: Dsn) -> dict[str, Any]:
    """What aiomysql takes for where and how to log in."""
    return {
        "host": dsn.host,
        "port": dsn.port,
        "user": dsn.user,
        # aiomysql has a text go as Latin-1; servers know passwords as UTF-8.
        "password": password_of(dsn).encode().decode("latin-1"),
        "db": dsn.database or None,
        "ssl": None if dsn.tls == "off" else _tls_context(dsn.tls, dsn.tls_ca, _version(dsn.tls_ca)),
    }


def password_of(dsn: Dsn) -> str:
    """Read anew for each connection, so that it may be changed. Raises ConnectFailed where there is none."""
    if dsn.password_env:
        try:
            return os.environ[dsn.password_env]
        except KeyError:
            raise ConnectFailed(f"{dsn.name}: ${dsn.password_env} is not set") from None
    if dsn.password_file:
        try:
            return Path(dsn.password_file).read_text("utf-8").rstrip("\n")
        except OSError as error:
            raise ConnectFailed(f"{dsn.name}: {dsn.password_file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ConnectFailed(f"{dsn.name}: {dsn.password_file}: is not UTF-8 text") from None
    return dsn.password


def _version(file: str) -> tuple[int, ...]:
    """What changes when the file does, where one is named."""
    if not file:
        return ()
    try:
        found = Path(file).stat()
    except OSError:  # told of when it is read
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


@lru_cache(64)
def _tls_context(tls: Tls, ca: str, version: tuple[int, ...]) -> ssl.SSLContext:
    """Raises ConnectFailed for a file that cannot be used."""
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError) as error:
        raise ConnectFailed(
            f"tls_ca {ca}: {getattr(error, 'strerror', None) or 'no PEM certificates'}"
        ) from None
    context.check_hostname = tls == "on"
    return context


async def connect(dsn: Dsn, timeout: float, make: Callable[[Dsn], Wire] = _wire) -> Connection:
    """Connect and log in within *timeout* seconds; raises ConnectFailed."""
    try:
        async with asyncio.timeout(timeout):
            protocol = make(dsn)
            await protocol.open()
    except (pymysql.MySQLError, OSError, EOFError) as error:
        raise connect_failed(error, dsn.name) from None
    except NO_ANSWER:
        raise ConnectFailed(f"{dsn.name}: does not speak MySQL's protocol") from None
    return Connection(dsn, protocol, asyncio.get_running_loop().time())


def _escaped(args: Sequence[Any] | Mapping[str, Any], protocol: Wire) -> Any:
    if isinstance(args, Mapping):
        return {name: protocol.escape(value) for name, value in args.items()}
    return tuple(protocol.escape(value) for value in args)


def _verb(text: str) -> str:
    """The statement's first word, for people: what was sent may hold what is nobody's business."""
    word = _FIRST_WORD.match(text)
    return word[1].upper() if word else ""


def _reason(error: BaseException) -> str:
    return str(error.args[-1]) if error.args else type(error).__name__


def _hint(lost: type[LbkitError]) -> str:
    return "; the statement may or may not have been carried out" if lost is OutcomeUnknown else ""
