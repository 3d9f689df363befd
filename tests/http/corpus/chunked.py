"""The chunked coding: sizes, extensions, line ends, trailers."""

from __future__ import annotations

from tests.http.corpus.cases import Case, bad, chunks, fine, head

__all__ = ["CASES"]

END = b"0\r\n\r\n"
HIDDEN = head(b"GET /hidden HTTP/1.1")


def one(line: bytes) -> bytes:
    """A chunk of "abc" whose size line is *line*, with its end."""
    return chunks(line + b"abc\r\n" + END)


CASES: dict[str, Case] = {
    # ---- sizes (RFC 9112 §7.1: 1*HEXDIG) ----
    "a chunk": fine("RFC 9112 §7.1", one(b"3\r\n"), b"abc"),
    "two chunks": fine("RFC 9112 §7.1", chunks(b"1\r\na\r\n2\r\nbc\r\n" + END), b"abc"),
    "chunk size in capitals": fine("RFC 9112 §7.1", chunks(b"A\r\n0123456789\r\n" + END), b"0123456789"),
    "chunk size with zeros before": fine("RFC 9112 §7.1", one(b"0003\r\n"), b"abc"),
    "last chunk of many zeros": fine("RFC 9112 §7.1", chunks(b"3\r\nabc\r\n000\r\n\r\n"), b"abc"),
    "a chunk that looks like the end": fine(
        "RFC 9112 §7.1", chunks(b"5\r\n0\r\n\r\n\r\n" + END), b"0\r\n\r\n"
    ),
    "no chunk size": bad("RFC 9112 §7.1", one(b"\r\n")),
    "chunk size with sign": bad("RFC 9112 §7.1", one(b"+3\r\n")),
    "chunk size with minus": bad("RFC 9112 §7.1", one(b"-3\r\n")),
    "last chunk with minus": bad("RFC 9112 §7.1", chunks(b"3\r\nabc\r\n-0\r\n\r\n" + HIDDEN)),
    "chunk size 0x": bad("RFC 9112 §7.1", one(b"0x3\r\n")),
    "chunk size with underscore": bad("RFC 9112 §7.1", one(b"0_3\r\n")),
    "chunk size with h": bad("RFC 9112 §7.1", one(b"3h\r\n")),
    "chunk size with a point": bad("RFC 9112 §7.1", one(b"3.0\r\n")),
    "chunk size in quotes": bad("RFC 9112 §7.1", one(b'"3"\r\n')),
    "chunk size with a high byte": bad("RFC 9112 §7.1", one(b"3\xb3\r\n")),
    "chunk size of another alphabet": bad("RFC 9112 §7.1", one("３\r\n".encode())),
    "blank before a chunk size": bad("RFC 9112 §7.1", one(b" 3\r\n")),
    "tab before a chunk size": bad("RFC 9112 §7.1", one(b"\t3\r\n")),
    "blank after a chunk size": bad("RFC 9112 §7.1.1: only before an extension", one(b"3 \r\n")),
    "tab after a chunk size": bad("RFC 9112 §7.1.1", one(b"3\t\r\n")),
    "vertical tab after a chunk size": bad("RFC 9112 §7.1", one(b"3\x0b\r\n")),
    "NUL after a chunk size": bad("RFC 9112 §7.1", one(b"3\0\r\n")),
    "two chunk sizes": bad("RFC 9112 §7.1", one(b"3 4\r\n")),
    "chunk size too long": bad("RFC 9112 §7.1: a limit", chunks(b"1" * 30 + b"\r\n")),
    "chunk size of 17 digits": bad("RFC 9112 §7.1: a limit", one(b"0" * 16 + b"3\r\n")),
    "chunk size beyond 63 bits": bad("RFC 9112 §7.1: overflow", chunks(b"8000000000000000\r\nabc")),
    "chunk size of 2**64 and 3": bad("RFC 9112 §7.1: overflow", one(b"10000000000000003\r\n")),
    "chunk size of all ones": bad("RFC 9112 §7.1: overflow", chunks(b"ffffffffffffffff\r\nabc")),
    # ---- line ends ----
    "bare LF after a chunk size": bad("RFC 9112 §7.1", one(b"3\n")),
    "bare CR after a chunk size": bad("RFC 9112 §7.1", one(b"3\r")),
    "CR CR LF after a chunk size": bad("RFC 9112 §7.1", one(b"3\r\r\n")),
    "two bytes for the end of a chunk": bad("TERM.EXT", chunks(b"3\r\nabcXY" + END)),
    "chunk without its end": bad("RFC 9112 §7.1", chunks(b"3\r\nabcd\r\n" + END)),
    "chunk followed by the next size": bad("RFC 9112 §7.1", chunks(b"3\r\nabc2\r\nde\r\n" + END)),
    "bare LF after a chunk": bad("SPILL.TERM", chunks(b"3\r\nabc\n" + END)),
    "bare CR after a chunk": bad("SPILL.TERM", chunks(b"3\r\nabc\r" + END)),
    "empty line before a chunk size": bad("RFC 9112 §7.1", chunks(b"3\r\nabc\r\n\r\n" + END)),
    "chunk with more than its size": bad("RFC 9112 §7.1", chunks(b"1\r\nabc\r\n" + END)),
    "chunk with less than its size": bad("RFC 9112 §7.1", chunks(b"4\r\nabc\r\n" + END)),
    "chunked, ends with bare LF": bad("RFC 9112 §7.1", chunks(b"0\r\n\n" + HIDDEN)),
    "chunked, ends with bare CR": bad("RFC 9112 §7.1", chunks(b"0\r\n\rX")),
    "last chunk with bare LF": bad("RFC 9112 §7.1", chunks(b"0\n\r\n")),
    "chunked, two empty lines": fine("RFC 9112 §2.2: one is before the next request", chunks(END + b"\r\n")),
    # ---- extensions (RFC 9112 §7.1.1) ----
    "chunk extension": fine("RFC 9112 §7.1.1", one(b"3;a\r\n"), b"abc"),
    "chunk extension with a value": fine("RFC 9112 §7.1.1", one(b"3;a=b\r\n"), b"abc"),
    "chunk extensions": fine("RFC 9112 §7.1.1", one(b"3;a=b;c;d=e\r\n"), b"abc"),
    "chunk extension with blanks": fine("RFC 9112 §7.1.1", one(b"3 ;\ta = b\r\n"), b"abc"),
    "quoted chunk extension": fine("RFC 9112 §7.1.1", one(b'3;a="b;\\"c"\r\n'), b"abc"),
    "last chunk with an extension": fine("RFC 9112 §7.1.1", chunks(b"3\r\nabc\r\n0;a\r\n\r\n"), b"abc"),
    "chunk extension without a name": bad("RFC 9112 §7.1.1", one(b"3;\r\n")),
    "chunk extension without a value": bad("RFC 9112 §7.1.1", one(b"3;a=\r\n")),
    "chunk extension without a semicolon": bad("RFC 9112 §7.1.1", one(b"3 a\r\n")),
    "chunk extension with an open quote": bad("RFC 9112 §7.1.1", one(b'3;a="b\r\n')),
    "chunk extension with a line end in quotes": bad("RFC 9112 §7.1.1", one(b'3;a="\r\n";b\r\n')),
    "chunk extension not a token": bad("RFC 9112 §7.1.1", one(b"3;a(b\r\n")),
    "bare LF in a chunk extension": bad("TERM.EXT", one(b"3;a\nb\r\n")),
    "bare LF for a chunk extension": bad("TERM.EXT", one(b"3;\n")),
    "bare CR in a chunk extension": bad("TERM.EXT", one(b"3;a\rb\r\n")),
    "bare CR in a quoted extension": bad("TERM.EXT", one(b'3;a="\r"\r\n')),
    "NUL in a chunk extension": bad("RFC 9112 §7.1.1", one(b"3;a\0\r\n")),
    "NUL in a quoted extension": bad("RFC 9112 §7.1.1", one(b'3;a="\0"\r\n')),
    "large chunk extension": bad("RFC 9112 §7.1.1: a limit", one(b"3;a=" + b"b" * 5000 + b"\r\n")),
    "many chunk extensions": bad(
        "RFC 9112 §7.1.1: a limit", chunks((b"1;a=" + b"b" * 1000 + b"\r\nx\r\n") * 20 + END)
    ),
    "bare LF and a chunk of the other reader": bad(
        "EXT.TERM", chunks(b"2;\n02\r\n41\r\n0\r\n\r\n" + HIDDEN + b"0\r\n\r\n")
    ),
    # ---- trailers (RFC 9112 §7.1.2) ----
    "trailers": fine("RFC 9112 §7.1.2", chunks(b"3\r\nabc\r\n0\r\nA: b\r\nC:\r\n\r\n"), b"abc"),
    "trailers that repeat framing": fine(
        "RFC 9110 §6.5.1: not to be merged",
        chunks(b"3\r\nabc\r\n0\r\nContent-Length: 50\r\nTransfer-Encoding: x\r\nHost: evil\r\n\r\n"),
        b"abc",
    ),
    "a request behind trailers": fine("RFC 9112 §7.1.2", chunks(b"0\r\nA: b\r\n\r\n" + HIDDEN), b"", b""),
    "trailer without colon": bad("RFC 9112 §5", chunks(b"0\r\nnonsense\r\n\r\n")),
    "trailer a request line": bad("RFC 9112 §5", chunks(b"0\r\n" + HIDDEN)),
    "trailer without a name": bad("RFC 9112 §5", chunks(b"0\r\n: b\r\n\r\n")),
    "folded trailer": bad("RFC 9112 §5.2", chunks(b"0\r\nA: b\r\n c\r\n\r\n")),
    "blank before a trailer's colon": bad("RFC 9112 §5.1", chunks(b"0\r\nA : b\r\n\r\n")),
    "NUL in a trailer": bad("RFC 9110 §5.5", chunks(b"0\r\nA: \0\r\n\r\n")),
    "bare CR in a trailer": bad("RFC 9112 §2.2", chunks(b"0\r\nA: b\rc\r\n\r\n")),
    "trailer ends with bare LF": bad("RFC 9112 §2.2", chunks(b"0\r\nA: b\n\r\n")),
    "trailers end with bare LF": bad("RFC 9112 §2.2", chunks(b"0\r\nA: b\r\n\n")),
    "100 trailers": fine("RFC 9110 §5.4: a limit", chunks(b"0\r\n" + b"A: b\r\n" * 100 + b"\r\n")),
    "101 trailers": bad("RFC 9110 §5.4: a limit", chunks(b"0\r\n" + b"A: b\r\n" * 101 + b"\r\n")),
    "large trailer": bad("RFC 9110 §5.4: a limit", chunks(b"0\r\nA: " + b"b" * 17_000)),
}
