"""What a case of the corpus is, and short ways to write one."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CHUNKED", "HOST", "Answer", "Case", "Passed", "bad", "chunks", "fine", "head", "message"]

HOST = b"Host: a.example"
CHUNKED = b"Transfer-Encoding: chunked"


@dataclass(frozen=True, slots=True)
class Case:
    """What a client sends on a new connection, and what becomes of it."""

    section: str
    """Where the rule is written, or what it keeps out."""
    data: bytes
    status: int
    """200: every request is let through. Else the last one is refused with this, and the connection is closed."""
    bodies: tuple[bytes, ...]
    """Bodies of the requests that are let through, in order."""


@dataclass(frozen=True, slots=True)
class Passed:
    """Fields of a request that is let through, and those that the server behind a proxy gets to see of them."""

    section: str
    sent: tuple[bytes, ...]
    reach: tuple[bytes, ...]
    """Whole lines that the server sees."""
    vanish: tuple[bytes, ...] = ()
    """Beginnings of lines, in lower case, of which it sees none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server sends for one request, and what becomes of that."""

    section: str
    data: bytes
    status: int
    """That the client sees: 502 where the answer is refused."""
    body: bytes = b""
    """That the client sees."""
    kept: bool = True
    """Whether the server's connection may be used again."""
    method: str = "GET"
    ends: bool = False
    """Whether the server closes the connection behind it."""
    cut: bool = False
    """Whether it goes wrong after its head was passed on: the client's connection is reset."""


def fine(section: str, data: bytes, *bodies: bytes) -> Case:
    """Let through, as one request without a body where no *bodies* are said."""
    return Case(section, data, 200, bodies or (b"",))


def bad(section: str, data: bytes, status: int = 400, *before: bytes) -> Case:
    """Refused with *status*, after as many requests as there are bodies *before*."""
    return Case(section, data, status, before)


def head(line: bytes, *fields: bytes) -> bytes:
    """A request head with a good Host before *fields*."""
    return b"\r\n".join([line, HOST, *fields, b"", b""])


def message(*fields: bytes, body: bytes = b"") -> bytes:
    """A POST."""
    return head(b"POST /p HTTP/1.1", *fields) + body


def chunks(body: bytes) -> bytes:
    """A POST whose chunked *body* is as written."""
    return message(CHUNKED, body=body)
