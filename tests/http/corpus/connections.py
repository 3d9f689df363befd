"""Several requests on one connection, what is said about it, and what is sent on to the next hop."""

from __future__ import annotations

from tests.http.corpus.cases import CHUNKED, HOST, Case, Passed, bad, fine, head, message

__all__ = ["CASES", "PASSED"]

GET = head(b"GET / HTTP/1.1")
THREE = message(b"Content-Length: 3", body=b"abc")
PIECES = message(CHUNKED, body=b"3\r\nabc\r\n0\r\n\r\n")

CASES: dict[str, Case] = {
    # ---- one after the other ----
    "pipelined": fine("RFC 9112 §9.3.2", GET + THREE + PIECES + GET, b"", b"abc", b"abc", b""),
    "pipelined with empty lines": fine(
        "RFC 9112 §2.2", GET + b"\r\n\r\n" + THREE + b"\r\n" + GET, b"", b"abc", b""
    ),
    "pipelined, the same to the byte": fine("RFC 9112 §9.3.2", GET * 3, b"", b"", b""),
    "pipelined, a bad one last": bad(
        "RFC 9112 §9.3.2", GET + THREE + b"G(T / HTTP/1.1\r\n\r\n", 400, b"", b"abc"
    ),
    "body longer than said": bad("RFC 9112 §6.3", message(b"Content-Length: 2", body=b"abc\r\n"), 400, b"ab"),
    "body then nonsense": bad("RFC 9112 §6.3", THREE + b"\0", 400, b"abc"),
    "a chunk too many": bad("RFC 9112 §7.1", PIECES + b"3\r\nabc\r\n", 400, b"abc"),
    # ---- Connection ----
    "close": fine("RFC 9112 §9.6", head(b"GET / HTTP/1.1", b"Connection: close")),
    "close in a list": fine("RFC 9112 §9.6", head(b"GET / HTTP/1.1", b"Connection: a, CLOSE")),
    "nothing after close": fine("RFC 9112 §9.6", head(b"GET / HTTP/1.1", b"Connection: close") + GET),
    "nothing after 1.0": fine("RFC 9112 §9.3", b"GET / HTTP/1.0\r\n\r\n" + GET),
    "keep-alive": fine("RFC 9112 §9.3", head(b"GET / HTTP/1.1", b"Connection: keep-alive") + GET, b"", b""),
    "empty connection": fine("RFC 9110 §7.6.1", head(b"GET / HTTP/1.1", b"Connection:")),
    "connection of commas": fine("RFC 9110 §5.6.1.2", head(b"GET / HTTP/1.1", b"Connection: ,, ,")),
    "two connections": fine(
        "RFC 9110 §5.3", head(b"GET / HTTP/1.1", b"Connection: a", b"Connection: b", b"A: c")
    ),
    # ---- Upgrade ----
    "upgrade to what is not spoken": fine(
        "RFC 9110 §7.8: may be ignored", head(b"GET / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: x/1")
    ),
    "upgrade to h2c": fine(
        "RFC 9113 §3.1",
        head(
            b"GET / HTTP/1.1",
            b"Connection: Upgrade, HTTP2-Settings",
            b"Upgrade: h2c",
            b"HTTP2-Settings: AAAA",
        ),
    ),
    "upgrade without connection": fine("RFC 9110 §7.8", head(b"GET / HTTP/1.1", b"Upgrade: x/1")),
    # ---- Expect ----
    "expects 100-continue": fine(
        "RFC 9110 §10.1.1", message(b"Content-Length: 3", b"Expect: 100-continue", body=b"abc"), b"abc"
    ),
    "expects 100-continue in capitals": fine(
        "RFC 9110 §10.1.1", message(b"Content-Length: 3", b"EXPECT: 100-CONTINUE", body=b"abc"), b"abc"
    ),
    "expects 100-continue without a body": fine(
        "RFC 9110 §10.1.1", head(b"GET / HTTP/1.1", b"Expect: 100-continue")
    ),
    "expects with 1.0": fine("RFC 9110 §10.1.1: ignored", head(b"GET / HTTP/1.0", b"Expect: 100-continue")),
    "unknown expectation": bad("RFC 9110 §10.1.1", head(b"GET / HTTP/1.1", b"Expect: the-best"), 417),
    "expectation with more": bad(
        "RFC 9110 §10.1.1", message(b"Content-Length: 3", b"Expect: 100-continue, x", body=b"abc"), 417
    ),
    "obscured expectation": bad(
        "0.CL", message(b"Content-Length: 3", b"Expect: y 100-continue", body=b"abc"), 417
    ),
    "expectation with a parameter": bad(
        "RFC 9110 §10.1.1", message(b"Content-Length: 3", b"Expect: 100-continue; a=b"), 417
    ),
}

PASSED: dict[str, Passed] = {
    "an ordinary field": Passed("RFC 9110 §7.6", (b"X-Odd: 1",), (b"X-Odd: 1",)),
    "fields of one name": Passed("RFC 9110 §5.3", (b"A: b", b"a: c"), (b"A: b", b"a: c")),
    "cookies": Passed("RFC 6265 §4.2", (b"Cookie: a=b; c=d",), (b"Cookie: a=b; c=d",)),
    "two cookies": Passed(
        "RFC 6265 §5.4", (b"Cookie: a=b", b"Cookie: c=d"), (b"Cookie: a=b", b"Cookie: c=d")
    ),
    "range": Passed(
        "RFC 9110 §14.2",
        (b"Range: bytes=0-1,3-", b'If-Range: "x"'),
        (b"Range: bytes=0-1,3-", b'If-Range: "x"'),
    ),
    "authorization": Passed(
        "RFC 9110 §11.6.2", (b"Authorization: Basic eDp5",), (b"Authorization: Basic eDp5",)
    ),
    "fields for one hop": Passed(
        "RFC 9110 §7.6.1",
        (
            b"Keep-Alive: 5",
            b"TE: deflate",
            b"Proxy-Connection: x",
            b"Proxy-Authorization: Basic eDp5",
            b"Trailer: A",
        ),
        (),
        (b"keep-alive:", b"te:", b"proxy-connection:", b"proxy-authorization:", b"trailer:"),
    ),
    "a field that Connection names": Passed(
        "RFC 9110 §7.6.1", (b"Connection: X-Odd", b"X-Odd: 1"), (), (b"x-odd:", b"connection:")
    ),
    "names in capitals": Passed(
        "RFC 9110 §7.6.1", (b"Connection: keep-alive, x-ODD", b"X-Odd: 1"), (), (b"x-odd:",)
    ),
    "Connection names Host": Passed("RFC 9110 §7.6.1: a field for all hops", (b"Connection: Host",), (HOST,)),
    "Connection names X-Forwarded-For": Passed(
        "RFC 9110 §7.6.1",
        (b"Connection: X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, Via",),
        (
            b"X-Forwarded-For: 127.0.0.1",
            b"X-Forwarded-Proto: http",
            b"X-Forwarded-Host: a.example",
            b"Via: 1.1 lb",
        ),
    ),
    "Connection names Forwarded": Passed(
        "RFC 7239 §4: of a trusted neighbour",
        (b"Connection: Forwarded", b"Forwarded: for=192.0.2.1"),
        (b"Forwarded: for=192.0.2.1",),
    ),
    "Connection names Connection": Passed(
        "RFC 9110 §7.6.1", (b"Connection: Connection, close",), (), (b"connection:",)
    ),
    "upgrade": Passed(
        "RFC 9110 §7.8",
        (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAAA"),
        (),
        (b"upgrade:", b"http2-settings:", b"connection:"),
    ),
    "expectation": Passed("RFC 9110 §10.1.1", (b"Expect: 100-continue",), (), (b"expect:",)),
    "via": Passed("RFC 9110 §7.6.3", (b"Via: 1.0 x",), (b"Via: 1.0 x, 1.1 lb",)),
    "imitated claims": Passed(
        "CGI names",
        (b"X_Forwarded_For: 192.0.2.9", b"X-Forwarded_Proto: https"),
        (),
        (b"x_forwarded", b"x-forwarded_"),
    ),
    "Connection names Max-Forwards": Passed(
        "RFC 9110 §7.6.1", (b"Connection: Max-Forwards", b"Max-Forwards: 3"), (), (b"max-forwards:",)
    ),
    "max-forwards of a GET": Passed("RFC 9110 §7.6.2: ignored", (b"Max-Forwards: 0",), (b"Max-Forwards: 0",)),
    "blanks around a value": Passed("RFC 9112 §5.1", (b"A:  b \t",), (b"A: b",)),
}
