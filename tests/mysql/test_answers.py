from __future__ import annotations

import asyncio
import math
from typing import Any

import aiomysql
import pymysql
import pytest

from lbkit.errors import QueryFailed
from lbkit.mysql import answers
from lbkit.mysql.answers import read_row
from lbkit.mysql.driver import connect
from lbkit.mysql.dsn import Dsn
from tests.support.databases import LivePair
from tests.support.mysql_wire import column, mysql_server, rows, usual

QUERIES = [
    "SELECT 1, 1.5, 2e0, 'a', NULL, CAST('2020-01-02' AS DATE), CAST('2020-01-02 03:04:05.678' AS DATETIME(3))",
    "SELECT CAST('11:12:13' AS TIME), CAST(5.25 AS DECIMAL(10, 2)), x'00FF', 'ü€😀', '', 18446744073709551615",
    "SELECT REPEAT('x', 250), REPEAT('x', 251), REPEAT('ü', 40000), NULL",
    "SELECT REPEAT('x', 17000000), REPEAT('y', 16777214)",
    "SELECT a.n * 100 + b.n AS n, CONCAT('row ', a.n) FROM (SELECT 1 n UNION SELECT 2 UNION SELECT 3) a "
    "JOIN (SELECT 1 n UNION SELECT 2 UNION SELECT NULL) b ORDER BY 1, 2",
    "SELECT 1 FROM (SELECT 1) t WHERE FALSE",
    "SELECT JSON_OBJECT('a', 'ü'), CAST(JSON_ARRAY(1) AS CHAR)",
    "SELECT b'101', ST_AsText(ST_GeomFromText('POINT(1 2)')), TRUE, 0x41",
]


@pytest.mark.parametrize("sql", QUERIES, ids=range(len(QUERIES)))
async def test_an_answer_is_as_aiomysql_reads_it(pair: LivePair, sql: str) -> None:
    dsn = Dsn.parse(pair.primary.dsn)
    plain = await aiomysql.connect(
        host=dsn.host, port=dsn.port, user=dsn.user, password=dsn.password, db=dsn.database, charset="utf8mb4"
    )
    ours = await connect(dsn, 5)
    try:
        await plain.query(sql)
        for _ in range(2):  # the second time, the columns are known
            result: Any = await ours._protocol.run(sql)
            theirs = plain._result
            assert result.rows == theirs.rows
            assert [type(value) for row in result.rows for value in row] == [
                type(value) for row in theirs.rows for value in row
            ]
            assert result.description == theirs.description
            for name in ("affected_rows", "warning_count", "has_next", "field_count", "insert_id"):
                assert getattr(result, name) == getattr(theirs, name), name
    finally:
        plain.close()
        await ours.close()


async def test_answers_that_begin_alike(pair: LivePair) -> None:
    """They take turns under one key; and so many columns that the packets' numbers begin again."""
    connection = await connect(Dsn.parse(pair.primary.dsn), 5)
    many = ", ".join(f"{number} AS c{number}" for number in range(300))
    for _ in range(3):
        assert await connection.fetch("SELECT 1 AS a, 2 AS b") == [{"a": 1, "b": 2}]
        assert await connection.fetch("SELECT 1 AS a, 'x' AS b") == [{"a": 1, "b": "x"}]
        assert await connection.fetch(f"SELECT {many}") == [{f"c{number}": number for number in range(300)}]
        twice = "SELECT t.x, u.x FROM (SELECT 1 AS x) t, (SELECT 2 AS x) u"
        assert await connection.fetch(twice) == [{"x": 1, "u.x": 2}]
    await connection.close()


async def test_an_error_among_the_rows(pair: LivePair) -> None:
    connection = await connect(Dsn.parse(pair.primary.dsn), 5)
    sql = "SELECT (SELECT n UNION ALL SELECT IF(n < 3, NULL, 2) LIMIT 1), IF(n < 3, 1, (SELECT 1 UNION SELECT 2)) "
    with pytest.raises(QueryFailed, match="1242"):
        await connection.fetch(sql + "FROM (SELECT 1 n UNION ALL SELECT 2 UNION ALL SELECT 3) t")
    assert await connection.fetch("SELECT 7 AS x") == [{"x": 7}]
    await connection.close()


async def test_a_transaction_that_a_read_has_begun_is_seen(pair: LivePair) -> None:
    connection = await connect(Dsn.parse(pair.primary.dsn), 5)
    await connection.execute("SET autocommit = 0")
    assert not connection.in_transaction
    await connection.fetch("SELECT COUNT(*) FROM information_schema.tables")
    await connection.execute("CREATE TEMPORARY TABLE t (id INT) ENGINE = InnoDB")
    await connection.fetch("SELECT * FROM t")
    assert connection.in_transaction
    await connection.close()


async def test_an_answer_in_small_pieces(pair: LivePair) -> None:
    """Each byte by itself, through a proxy that holds back."""
    dsn = Dsn.parse(pair.primary.dsn)
    over = asyncio.Event()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up, to_server = await asyncio.open_connection(dsn.host, dsn.port)

        async def to_client() -> None:
            while data := await up.read(65536):
                for index in range(len(data)):
                    writer.write(data[index : index + 1])
                    await asyncio.sleep(0)
            writer.close()

        back = asyncio.create_task(to_client())
        while data := await reader.read(65536):
            to_server.write(data)
        to_server.close()
        await to_server.wait_closed()
        await back
        await writer.wait_closed()
        over.set()

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
        slow = Dsn("127.0.0.1", server.sockets[0].getsockname()[1], dsn.user, dsn.password, dsn.database)
        connection = await connect(slow, 20)
        rows = await connection.fetch("SELECT 1 AS a, 'two' AS b UNION SELECT 3, NULL")
        assert rows == [{"a": 1, "b": "two"}, {"a": 3, "b": None}]
        await connection.close()
        await over.wait()


async def test_known_columns_take_bounded_memory(pair: LivePair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST_KNOWN", 10)
    answers._columns.clear()
    answers._heads.clear()
    connection = await connect(Dsn.parse(pair.primary.dsn), 5)
    for number in range(50):
        await connection.fetch(f"SELECT {number} AS c{number}")
        assert len(answers._columns) <= 10
        assert len(answers._heads) <= 10
    await connection.close()


async def test_known_heads_hold_few_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST_KNOWN", 10)
    answers._columns.clear()
    answers._heads.clear()

    def answer(sql: str) -> bytes:
        return rows([column(f"{sql}{index}".encode()) for index in range(5)], [b"1"] * 5)

    async with mysql_server(lambda sql: answer(sql) if sql.startswith("many") else usual(sql)) as dsn:
        connection = await connect(dsn, 5)
        for number in range(30):
            await connection.fetch(f"many{number}_")
            held = [field for head in answers._heads.values() for field in head.fields]
            assert (
                len({id(field) for field in held} | {id(one[0]) for one in answers._columns.values()}) <= 15
            )
        connection.drop()


def test_read_row() -> None:
    data = b"\x011\xfb\x00\xfc\x03\x00abc"
    readers = [("ascii", int), ("ascii", None), ("ascii", None), (None, None)]
    assert read_row(data, 0, len(data), readers) == (1, None, "", b"abc")
    assert math.isclose(read_row(b"\x031.5", 0, 4, [("ascii", float)])[0], 1.5)


@pytest.mark.parametrize("data", [b"", b"\x02", b"\x011\x01", b"\x011\x012\x013", b"\xff1", b"\xfc\x05"])
def test_what_is_no_row_of_two_columns(data: bytes) -> None:
    with pytest.raises(pymysql.InternalError, match="not as long as its columns"):
        read_row(data, 0, len(data), [("ascii", None), ("ascii", None)])
