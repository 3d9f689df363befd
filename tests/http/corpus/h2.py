"""Requests of HTTP/2 that a server of HTTP/1.1 behind a proxy could read in another way."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CASES", "H2Case"]

Fields = tuple[tuple[bytes, bytes], ...]
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a.example\r\n\r\n"


@dataclass(frozen=True, slots=True)
class H2Case:
    """A POST of `fields`, which take the place of the usual pseudo-fields, and of `body`, None for none."""

    section: str
    fields: Fields = ()
    body: bytes | None = None
    status: int = 200
    """Of the answer; 0 where the stream or the connection ends without one."""


def fine(section: str, *fields: tuple[bytes, bytes], body: bytes | None = None) -> H2Case:
    return H2Case(section, fields, body)


def bad(section: str, *fields: tuple[bytes, bytes], body: bytes | None = None, status: int = 400) -> H2Case:
    return H2Case(section, fields, body, status)


CASES: dict[str, H2Case] = {
    "plain": fine("RFC 9113 §8.3.1"),
    "body of unknown length": fine("RFC 9113 §8.1", body=b"abc"),
    "body of known length": fine("RFC 9113 §8.1.1", (b"content-length", b"3"), body=b"abc"),
    "empty body": fine("RFC 9113 §8.1", body=b""),
    "a request in a body": fine("H2.CL", body=HIDDEN),
    "a request in a body of known length": fine(
        "H2.CL", (b"content-length", b"%d" % len(HIDDEN)), body=HIDDEN
    ),
    "a chunk in a body": fine("H2.TE", body=b"0\r\n\r\n" + HIDDEN),
    "cookies": fine("RFC 9113 §8.2.3", (b"cookie", b"a=b"), (b"cookie", b"c=d")),
    "length of 0 and a body": bad("H2.CL", (b"content-length", b"0"), body=HIDDEN, status=0),
    "length too short": bad("H2.CL", (b"content-length", b"1"), body=b"abc", status=0),
    "length too long": bad("H2.CL", (b"content-length", b"5"), body=b"abc", status=0),
    "length and no body": bad("RFC 9113 §8.1.1", (b"content-length", b"5")),
    "two lengths": bad("H2.CL", (b"content-length", b"3"), (b"content-length", b"0"), body=b"abc", status=0),
    "list of lengths": bad("H2.CL", (b"content-length", b"3, 3"), body=b"abc", status=0),
    "signed length": bad("H2.CL", (b"content-length", b"+3"), body=b"abc", status=0),
    "chunked": bad("H2.TE, RFC 9113 §8.2.2", (b"transfer-encoding", b"chunked"), body=b"0\r\n\r\n" + HIDDEN),
    "chunked by a line feed": bad("H2.TE", (b"x", b"y\r\nTransfer-Encoding: chunked"), body=b"0\r\n\r\n"),
    "chunked by a line feed in a name": bad(
        "H2.TE", (b"x: y\r\ntransfer-encoding", b"chunked"), body=b"0\r\n\r\n"
    ),
    "a request in a value": bad("RFC 9113 §8.2.1", (b"x", b"y\r\n\r\n" + HIDDEN)),
    "a request in a name": bad("RFC 9113 §8.2.1", (b"x: y\r\n\r\nget /hidden http/1.1\r\nx", b"y")),
    "a request in the path": bad("RFC 9113 §8.3.1", (b":path", b"/ HTTP/1.1\r\nHost: a\r\n\r\nGET /hidden")),
    "blank in the path": bad("RFC 9113 §8.3.1", (b":path", b"/a HTTP/1.1")),
    "a request in the method": bad(
        "RFC 9113 §8.3.1", (b":method", b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\nPOST")
    ),
    "a field in the authority": bad("RFC 9113 §8.3.1", (b":authority", b"a.example\r\nX: y")),
    "another host": bad("RFC 9113 §8.3.1", (b"host", b"b.example")),
    "two hosts": bad("RFC 9113 §8.3.1", (b"host", b"a.example"), (b"host", b"a.example")),
    "user in the authority": bad("RFC 9113 §8.3.1", (b":authority", b"u@a.example")),
    "absolute path": bad("RFC 9113 §8.3.1", (b":path", b"http://b.example/")),
    "colon in a name": bad("RFC 9113 §8.2.1", (b"x:", b"y")),
    "name in capitals": bad("RFC 9113 §8.2.1", (b"X", b"y")),
    "blank before a value": bad("RFC 9113 §8.2.1", (b"x", b" y")),
    "NUL in a value": bad("RFC 9113 §8.2.1", (b"x", b"\0")),
    "connection": bad("RFC 9113 §8.2.2", (b"connection", b"content-length")),
    "upgrade": bad("RFC 9113 §8.2.2", (b"upgrade", b"h2c")),
    "te gzip": bad("RFC 9113 §8.2.2", (b"te", b"gzip")),
    "connect": bad("RFC 9113 §8.5", (b":method", b"CONNECT"), status=501),
}
