"""A statement's answer, as a database server sends it."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import pymysql
from aiomysql.connection import MySQLResult
from pymysql.connections import MysqlPacket
from pymysql.converters import decoders

from fuzz.target import Target, agree
from lbkit.mysql import answers
from lbkit.mysql.answers import Answer
from lbkit.mysql.driver import Wire

__all__ = ["TARGETS"]

NO_ANSWER = (
    pymysql.MySQLError, EOFError, AssertionError, struct.error, IndexError, KeyError, TypeError,
    ValueError, ArithmeticError, RuntimeError,
)  # fmt: skip


class Held:
    """A connection on which all has arrived, or as much as comes before it ends."""

    decoders, use_unicode, encoding = decoders, True, "utf8"
    shares_columns, _local_infile, server_status = True, False, 0
    cut, has_taken = Wire.cut, Wire.has_taken

    def __init__(self, data: bytes) -> None:
        self._reader = SimpleNamespace(_buffer=bytearray(data), _paused=False)
        self._next_seq_id = 1

    async def wait(self) -> None:
        """Nothing more arrives."""

    async def packet(self) -> bytes:
        """As aiomysql has it, for packets of less than 16 MiB."""
        buffer = self._reader._buffer
        end = 4 + int.from_bytes(buffer[:3], "little")
        if len(buffer) < max(4, end):
            raise EOFError
        if buffer[3] != self._next_seq_id:
            raise pymysql.InternalError("Packet sequence number wrong")
        data = bytes(buffer[4:end])
        del buffer[:end]
        self._next_seq_id = (self._next_seq_id + 1) & 0xFF
        MysqlPacket(data, self.encoding).check_error()
        if data[0] == 0xFE and 5 <= len(data) <= 8:
            self.server_status = data[3] | data[4] << 8
        return data

    async def _read_packet(self, packet_type: Any = MysqlPacket) -> Any:
        return packet_type(await self.packet(), self.encoding)


def read(data: bytes, kind: type[MySQLResult]) -> object:
    held = Held(data)
    result = kind(held)
    reading = result.read()
    try:
        reading.send(None)
    except StopIteration:
        rows = result.rows and [[(type(value), repr(value)) for value in row] for row in result.rows]
        left = bytes(held._reader._buffer)
        return (
            rows, result.description, result.affected_rows, result.warning_count & 0xFFFF,
            bool(result.has_next), held._next_seq_id, held.server_status, left,
        )  # fmt: skip
    except NO_ANSWER:
        return None
    raise AssertionError("it waits for more than there is")


def check_answer(data: bytes) -> None:
    """What is known of it beforehand changes nothing, and what is read is what aiomysql reads."""
    answers._columns.clear()
    answers._heads.clear()
    ours = read(data, Answer)
    agree([("new", ours), ("known", read(data, Answer))])
    # aiomysql also takes rows that are too short or too long for their columns.
    if ours is not None:
        agree([("lbkit", ours), ("aiomysql", read(data, MySQLResult))])


def packets(*contents: bytes) -> bytes:
    return b"".join(
        len(content).to_bytes(3, "little") + bytes([number & 0xFF]) + content
        for number, content in enumerate(contents, 1)
    )


def text(value: bytes) -> bytes:
    return bytes([len(value)]) + value


def column(name: bytes, kind: int, charset: int = 255) -> bytes:
    names = text(b"def") + text(b"app") + text(b"t") * 2 + text(name) * 2
    return names + b"\x0c" + struct.pack("<HIBHBH", charset, 20, kind, 0, 0, 0)


END = b"\xfe\0\0\2\0"
COLUMNS = (column(b"id", 3, 63), column(b"note", 253), column(b"at", 12, 63))
ROWS = (text(b"1") + text("ü".encode()) + text(b"2020-01-02 03:04:05"), text(b"2") + b"\xfb\xfb")

TARGETS = (
    Target(
        "answers",
        check_answer,
        (
            packets(b"\3", *COLUMNS, END, *ROWS, END),
            packets(b"\1", column(b"1", 8, 63), END, text(b"1"), b"\xfe\1\0\x0a\0"),
            packets(b"\1", column(b"x", 252), END, b"\xfc\x2c\1" + b"x" * 300, END),
            packets(b"\1", column(b"x", 252), END, text(b"1"), b"\xff\x48\4#42000no"),
            packets(b"\0\1\2\2\0\0\0"),
            packets(b"\xff\x28\4#42000no such table"),
            packets(b"\xfb/etc/passwd"),
            packets(
                b"\xfc\x2c\1", *[column(str(n).encode(), 253) for n in range(300)], END, b"\xfb" * 300, END
            ),
        ),
    ),
)
