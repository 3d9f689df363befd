"""Raw requests and the status that they get, as data; 200 means that the request is let through.

Each refused one breaks one rule and would be fine without it. The names say which rule.
"""

from __future__ import annotations

__all__ = ["REQUESTS"]

H = b"Host: a.example\r\n"

REQUESTS: dict[str, tuple[bytes, int]] = {
    # ---- fine ----
    "plain": (b"GET / HTTP/1.1\r\n" + H + b"\r\n", 200),
    "1.0 without host": (b"GET / HTTP/1.0\r\n\r\n", 200),
    "empty lines before": (b"\r\n\r\nGET / HTTP/1.1\r\n" + H + b"\r\n", 200),
    "unknown method": (b"BREW / HTTP/1.1\r\n" + H + b"\r\n", 200),
    "absolute form": (b"GET http://b.example/x HTTP/1.1\r\n" + H + b"\r\n", 200),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\n" + H + b"\r\n", 200),
    "blanks around a value": (b"GET / HTTP/1.1\r\n" + H + b"A: \t b \t\r\n\r\n", 200),
    "empty value": (b"GET / HTTP/1.1\r\n" + H + b"A:\r\n\r\n", 200),
    "obs-text": (b"GET / HTTP/1.1\r\n" + H + b"A: \xe9\xff\r\n\r\n", 200),
    "content-length": (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 3\r\n\r\nabc", 200),
    "chunked": (b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200),
    "chunked, trailers": (
        b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nA: b\r\n\r\n",
        200,
    ),
    "100 fields": (b"GET / HTTP/1.1\r\n" + H + b"A: b\r\n" * 99 + b"\r\n", 200),
    # ---- start line ----
    "no target": (b"GET  HTTP/1.1\r\n" + H + b"\r\n", 400),
    "two blanks": (b"GET  / HTTP/1.1\r\n" + H + b"\r\n", 400),
    "tab for blank": (b"GET\t/ HTTP/1.1\r\n" + H + b"\r\n", 400),
    "blank in target": (b"GET /a b HTTP/1.1\r\n" + H + b"\r\n", 400),
    "blank after version": (b"GET / HTTP/1.1 \r\n" + H + b"\r\n", 400),
    "blank first": (b" GET / HTTP/1.1\r\n" + H + b"\r\n", 400),
    "method not a token": (b"G(T / HTTP/1.1\r\n" + H + b"\r\n", 400),
    "relative target": (b"GET a HTTP/1.1\r\n" + H + b"\r\n", 400),
    "fragment": (b"GET /a#b HTTP/1.1\r\n" + H + b"\r\n", 400),
    "high byte in target": (b"GET /\xe9 HTTP/1.1\r\n" + H + b"\r\n", 400),
    "NUL in path": (b"GET /%00 HTTP/1.1\r\n" + H + b"\r\n", 400),
    "above the root": (b"GET /../etc/passwd HTTP/1.1\r\n" + H + b"\r\n", 400),
    "asterisk with GET": (b"GET * HTTP/1.1\r\n" + H + b"\r\n", 400),
    "lower case version": (b"GET / http/1.1\r\n" + H + b"\r\n", 400),
    "version of three": (b"GET / HTTP/1.1.1\r\n" + H + b"\r\n", 400),
    "version 9.9": (b"GET / HTTP/9.9\r\n" + H + b"\r\n", 505),
    "version 1.2": (b"GET / HTTP/1.2\r\n" + H + b"\r\n", 505),
    "http/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400),
    "http/0.9": (b"GET /\r\n", 400),
    "another protocol": (b"EHLO mail.example\r\n", 400),
    "connect": (b"CONNECT a.example:443 HTTP/1.1\r\n" + H + b"\r\n", 501),
    # ---- line ends and field syntax ----
    "bare LF": (b"GET / HTTP/1.1\nHost: a.example\n\n", 400),
    "bare LF after a field": (b"GET / HTTP/1.1\r\n" + H + b"A: b\nC: d\r\n\r\n", 400),
    "bare CR in a value": (b"GET / HTTP/1.1\r\n" + H + b"A: b\rC: d\r\n\r\n", 400),
    "bare CR in the line": (b"GET /\r HTTP/1.1\r\n" + H + b"\r\n", 400),
    "NUL in a value": (b"GET / HTTP/1.1\r\n" + H + b"A: b\0c\r\n\r\n", 400),
    "control in a value": (b"GET / HTTP/1.1\r\n" + H + b"A: b\x01c\r\n\r\n", 400),
    "DEL in a value": (b"GET / HTTP/1.1\r\n" + H + b"A: b\x7f\r\n\r\n", 400),
    "folded value": (b"GET / HTTP/1.1\r\n" + H + b"A: b\r\n c\r\n\r\n", 400),
    "folded first line": (b"GET / HTTP/1.1\r\n X: y\r\n" + H + b"\r\n", 400),
    "blank before colon": (b"GET / HTTP/1.1\r\n" + H + b"Content-Length : 3\r\n\r\nabc", 400),
    "no colon": (b"GET / HTTP/1.1\r\n" + H + b"nonsense\r\n\r\n", 400),
    "no name": (b"GET / HTTP/1.1\r\n" + H + b": b\r\n\r\n", 400),
    "name not a token": (b"GET / HTTP/1.1\r\n" + H + b"A(b): c\r\n\r\n", 400),
    "high byte in a name": (b"GET / HTTP/1.1\r\n" + H + b"\xe9: c\r\n\r\n", 400),
    # ---- host ----
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\n" + H + H + b"\r\n", 400),
    "two hosts in 1.0": (b"GET / HTTP/1.0\r\n" + H + b"Host: b\r\n\r\n", 400),
    "host with blank": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "host with path": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "host with user": (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
    "malformed host of HEAD": (b"HEAD / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    # ---- framing ----
    "length and chunked": (
        b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "two lengths": (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
    "list of lengths": (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 3, 4\r\n\r\nabc", 400),
    "signed length": (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: +3\r\n\r\nabc", 400),
    "negative length": (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: -3\r\n\r\nabc", 400),
    "hex length": (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 0x3\r\n\r\nabc", 400),
    "length with blank": (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 3 3\r\n\r\nabc", 400),
    "empty length": (b"POST / HTTP/1.1\r\n" + H + b"Content-Length:\r\n\r\n", 400),
    "overlong length": (b"POST / HTTP/1.1\r\n" + H + b"Content-Length: 1" + b"0" * 20 + b"\r\n\r\n", 400),
    "chunked in 1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "other coding": (b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    "chunked not last": (b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked, gzip\r\n\r\n", 501),
    "chunked twice": (
        b"POST / HTTP/1.1\r\n"
        + H
        + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        501,
    ),
    "strange coding": (b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    "chunk size with sign": (
        b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
        400,
    ),
    "chunk size 0x": (
        b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
        400,
    ),
    "chunk without its end": (
        b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        400,
    ),
    "chunk size too long": (
        b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 30 + b"\r\n",
        400,
    ),
    "chunked, ends with bare LF": (
        b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\n",
        400,
    ),
    "trailers end with bare LF": (
        b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\n",
        400,
    ),
    "trailer ends with bare LF": (
        b"POST / HTTP/1.1\r\n" + H + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\r\n",
        400,
    ),
    "unknown expectation": (b"GET / HTTP/1.1\r\n" + H + b"Expect: the-best\r\n\r\n", 417),
    # ---- size ----
    "101 fields": (b"GET / HTTP/1.1\r\n" + H + b"A: b\r\n" * 100 + b"\r\n", 431),
    "large field": (b"GET / HTTP/1.1\r\n" + H + b"A: " + b"b" * 16384 + b"\r\n\r\n", 431),
    "large target": (b"GET /" + b"a" * 16384 + b" HTTP/1.1\r\n" + H + b"\r\n", 431),
    "endless head": (b"GET / HTTP/1.1\r\n" + H + b"A: b\r\n" * 4000, 431),
}
