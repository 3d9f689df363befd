from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pymysql
import pytest
from pymysql.constants import COMMAND
from pymysql.converters import decoders

from lbkit import deadline
from lbkit.errors import ConnectFailed, ConnectionLost, DuplicateKey, OutcomeUnknown, QueryFailed
from lbkit.mysql.driver import Connection, Wire, _verb, arguments_of, connect
from lbkit.mysql.dsn import Dsn
from lbkit.mysql.tokens import PRIMARY_ONLY
from lbkit.server import Address
from lbkit.testing.faulty_proxy import FaultyProxy
from tests.support.certificates import Authority
from tests.support.databases import LivePair
from tests.support.loops import on_both_loops, until
from tests.support.mysql_wire import column, mysql_server, rows, usual

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


@asynccontextmanager
async def tcp_server(handler: Handler) -> AsyncIterator[Dsn]:
    """Something on a port that is no database server."""
    writers: list[asyncio.StreamWriter] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        handler(reader, writer)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield Dsn("127.0.0.1", server.sockets[0].getsockname()[1], "app", "secret")
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()


@pytest.fixture
async def connection(pair: LivePair) -> AsyncIterator[Connection]:
    opened = await connect(Dsn.parse(pair.primary.dsn), 5)
    yield opened
    await opened.close()


async def test_a_silent_server_is_given_up_in_time() -> None:
    started = asyncio.get_running_loop().time()
    async with tcp_server(lambda reader, writer: None) as dsn:
        with pytest.raises(ConnectFailed, match="no answer in time"):
            await connect(dsn, 0.05)
    assert asyncio.get_running_loop().time() - started < 2


async def test_a_server_that_closes_at_once() -> None:
    async with tcp_server(lambda reader, writer: writer.close()) as dsn:
        with pytest.raises(ConnectFailed, match="Lost connection"):
            await connect(dsn, 5)


async def test_nobody_listens() -> None:
    async with tcp_server(lambda reader, writer: None) as dsn:
        pass
    with pytest.raises(ConnectFailed, match="refused"):
        await connect(dsn, 5)


async def test_a_cancelled_connect_leaves_no_socket() -> None:
    connected = asyncio.Event()
    async with tcp_server(lambda reader, writer: connected.set()) as dsn:
        task = asyncio.create_task(connect(dsn, 5))
        await connected.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@asynccontextmanager
async def wire_to(dsn: Dsn, **arguments: Any) -> AsyncIterator[Wire]:
    """A connection as code that was written for aiomysql has it."""
    opened = await connect(dsn, 5, lambda dsn: Wire(**arguments_of(dsn), charset="utf8mb4", **arguments))
    try:
        yield opened.wire
    finally:
        opened.drop()
        await asyncio.sleep(0)


@on_both_loops
@pytest.mark.parametrize("how", ["reset", "close"])
async def test_what_ended_before_the_statement_is_a_lost_connection(how: str) -> None:
    """The reader tells nobody who asks too late: neither a wait for ever nor a complaint of its own."""
    async with mysql_server() as dsn, FaultyProxy(Address(dsn.host, dsn.port)) as proxy:
        async with wire_to(Dsn(proxy.address.host, proxy.address.port, "app")) as wire:
            if how == "reset":
                proxy.reset()
            else:
                await wire._execute_command(COMMAND.COM_QUIT, "")
            await until(lambda: wire.has_ended)
            async with asyncio.timeout(2):
                with pytest.raises(pymysql.OperationalError, match="2013"):
                    await wire.query("SELECT 1")


async def test_the_next_result_of_a_closed_connection() -> None:
    async with mysql_server() as dsn, wire_to(dsn) as wire:
        wire.abort()
        with pytest.raises(pymysql.OperationalError, match="2013"):
            await wire.next_result()


async def test_a_text_that_cannot_be_sent_is_the_callers_mistake() -> None:
    async with mysql_server() as dsn:
        connection = await connect(dsn, 5)
        with pytest.raises(UnicodeEncodeError):
            await connection.execute("INSERT INTO t VALUES (%s)", ["\ud800"], lost=OutcomeUnknown)
        assert await connection.fetch("SELECT 1") == [{"x": 1}]
        connection.drop()


async def test_a_connection_that_a_ping_makes_anew_is_set_up_as_a_new_one() -> None:
    heard: list[str] = []

    def answer(sql: str) -> bytes:
        heard.append(sql)
        return usual(sql)

    async with mysql_server(answer) as dsn, wire_to(dsn) as wire:
        first = list(heard)
        assert "session_track_gtids" in first[-1]
        wire.close()
        assert wire.has_ended
        await wire.ping()
        assert not wire.has_ended
        assert heard == first * 2


async def test_a_value_that_cannot_be_converted_leaves_nothing_for_the_next_statement() -> None:
    """Of so many rows that the numbers of their packets begin again at 1, as those of an answer do."""

    def convert(value: str) -> str:
        if value == "251":
            raise RuntimeError("not this one")
        return value

    def answer(sql: str) -> bytes:
        if sql == "SELECT many":
            return rows([column(b"n")], *[[str(n).encode()] for n in range(600)])
        return usual(sql)

    async with mysql_server(answer) as dsn, wire_to(dsn, conv={**decoders, 253: convert}) as wire:
        with pytest.raises(RuntimeError, match="not this one"):
            await wire.query("SELECT many")
        assert wire.has_ended
        with pytest.raises(pymysql.MySQLError):
            await wire.query("SELECT 1")


@pytest.mark.parametrize("when", ["plugin", "switch"])
async def test_no_password_in_the_clear_for_whoever_asks(when: str) -> None:
    async with mysql_server(**{when: b"mysql_native_password"}) as dsn:  # type: ignore[arg-type]  # two bytes
        (await connect(dsn, 5)).drop()
    async with mysql_server(**{when: b"mysql_clear_password"}) as dsn:  # type: ignore[arg-type]
        with pytest.raises(ConnectFailed, match="asks for the password in the clear, which needs TLS"):
            await connect(dsn, 5)


def test_authorities_that_were_changed_count(tmp_path: Path) -> None:
    old, new = Authority(tmp_path), Authority(tmp_path, "new")
    file = tmp_path / "authorities.pem"
    dsn = Dsn("db1", tls="on", tls_ca=str(file))

    def trusted() -> list[bytes]:
        context = arguments_of(dsn)["ssl"]
        assert arguments_of(dsn)["ssl"] is context
        found: list[bytes] = context.get_ca_certs(binary_form=True)
        return found

    seen = []
    for authority in (old, new):
        file.with_suffix(".new").write_bytes(authority.ca.read_bytes())
        file.with_suffix(".new").replace(file)
        seen.append(trusted())
    assert seen[0] != seen[1]


async def test_a_wrong_password(pair: LivePair) -> None:
    wrong = Dsn("127.0.0.1", pair.primary.port, "lbkit", "wrong", "app")
    with pytest.raises(ConnectFailed, match="Access denied") as caught:
        await connect(wrong, 5)
    assert "wrong" not in str(caught.value)


async def test_values_come_back_as_they_went(connection: Connection) -> None:
    values = ["it's", "ü€😀", None, 7, 1.5, "%s", 'a\\"b']
    rows = await connection.fetch("SELECT %s a, %s b, %s c, %s d, %s e, %s f, %s g", values)
    assert list(rows[0].values()) == values
    assert rows[0].server == connection.server
    named = await connection.fetch("SELECT %(x)s AS x", {"x": "y"})
    assert named == [{"x": "y"}]


async def test_without_arguments_a_percent_sign_is_a_percent_sign(connection: Connection) -> None:
    assert await connection.fetch("SELECT 'a' LIKE '%' AS yes") == [{"yes": 1}]


async def test_columns_of_one_name_are_told_apart(connection: Connection) -> None:
    rows = await connection.fetch("SELECT a.x, b.x FROM (SELECT 1 AS x) a JOIN (SELECT 2 AS x) b")
    assert rows == [{"x": 1, "b.x": 2}]


async def test_a_variable_compares_with_a_column(connection: Connection) -> None:
    """Error 1267 where the connection's collation is not the database's."""
    await connection.execute("CREATE TEMPORARY TABLE words (word VARCHAR(20))")
    await connection.execute("INSERT INTO words VALUES ('é')")
    await connection.execute("SET @word = 'é'")
    assert len(await connection.fetch("SELECT * FROM words WHERE word = @word")) == 1


async def test_a_refused_statement_leaves_the_connection_usable(connection: Connection) -> None:
    await connection.execute("CREATE TEMPORARY TABLE once (id INT PRIMARY KEY)")
    with pytest.raises(QueryFailed) as caught:
        await connection.fetch("SELEKT 1")
    assert caught.value.code == 1064
    assert not connection.closed
    assert await connection.fetch("SELECT 1 AS one") == [{"one": 1}]
    with pytest.raises(DuplicateKey):
        await connection.execute("INSERT INTO once VALUES (1), (1)")
    assert not connection.closed


async def test_several_statements_in_one_text_are_refused(connection: Connection) -> None:
    with pytest.raises(QueryFailed):
        await connection.fetch("SELECT 1; SELECT 2")
    assert await connection.fetch("SELECT 3 AS x") == [{"x": 3}]


async def test_notes_of_the_server_are_no_python_warnings(connection: Connection) -> None:
    await connection.execute("DROP TABLE IF EXISTS there_is_no_such_table")


async def test_a_wrong_number_of_arguments_is_the_callers_mistake(connection: Connection) -> None:
    with pytest.raises(TypeError):
        await connection.fetch("SELECT %s, %s", [1])
    assert not connection.closed


async def test_reset_forgets_everything(connection: Connection) -> None:
    await connection.execute("SET @x = 1")
    await connection.execute("START TRANSACTION")
    await connection.execute("CREATE TEMPORARY TABLE mine (id INT)")
    connection.needs_reset = True
    await connection.reset()
    assert not connection.needs_reset
    assert not connection.in_transaction
    rows = await connection.fetch("SELECT @x AS x, @@autocommit AS a, @@character_set_client AS c")
    assert rows == [{"x": None, "a": 1, "c": "utf8mb4"}]
    with pytest.raises(QueryFailed):
        await connection.fetch("SELECT * FROM mine")


async def test_the_transaction_state_is_the_servers(connection: Connection) -> None:
    assert not connection.in_transaction
    await connection.execute("START TRANSACTION")
    assert connection.in_transaction
    await connection.execute("COMMIT")
    assert not connection.in_transaction


async def test_a_cancelled_statement_closes_the_connection(connection: Connection) -> None:
    task = asyncio.create_task(connection.fetch("SELECT SLEEP(5)"))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert connection.closed
    assert connection.was_interrupted
    with pytest.raises(ConnectionLost):
        await connection.fetch("SELECT 1")


@pytest.mark.parametrize("lost", [ConnectionLost, OutcomeUnknown])
async def test_a_connection_killed_in_mid_statement(
    connection: Connection, pair: LivePair, lost: type[Exception]
) -> None:
    task = asyncio.create_task(connection.fetch("SELECT SLEEP(5)", lost=lost))  # type: ignore[arg-type]  # both are lbkit's
    await asyncio.sleep(0.1)
    other = await connect(Dsn.parse(pair.primary.dsn), 5)
    await other.execute(f"KILL CONNECTION {connection.id}")
    await other.close()
    with pytest.raises(lost):
        await task
    assert connection.closed
    assert not connection.was_interrupted


async def test_a_connection_killed_while_idle_is_seen_before_use(
    connection: Connection, pair: LivePair
) -> None:
    other = await connect(Dsn.parse(pair.primary.dsn), 5)
    await other.execute(f"KILL CONNECTION {connection.id}")
    await other.close()
    async with asyncio.timeout(5):
        while not connection.closed:
            await asyncio.sleep(0.01)
    with pytest.raises(ConnectionLost):
        await connection.execute("INSERT INTO never_sent VALUES (1)", lost=OutcomeUnknown)
    with pytest.raises(ConnectionLost):
        await connection.ping()


async def test_a_procedure_with_several_results_leaves_the_connection_in_step(connection: Connection) -> None:
    await connection.execute("DROP PROCEDURE IF EXISTS two_results")
    await connection.execute("CREATE PROCEDURE two_results() BEGIN SELECT 1 AS a; SELECT 2 AS b; END")
    try:
        assert await connection.fetch("CALL two_results()") == [{"a": 1}]
        assert await connection.fetch("SELECT 3 AS c") == [{"c": 3}]
    finally:
        await connection.execute("DROP PROCEDURE two_results")


async def test_flavour(connection: Connection, pair: LivePair) -> None:
    assert connection.is_mariadb is (pair.flavour == "mariadb")


@pytest.mark.parametrize(
    "answer",
    [
        b"\1\0\0\1\2" + b"\x03\0\0\2abc",  # a column that describes nothing
        b"\1\0\0\1\xfb",  # it asks for a file
        b"\x05\0\0\x07\xfe\0\0\2\0",  # a packet out of its order
        b"\2\0\0\1\0\0",  # an OK packet that ends early
    ],
)
async def test_an_answer_that_is_none_is_a_lost_connection(pair: LivePair, answer: bytes) -> None:
    connection = await connect(Dsn.parse(pair.primary.dsn), 5)
    connection.wire._reader._buffer.extend(answer)
    with pytest.raises(ConnectionLost):
        await connection.fetch("SELECT 1")
    assert connection.closed


def test_the_first_word_of_a_statement_is_found_in_time() -> None:
    assert _verb("  (SELECT 1)") == "SELECT"
    assert _verb("/* a */ -- b\n# c\n/* d */INSERT INTO t VALUES (1)") == "INSERT"
    assert _verb("/* not closed INSERT") == ""
    began = time.perf_counter()
    for text in ("/**/" * 250_000, "/*" * 500_000, "-- \n" * 250_000, "( " * 500_000, "#*/ /*\n" * 160_000):
        assert _verb(text) == ""
    assert _verb("/* a */ " * 125_000 + "update t") == "UPDATE"
    assert time.perf_counter() - began < 5


async def test_the_question_for_a_writes_id_ends_with_the_request(
    connection: Connection, pair: LivePair
) -> None:
    await connection.fetch("SELECT 1")  # as INSERT … RETURNING: the answer names none
    await pair.freeze(pair.primary)
    try:
        began = time.monotonic()
        with deadline.within(0.2):
            assert await connection.take_token() == PRIMARY_ONLY
        assert time.monotonic() - began < 3
    finally:
        os.kill(pair.primary.pid, signal.SIGCONT)
    assert connection.closed and connection.was_interrupted
