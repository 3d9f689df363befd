"""`Answer`: reads a statement's answer as aiomysql's `MySQLResult` does, in about half the time.

Most of the time that a small answer takes goes into its packets: an object, two awaits and a careful reader
for each, and a parsed description for every column, which is the same each time a statement is sent again.
Here a packet that has arrived is cut from the buffer as plain bytes, descriptions are known by their bytes,
and a row is read in one loop. What is rare (errors, LOAD DATA LOCAL, unbuffered reading) is aiomysql's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from aiomysql.connection import MySQLResult
from pymysql.connections import TEXT_TYPES, FieldDescriptorPacket
from pymysql.constants import FIELD_TYPE, SERVER_STATUS
from pymysql.converters import decoders, through

__all__ = ["Answer", "Column", "read_row"]

Reader: TypeAlias = tuple[str | None, Callable[[Any], Any] | None]
"""How a column's bytes become a value: the encoding, then the converter."""
Column: TypeAlias = tuple[Any, tuple[Any, ...], Reader]
"""A column's field, its description as of the DB-API, and its reader."""

MOST_KNOWN = 2048
BINARY = 63  # the character set of what is no text
NULL = 251
END, LONGEST_END = 0xFE, 8
_shared: dict[bytes, Column] = {}


class Answer(MySQLResult):  # type: ignore[misc]  # aiomysql has no type information
    """One result, made by a connection with `cut` and `packet` (see `driver`)."""

    connection: Any

    async def _get_descriptions(self) -> None:
        connection = self.connection
        usual = connection.decoders is decoders and connection.use_unicode and connection.encoding == "utf8"
        known = _shared if usual else {}
        columns: list[Column] = []
        for _ in range(self.field_count):
            data = connection.cut() or await connection.packet()
            column = known.get(data)
            if column is None:
                if len(known) >= MOST_KNOWN:
                    known.clear()
                column = known[data] = _column(data, connection)
            columns.append(column)
        data = connection.cut() or await connection.packet()
        assert data[0] == END, "Protocol error, expecting EOF"  # as aiomysql says it
        self.fields = [column[0] for column in columns]
        self.description = tuple([column[1] for column in columns])
        self.converters = [column[2] for column in columns]

    async def _read_rowdata_packet(self) -> None:
        connection = self.connection
        converters = self.converters
        rows = []
        while True:
            data = connection.cut() or await connection.packet()
            if data[0] == END and len(data) <= LONGEST_END:
                break
            rows.append(read_row(data, converters))
        self.warning_count = data[1] | data[2] << 8
        self.has_next = (data[3] | data[4] << 8) & SERVER_STATUS.SERVER_MORE_RESULTS_EXISTS
        self.connection = None
        self.affected_rows = len(rows)
        self.rows = tuple(rows)


def read_row(data: bytes, readers: Sequence[Reader]) -> tuple[Any, ...]:
    """The values of a row of the text protocol (its page "Text Resultset Row")."""
    values: list[Any] = []
    at = 0
    for encoding, convert in readers:
        length = data[at]
        at += 1
        if length >= NULL:
            if length == NULL:
                values.append(None)
                continue
            size = {252: 2, 253: 3, 254: 8}[length]
            length = int.from_bytes(data[at : at + size], "little")
            at += size
        value: Any = data[at : at + length]
        at += length
        if encoding is not None:
            value = value.decode(encoding)
        if convert is not None:
            value = convert(value)
        values.append(value)
    return tuple(values)


def _column(data: bytes, connection: Any) -> Column:
    field = FieldDescriptorPacket(data, connection.encoding)
    convert = connection.decoders.get(field.type_code)
    return (
        field,
        field.description(),
        (_encoding(field, connection), None if convert is through else convert),
    )


def _encoding(field: Any, connection: Any) -> str | None:
    """As aiomysql has it: text and JSON in the connection's encoding, binary as bytes, all else is ASCII."""
    if not connection.use_unicode:
        return None
    if field.type_code == FIELD_TYPE.JSON:
        return str(connection.encoding)
    if field.type_code in TEXT_TYPES:
        return None if field.charsetnr == BINARY else str(connection.encoding)
    return "ascii"
