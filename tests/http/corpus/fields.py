"""Header fields: their syntax, their ends, how many and how large, and Host."""

from __future__ import annotations

from tests.http.corpus.cases import HOST, Case, bad, fine, head

__all__ = ["CASES"]

LINE = b"GET / HTTP/1.1"


def hosts(*values: bytes) -> bytes:
    """A GET that says nothing but its hosts."""
    return b"".join([LINE, b"\r\n", *(b"Host: %b\r\n" % value for value in values), b"\r\n"])


CASES: dict[str, Case] = {
    # ---- values ----
    "blanks around a value": fine("RFC 9112 §5.1", head(LINE, b"A: \t b \t")),
    "no blank before a value": fine("RFC 9112 §5.1", head(LINE, b"A:b")),
    "empty value": fine("RFC 9110 §5.5", head(LINE, b"A:")),
    "value of blanks": fine("RFC 9110 §5.5", head(LINE, b"A: \t ")),
    "colons in a value": fine("RFC 9110 §5.5", head(LINE, b"A: b: c:d")),
    "tab in a value": fine("RFC 9110 §5.5", head(LINE, b"A: b\tc")),
    "obs-text": fine("RFC 9110 §5.5", head(LINE, b"A: \xe9\xff")),
    "open quote in a value": fine("RFC 9110 §5.5: no business of a proxy", head(LINE, b'A: "b')),
    "the same field twice": fine("RFC 9110 §5.3", head(LINE, b"A: b", b"A: c")),
    "NUL in a value": bad("RFC 9110 §5.5", head(LINE, b"A: b\0c")),
    "control in a value": bad("RFC 9110 §5.5", head(LINE, b"A: b\x01c")),
    "vertical tab in a value": bad("RFC 9110 §5.5", head(LINE, b"A: b\x0bc")),
    "escape in a value": bad("RFC 9110 §5.5", head(LINE, b"A: \x1b[0m")),
    "DEL in a value": bad("RFC 9110 §5.5", head(LINE, b"A: b\x7f")),
    "bare CR in a value": bad("RFC 9110 §5.5, RFC 9112 §2.2", head(LINE, b"A: b\rC: d")),
    "bare CR at the end of a value": bad("RFC 9112 §2.2", head(LINE, b"A: b\r")),
    "bare CR first in a value": bad("RFC 9112 §2.2", head(LINE, b"A:\rb")),
    # ---- line ends ----
    "bare LF": bad("RFC 9112 §2.2: may be refused", b"GET / HTTP/1.1\nHost: a.example\n\n"),
    "bare LF after a field": bad("RFC 9112 §2.2", head(LINE, b"A: b\nC: d")),
    "bare LF before the empty line": bad("RFC 9112 §2.2", head(LINE)[:-2] + b"A: b\n\r\n"),
    "bare LF for the empty line": bad("RFC 9112 §2.2", head(LINE)[:-2] + b"\n"),
    "LF CR": bad("RFC 9112 §2.2", b"GET / HTTP/1.1\n\rHost: a.example\n\r\n\r"),
    "CR CR LF": bad("RFC 9112 §2.2", head(LINE, b"A: b\r") + b"\r\n"),
    "empty line of blanks": bad("RFC 9112 §2.2", head(LINE)[:-2] + b" \r\n\r\n"),
    "folded value": bad("RFC 9112 §5.2", head(LINE, b"A: b\r\n c")),
    "value folded by a tab": bad("RFC 9112 §5.2", head(LINE, b"A: b\r\n\tc")),
    "value that begins on the next line": bad("RFC 9112 §5.2", head(LINE, b"A:\r\n b")),
    "folded Host": bad("RFC 9112 §5.2", b"GET / HTTP/1.1\r\nHost:\r\n a.example\r\n\r\n"),
    "folded first line": bad(
        "RFC 9112 §2.2: blank before the first field", b"GET / HTTP/1.1\r\n X: y\r\n" + HOST + b"\r\n\r\n"
    ),
    "folded Transfer-Encoding": bad(
        "RFC 9112 §5.2", head(b"POST / HTTP/1.1", b"Transfer-Encoding:\r\n chunked") + b"0\r\n\r\n"
    ),
    "folded Content-Length": bad(
        "RFC 9112 §5.2", head(b"POST / HTTP/1.1", b"Content-Length: 1\r\n 0") + b"abc"
    ),
    # ---- names ----
    "name of odd characters": fine("RFC 9110 §5.6.2", head(LINE, b"!#$%&'*+-.^_`|~09aZ: b")),
    "blank before colon": bad("RFC 9112 §5.1", head(LINE, b"Content-Length : 3") + b"abc"),
    "tab before colon": bad("RFC 9112 §5.1", head(LINE, b"A\t: b")),
    "blank before the colon of Host": bad("RFC 9112 §5.1", b"GET / HTTP/1.1\r\nHost : a.example\r\n\r\n"),
    "blank in a name": bad("RFC 9110 §5.1", head(LINE, b"A B: c")),
    "no colon": bad("RFC 9112 §5", head(LINE, b"nonsense")),
    "no name": bad("RFC 9112 §5", head(LINE, b": b")),
    "name not a token": bad("RFC 9110 §5.1", head(LINE, b"A(b): c")),
    "name in quotes": bad("RFC 9110 §5.1", head(LINE, b'"A": c')),
    "high byte in a name": bad("RFC 9110 §5.1", head(LINE, b"\xe9: c")),
    "NUL in a name": bad("RFC 9110 §5.1", head(LINE, b"A\0: c")),
    "control after a name": bad("RFC 9110 §5.1", head(LINE, b"A\x0b: c")),
    "a pseudo field of HTTP/2": bad("RFC 9110 §5.1", head(LINE, b":path: /b")),
    "a request line among the fields": bad("RFC 9112 §5", head(LINE, b"GET /b HTTP/1.1")),
    # ---- Host ----
    "host with a port": fine("RFC 9110 §7.2", hosts(b"a.example:8080")),
    "host with an empty port": fine("RFC 3986 §3.2.3", hosts(b"a.example:")),
    "host an IPv6 address": fine("RFC 3986 §3.2.2", hosts(b"[::1]:80")),
    "empty host": fine("RFC 9112 §3.2: the authority may be empty", hosts(b"")),
    "host with escapes": fine("RFC 3986 §3.2.2", hosts(b"a%20b")),
    "no host": bad("RFC 9112 §3.2", hosts()),
    "two hosts": bad("RFC 9112 §3.2", hosts(b"a.example", b"a.example")),
    "two different hosts": bad("RFC 9112 §3.2", hosts(b"a.example", b"b.example")),
    "two hosts in 1.0": bad("RFC 9112 §3.2", b"GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n"),
    "two hosts and absolute form": bad("RFC 9112 §3.2", head(b"GET http://b.example/ HTTP/1.1", b"Host: c")),
    "list of hosts": bad("RFC 9112 §3.2", hosts(b"a.example, b.example")),
    "host with blank": bad("RFC 9112 §3.2", hosts(b"a b")),
    "host with path": bad("RFC 9112 §3.2", hosts(b"a/b")),
    "host with query": bad("RFC 9112 §3.2", hosts(b"a?b")),
    "host with scheme": bad("RFC 9112 §3.2", hosts(b"http://a")),
    "host with user": bad("RFC 9112 §3.2", hosts(b"u@a")),
    "host with a backslash": bad("RFC 9112 §3.2", hosts(b"a\\b")),
    "host with two ports": bad("RFC 9112 §3.2", hosts(b"a:80:81")),
    "host with a port of letters": bad("RFC 9112 §3.2", hosts(b"a:http")),
    "host with a signed port": bad("RFC 9112 §3.2", hosts(b"a:+80")),
    "host with a long port": bad("RFC 9112 §3.2", hosts(b"a:800000")),
    "host with a broken escape": bad("RFC 9112 §3.2", hosts(b"a%2")),
    "host with a high byte": bad("RFC 9112 §3.2", hosts(b"\xe9.example")),
    "host an IPv6 address without brackets": bad("RFC 9112 §3.2", hosts(b"::1")),
    "host an open bracket": bad("RFC 9112 §3.2", hosts(b"[::1")),
    "host in quotes": bad("RFC 9112 §3.2", hosts(b'"a"')),
    "malformed host of HEAD": bad("RFC 9112 §3.2", b"HEAD / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    "malformed host and absolute form": bad("RFC 9112 §3.2", b"GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n"),
    # ---- size ----
    "100 fields": fine("RFC 9110 §5.4: a limit", head(LINE, *[b"A: b"] * 99)),
    "101 fields": bad("RFC 9110 §5.4, RFC 6585 §5", head(LINE, *[b"A: b"] * 100), 431),
    "101 unusual fields": bad("RFC 9110 §5.4", head(LINE, *[b"A:b"] * 100), 431),
    "300 fields": bad("RFC 9110 §5.4", head(LINE, *[b"A: b"] * 300), 431),
    "large head": fine("RFC 9110 §5.4", head(LINE, b"A: " + b"b" * 16_000)),
    "large field": bad("RFC 9110 §5.4", head(LINE, b"A: " + b"b" * 16_384), 431),
    "large name": bad("RFC 9110 §5.4", head(LINE, b"a" * 16_384 + b": b"), 431),
    "endless head": bad("RFC 9110 §5.4", head(LINE, *[b"A: b"] * 4000)[:-2], 431),
    "endless line": bad("RFC 9110 §5.4", head(LINE, b"A: " + b"b" * 20_000)[:-4], 431),
}
