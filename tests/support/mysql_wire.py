"""A MySQL server that says what a test tells it: `mysql_server` lets everybody in and answers statements."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from lbkit.mysql.dsn import Dsn
from tests.support.backends import Backend

__all__ = ["OK", "column", "mysql_server", "packets", "rows", "text", "usual"]

AUTOCOMMIT = 2
COM_QUIT, COM_QUERY = 1, 3
CAPABILITIES = 0x000FF7DF | 1 << 19 | 1 << 23  # all of PyMySQL's but TLS and compression
OK = b"\0\0\0\2\0\0\0"
END = b"\xfe\0\0\2\0"
Answers = Callable[[str], bytes]
"""What a statement is answered with, whole packets."""


def packets(*contents: bytes, first: int = 1) -> bytes:
    """Numbered from *first* on."""
    return b"".join(
        len(content).to_bytes(3, "little") + bytes([number & 0xFF]) + content
        for number, content in enumerate(contents, first)
    )


def text(value: bytes) -> bytes:
    """A length and a string of less than 251 bytes."""
    return bytes([len(value)]) + value


def column(name: bytes, kind: int = 253, charset: int = 255) -> bytes:
    """The description of a column of the field type *kind*."""
    names = text(b"def") + text(b"app") + text(b"t") * 2 + text(name) * 2
    return names + b"\x0c" + struct.pack("<HIBHBH", charset, 20, kind, 0, 0, 0)


def rows(columns: Sequence[bytes], *values: Sequence[bytes], first: int = 1) -> bytes:
    """An answer with rows."""
    body = [b"".join(text(value) for value in row) for row in values]
    return packets(bytes([len(columns)]), *columns, END, *body, END, first=first)


def usual(sql: str) -> bytes:
    """One row for whatever is selected, OK for all else."""
    return rows([column(b"x", 8, 63)], [b"1"]) if sql.startswith("SELECT") else packets(OK)


@asynccontextmanager
async def mysql_server(
    answers: Answers = usual, plugin: bytes = b"mysql_native_password", switch: bytes = b""
) -> AsyncIterator[Dsn]:
    """Its address. It greets with the way *plugin* to log in, and asks for *switch* after that."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _talk(reader, writer, answers, plugin, switch)

    async with Backend(talk) as address:
        yield Dsn.parse(f"mysql://app:secret@{address}/app")


async def _talk(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: Answers, plugin: bytes, switch: bytes
) -> None:
    low, high = CAPABILITIES & 0xFFFF, CAPABILITIES >> 16
    greeting = b"\x0a8.0.99\0" + struct.pack("<I", 7) + b"saltsalt\0"
    greeting += struct.pack("<HBHHB", low, 255, AUTOCOMMIT, high, 21) + bytes(10) + b"saltsaltsalt\0"
    writer.write(packets(greeting + plugin + b"\0", first=0))
    await _packet(reader)
    if switch:
        writer.write(packets(b"\xfe" + switch + b"\0" + b"salt" * 5 + b"\0", first=2))
        await _packet(reader)
    writer.write(packets(OK, first=4 if switch else 2))
    while True:
        command = await _packet(reader)
        if command[0] == COM_QUIT:
            return
        writer.write(answers(command[1:].decode()) if command[0] == COM_QUERY else packets(OK))
        await writer.drain()


async def _packet(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    return await reader.readexactly(int.from_bytes(head[:3], "little"))
