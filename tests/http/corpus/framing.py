"""Where a body ends: Content-Length, Transfer-Encoding, and every way to say both known from request smuggling.

Each refused one comes with a body that another reader could take for a request of its own.
"""

from __future__ import annotations

from tests.http.corpus.cases import CHUNKED, HOST, Case, bad, fine, head, message

__all__ = ["CASES"]

HIDDEN = b"GET /hidden HTTP/1.1\r\n" + HOST + b"\r\n\r\n"
EMPTY = b"0\r\n\r\n"
NEXT = head(b"GET /next HTTP/1.1")


def length(value: bytes) -> bytes:
    return message(b"Content-Length: " + value, body=b"abc" + HIDDEN)


def coding(value: bytes) -> bytes:
    return message(b"Transfer-Encoding: " + value, body=EMPTY + HIDDEN)


def both(*fields: bytes) -> bytes:
    return message(*fields, body=EMPTY + HIDDEN)


CASES: dict[str, Case] = {
    "no framing, no body": fine("RFC 9112 §6.3 rule 7", message()),
    "bytes after a request without a body": fine(
        "RFC 9112 §6.3: they are the next request", message(body=NEXT), b"", b""
    ),
    # ---- Content-Length ----
    "content-length": fine("RFC 9110 §8.6", message(b"Content-Length: 3", body=b"abc"), b"abc"),
    "content-length of 0": fine("RFC 9110 §8.6", message(b"Content-Length: 0")),
    "content-length of a GET": fine(
        "RFC 9110 §9.3.1", head(b"GET / HTTP/1.1", b"Content-Length: 3") + b"abc", b"abc"
    ),
    "content-length of HEAD": fine(
        "RFC 9110 §9.3.2", head(b"HEAD / HTTP/1.1", b"Content-Length: 3") + b"abc", b"abc"
    ),
    "content-length of 1.0": fine(
        "RFC 9112 §6.3", b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", b"abc"
    ),
    "content-length in capitals": fine("RFC 9110 §5.1", message(b"CONTENT-LENGTH: 3", body=b"abc"), b"abc"),
    "content-length between blanks": fine(
        "RFC 9112 §5.1", message(b"Content-Length: \t3 ", body=b"abc"), b"abc"
    ),
    "content-length with zeros before": fine(
        "RFC 9110 §8.6: 1*DIGIT", message(b"Content-Length: 003", body=b"abc"), b"abc"
    ),
    "a request in a body": fine("CL.0", message(b"Content-Length: %d" % len(HIDDEN), body=HIDDEN), HIDDEN),
    "a request in the body of a GET": fine(
        "CL.0, 0.CL", head(b"GET / HTTP/1.1", b"Content-Length: %d" % len(HIDDEN)) + HIDDEN, HIDDEN
    ),
    "two lengths": bad(
        "RFC 9112 §6.3 rule 5", message(b"Content-Length: 3", b"Content-Length: 4", body=b"abc")
    ),
    "two equal lengths": bad(
        "RFC 9110 §8.6: may be refused", message(b"Content-Length: 3", b"Content-Length: 3", body=b"abc")
    ),
    "two lengths far apart": bad(
        "RFC 9112 §6.3 rule 5", message(b"Content-Length: 3", b"A: b", b"content-length: 0", body=b"abc")
    ),
    "list of lengths": bad("RFC 9112 §6.3 rule 5", length(b"3, 4")),
    "list of equal lengths": bad("RFC 9110 §8.6: may be refused", length(b"3, 3")),
    "length with a comma": bad("RFC 9110 §8.6", length(b"3,")),
    "length after a comma": bad("RFC 9110 §8.6", length(b",3")),
    "signed length": bad("RFC 9110 §8.6", length(b"+3")),
    "negative length": bad("RFC 9110 §8.6", length(b"-3")),
    "negative zero": bad("RFC 9110 §8.6", length(b"-0")),
    "hex length": bad("RFC 9110 §8.6", length(b"0x3")),
    "hex digits": bad("RFC 9110 §8.6", length(b"a")),
    "octal length": bad("RFC 9110 §8.6", length(b"0o3")),
    "binary length": bad("RFC 9110 §8.6", length(b"0b11")),
    "length with underscore": bad("RFC 9110 §8.6", length(b"0_3")),
    "length with a point": bad("RFC 9110 §8.6", length(b"3.0")),
    "length with an exponent": bad("RFC 9110 §8.6", length(b"3e0")),
    "length with blank": bad("RFC 9110 §8.6", length(b"3 3")),
    "length in quotes": bad("RFC 9110 §8.6", length(b'"3"')),
    "length with a parameter": bad("RFC 9110 §8.6", length(b"3;a=b")),
    "length of another alphabet": bad("RFC 9110 §8.6", length("３".encode())),
    "length of a high digit": bad("RFC 9110 §8.6", length(b"\xb3")),
    "length with vertical tab": bad("RFC 9110 §5.5", length(b"\x0b3")),
    "length with form feed": bad("RFC 9110 §5.5", length(b"3\x0c")),
    "length with NUL": bad("RFC 9110 §5.5", length(b"3\0")),
    "length with bare CR": bad("RFC 9112 §2.2", length(b"3\r")),
    "length of words": bad("RFC 9110 §8.6", length(b"identity")),
    "empty length": bad("RFC 9110 §8.6", message(b"Content-Length:", body=HIDDEN)),
    "overlong length": bad("RFC 9110 §8.6: overflow", length(b"1" + b"0" * 20)),
    "length of 2**64 and 3": bad("RFC 9110 §8.6: overflow", length(b"18446744073709551619")),
    "length of many zeros": bad("RFC 9110 §8.6: a limit", length(b"0" * 30 + b"3")),
    # ---- Transfer-Encoding ----
    "chunked": fine("RFC 9112 §7.1", message(CHUNKED, body=b"3\r\nabc\r\n0\r\n\r\n"), b"abc"),
    "chunked in mixed case": fine(
        "RFC 9112 §7", message(b"transfer-encoding: ChUnKeD", body=b"3\r\nabc\r\n0\r\n\r\n"), b"abc"
    ),
    "chunked between blanks": fine(
        "RFC 9112 §5.1", message(b"Transfer-Encoding: \t chunked \t", body=b"3\r\nabc\r\n0\r\n\r\n"), b"abc"
    ),
    "chunked without a blank": fine("RFC 9112 §5.1", message(b"Transfer-Encoding:chunked", body=EMPTY)),
    "chunked GET": fine("RFC 9112 §6.3", head(b"GET / HTTP/1.1", CHUNKED) + b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
    "a request in a chunk": fine(
        "TE.0", message(CHUNKED, body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)), HIDDEN
    ),
    "other coding": bad("RFC 9112 §6.1", coding(b"gzip"), 501),
    "identity": bad("RFC 9112 §7: there is none", coding(b"identity"), 501),
    "empty coding": bad("RFC 9112 §6.1", coding(b""), 501),
    "chunked not last": bad("RFC 9112 §6.3 rule 4", coding(b"chunked, gzip"), 501),
    "chunked last of two": bad("RFC 9112 §6.1", coding(b"gzip, chunked"), 501),
    "chunked twice": bad("RFC 9112 §6.1", both(CHUNKED, CHUNKED), 501),
    "chunked twice in a list": bad("RFC 9112 §6.1", coding(b"chunked, chunked"), 501),
    "chunked and identity": bad("TE.TE", both(CHUNKED, b"Transfer-Encoding: identity"), 501),
    "identity and chunked": bad("TE.TE", both(b"Transfer-Encoding: identity", CHUNKED), 501),
    "chunked and something": bad("TE.TE", both(CHUNKED, b"Transfer-encoding: x"), 501),
    "chunked and nothing": bad("TE.TE", both(CHUNKED, b"Transfer-Encoding:"), 501),
    "strange coding": bad("TE.TE", coding(b"xchunked"), 501),
    "coding and a letter": bad("TE.TE", coding(b"chunkedx"), 501),
    "chunked after a comma": bad("TE.TE", coding(b",chunked"), 501),
    "chunked before a comma": bad("TE.TE", coding(b"chunked,"), 501),
    "chunked in quotes": bad("TE.TE", coding(b'"chunked"'), 501),
    "chunked in single quotes": bad("TE.TE", coding(b"'chunked'"), 501),
    "chunked with a parameter": bad("RFC 9112 §7", coding(b"chunked;a=b"), 501),
    "chunked with a semicolon": bad("TE.TE", coding(b"chunked;"), 501),
    "chunked in two words": bad("TE.TE", coding(b"chun ked"), 501),
    "chunked escaped": bad("TE.TE", coding(b"%63hunked"), 501),
    "chunked with a Kelvin sign": bad(
        "TE.TE: lower() of text makes it a k", coding("chun\u212aed".encode()), 501
    ),
    "chunked with vertical tab": bad("TE.TE", coding(b"\x0bchunked")),
    "chunked with form feed": bad("TE.TE", coding(b"chunked\x0c")),
    "chunked with NUL": bad("TE.TE", coding(b"\0chunked")),
    "chunked with a high byte": bad("TE.TE", coding(b"\xffchunked"), 501),
    "chunked with bare CR": bad("TE.TE", coding(b"\rchunked")),
    "chunked with bare LF": bad("TE.TE", coding(b"\nchunked")),
    "blank before the coding's colon": bad("TE.TE", both(b"Transfer-Encoding : chunked")),
    "tab before the coding's colon": bad("TE.TE", both(b"Transfer-Encoding\t: chunked")),
    "blank before the coding": bad("TE.TE", both(b"A: b", b" Transfer-Encoding: chunked")),
    "coding after bare LF": bad("TE.TE", both(b"A: b\nTransfer-Encoding: chunked")),
    "coding after bare CR": bad("TE.TE", both(b"A: b\rTransfer-Encoding: chunked")),
    "coding with a high byte before": bad("TE.TE", both(b"\xa0Transfer-Encoding: chunked")),
    "coding with a colon too many": bad("TE.TE", both(b"Transfer-Encoding:: chunked"), 501),
    "coding with an underscore": fine(
        "TE.TE: another field, and CGI's affair", message(b"Transfer_Encoding: chunked", body=NEXT), b"", b""
    ),
    "another field like it": fine("TE.TE", message(b"X-Transfer-Encoding: chunked", body=NEXT), b"", b""),
    "content-encoding chunked": fine("TE.TE", message(b"Content-Encoding: chunked", body=NEXT), b"", b""),
    "chunked in 1.0": bad("RFC 9112 §6.1", head(b"POST / HTTP/1.0", CHUNKED) + EMPTY + HIDDEN),
    "other coding in 1.0": bad(
        "RFC 9112 §6.1", head(b"POST / HTTP/1.0", b"Transfer-Encoding: gzip") + EMPTY, 501
    ),
    # ---- both ----
    "length and chunked": bad("CL.TE, RFC 9112 §6.1", both(b"Content-Length: 5", CHUNKED)),
    "chunked and length": bad("TE.CL, RFC 9112 §6.1", both(CHUNKED, b"Content-Length: 5")),
    "length of 0 and chunked": bad("CL.TE", both(b"Content-Length: 0", CHUNKED)),
    "length and chunked far apart": bad(
        "CL.TE", both(b"content-length: 5", b"A: b", b"transfer-encoding: chunked")
    ),
    "length and other coding": bad("CL.TE", both(b"Content-Length: 5", b"Transfer-Encoding: gzip"), 501),
    "length and obscured coding": bad(
        "CL.TE", both(b"Content-Length: 5", b"Transfer-Encoding: xchunked"), 501
    ),
    "length and empty coding": bad("CL.TE", both(b"Content-Length: 5", b"Transfer-Encoding:"), 501),
    "malformed length and chunked": bad("CL.TE", both(b"Content-Length: x", CHUNKED)),
    "length and chunked in 1.0": bad(
        "CL.TE", head(b"POST / HTTP/1.0", b"Content-Length: 5", CHUNKED) + EMPTY + HIDDEN
    ),
    "length and chunked of a GET": bad(
        "CL.TE", head(b"GET / HTTP/1.1", b"Content-Length: 5", CHUNKED) + EMPTY + HIDDEN
    ),
    "two lengths and chunked": bad("CL.TE", both(b"Content-Length: 5", b"Content-Length: 5", CHUNKED)),
    # ---- named in Connection, so that the next reader would see no framing ----
    "length named in Connection": fine(
        "RFC 9110 §7.6.1: it is no field for one hop",
        message(b"Connection: Content-Length", b"Content-Length: 3", body=b"abc"),
        b"abc",
    ),
    "coding named in Connection": fine(
        "RFC 9110 §7.6.1",
        message(b"Connection: Transfer-Encoding", CHUNKED, body=b"3\r\nabc\r\n" + EMPTY),
        b"abc",
    ),
}
