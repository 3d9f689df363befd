"""What servers send, good and bad. In "kept" the section is often none of a text: it is what keeps answers apart."""

from __future__ import annotations

from tests.http.corpus.cases import Answer

__all__ = ["CASES"]

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = OK + b"Content-Length: 3\r\n\r\nabc"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
HIDDEN = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden"


def refused(section: str, data: bytes, method: str = "GET", *, ends: bool = False) -> Answer:
    return Answer(section, data, 502, kept=False, method=method, ends=ends)


def cut(section: str, data: bytes, *, ends: bool = False) -> Answer:
    """Its head is good, what follows is not."""
    return Answer(section, data, 200, kept=False, ends=ends, cut=True)


CASES: dict[str, Answer] = {
    # ---- framing (RFC 9112 §6.3) ----
    "length": Answer("RFC 9112 §6.3 rule 6", LENGTH, 200, b"abc"),
    "length of 0": Answer("RFC 9112 §6.3 rule 6", OK + b"Content-Length: 0\r\n\r\n", 200),
    "chunked": Answer("RFC 9112 §7.1", CHUNKED + b"1\r\na\r\n2;x=y\r\nbc\r\n0\r\n\r\n", 200, b"abc"),
    "trailers": Answer(
        "RFC 9112 §7.1.2", CHUNKED + b"3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n", 200, b"abc"
    ),
    "to the end": Answer("RFC 9112 §6.3 rule 8", OK + b"\r\nabc", 200, b"abc", kept=False, ends=True),
    "nothing to the end": Answer("RFC 9112 §6.3 rule 8", OK + b"\r\n", 200, kept=False, ends=True),
    "1.0": Answer(
        "RFC 9112 §9.3", b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", 200, b"abc", kept=False
    ),
    "1.0, keep-alive": Answer(
        "RFC 9112 §9.3: not relied upon",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc",
        200,
        b"abc",
        kept=False,
    ),
    "close": Answer(
        "RFC 9112 §9.6", OK + b"Connection: close\r\nContent-Length: 3\r\n\r\nabc", 200, b"abc", kept=False
    ),
    "close in a list": Answer(
        "RFC 9112 §9.6", OK + b"Connection: a, Close\r\nContent-Length: 3\r\n\r\nabc", 200, b"abc", kept=False
    ),
    "length between blanks": Answer("RFC 9112 §5.1", OK + b"Content-Length: \t3 \r\n\r\nabc", 200, b"abc"),
    "length with zeros": Answer("RFC 9110 §8.6", OK + b"Content-Length: 003\r\n\r\nabc", 200, b"abc"),
    "two framings": refused(
        "RFC 9112 §6.1", OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "two framings, coding first": refused(
        "RFC 9112 §6.1", OK + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"
    ),
    "two framings of HEAD": refused(
        "RFC 9112 §6.1", OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "HEAD"
    ),
    "two lengths": refused("RFC 9112 §6.3 rule 5", OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"),
    "two equal lengths": refused(
        "RFC 9110 §8.6: may be refused", OK + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"
    ),
    "list of lengths": refused("RFC 9112 §6.3 rule 5", OK + b"Content-Length: 3, 3\r\n\r\nabc"),
    "signed length": refused("RFC 9110 §8.6", OK + b"Content-Length: +3\r\n\r\nabc"),
    "negative length": refused("RFC 9110 §8.6", OK + b"Content-Length: -1\r\n\r\nabc"),
    "hex length": refused("RFC 9110 §8.6", OK + b"Content-Length: 0x3\r\n\r\nabc"),
    "empty length": refused("RFC 9110 §8.6", OK + b"Content-Length:\r\n\r\nabc"),
    "overlong length": refused("RFC 9110 §8.6", OK + b"Content-Length: 10000000000000000000003\r\n\r\nabc"),
    "other coding": refused("RFC 9112 §6.1", OK + b"Transfer-Encoding: gzip\r\n\r\nabc"),
    "two codings": refused("RFC 9112 §6.1", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "chunked twice": refused(
        "RFC 9112 §6.1", OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "identity": refused("RFC 9112 §7", OK + b"Transfer-Encoding: identity\r\n\r\nabc"),
    "chunked in 1.0": refused(
        "RFC 9112 §6.1", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    # ---- without a body ----
    "204": Answer("RFC 9110 §15.3.5", b"HTTP/1.1 204 N\r\n\r\n", 204),
    "204 with a length": Answer(
        "RFC 9110 §8.6: dropped", b"HTTP/1.1 204 N\r\nContent-Length: 3\r\n\r\n", 204
    ),
    "204 with a body": Answer(
        "RFC 9112 §6.3 rule 1", b"HTTP/1.1 204 N\r\nContent-Length: 3\r\n\r\nabc", 204, kept=False
    ),
    "204 with chunks": Answer(
        "RFC 9112 §6.3 rule 1",
        b"HTTP/1.1 204 N\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        204,
        kept=False,
    ),
    "304": Answer("RFC 9110 §15.4.5", b"HTTP/1.1 304 N\r\n\r\n", 304),
    "304 with a length": Answer("RFC 9110 §8.6", b"HTTP/1.1 304 N\r\nContent-Length: 3\r\n\r\n", 304),
    "304 with a body": Answer(
        "RFC 9112 §6.3 rule 1", b"HTTP/1.1 304 N\r\nContent-Length: 3\r\n\r\nabc", 304, kept=False
    ),
    "answer to HEAD": Answer("RFC 9110 §9.3.2", OK + b"Content-Length: 3\r\n\r\n", 200, method="HEAD"),
    "chunked answer to HEAD": Answer("RFC 9110 §9.3.2", CHUNKED, 200, method="HEAD"),
    "answer to HEAD without framing": Answer("RFC 9110 §9.3.2", OK + b"\r\n", 200, method="HEAD"),
    "answer to HEAD with a body": Answer("RFC 9112 §6.3 rule 1", LENGTH, 200, method="HEAD", kept=False),
    # ---- status line ----
    "no reason": Answer("RFC 9112 §4", b"HTTP/1.1 200 \r\nContent-Length: 3\r\n\r\nabc", 200, b"abc"),
    "no blank after the status": Answer(
        "RFC 9112 §4: a known fault", b"HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc", 200, b"abc"
    ),
    "reason of high bytes": Answer(
        "RFC 9112 §4", b"HTTP/1.1 200 \xe9\r\nContent-Length: 3\r\n\r\nabc", 200, b"abc"
    ),
    "unknown status": Answer("RFC 9110 §15", b"HTTP/1.1 299 X\r\nContent-Length: 3\r\n\r\nabc", 299, b"abc"),
    "garbage": refused("RFC 9112 §4", b"garbage\r\n\r\n"),
    "garbage before": refused("RFC 9112 §4", b"x" + LENGTH),
    "NUL before": refused("RFC 9112 §4", b"\0" + LENGTH),
    "empty line before": refused("RFC 9112 §4: of the answer before", b"\r\n" + LENGTH),
    "bare LF before": refused("RFC 9112 §4", b"\n" + LENGTH),
    "blank before": refused("RFC 9112 §4", b" " + LENGTH),
    "HTTP/0.9": refused("RFC 9112 §4", b"<html>hello</html>", ends=True),
    "HTTP/2": refused("RFC 9112 §4", b"HTTP/2 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
    "HTTP/1.2": refused("RFC 9112 §4", b"HTTP/1.2 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
    "another protocol": refused("RFC 9112 §4", b"ICY 200 OK\r\n\r\n"),
    "version in lower case": refused("RFC 9112 §2.3", b"http/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
    "two blanks": refused("RFC 9112 §4", b"HTTP/1.1  200 OK\r\nContent-Length: 3\r\n\r\nabc"),
    "tab for blank": refused("RFC 9112 §4", b"HTTP/1.1\t200 OK\r\nContent-Length: 3\r\n\r\nabc"),
    "two digits": refused("RFC 9110 §15", b"HTTP/1.1 20 OK\r\nContent-Length: 3\r\n\r\nabc"),
    "four digits": refused("RFC 9110 §15", b"HTTP/1.1 2000 OK\r\nContent-Length: 3\r\n\r\nabc"),
    "status 099": refused("RFC 9110 §15", b"HTTP/1.1 099 OK\r\nContent-Length: 3\r\n\r\nabc"),
    "status of letters": refused("RFC 9110 §15", b"HTTP/1.1 OK\r\nContent-Length: 3\r\n\r\nabc"),
    "status with a sign": refused("RFC 9110 §15", b"HTTP/1.1 +20 OK\r\nContent-Length: 3\r\n\r\nabc"),
    "control in the reason": refused("RFC 9112 §4", b"HTTP/1.1 200 O\x01K\r\nContent-Length: 3\r\n\r\nabc"),
    # ---- fields ----
    "fields of one name": Answer(
        "RFC 9110 §5.3",
        OK + b"Set-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Length: 3\r\n\r\nabc",
        200,
        b"abc",
    ),
    "100 fields": Answer(
        "RFC 9110 §5.4: a limit", OK + b"A: b\r\n" * 99 + b"Content-Length: 3\r\n\r\nabc", 200, b"abc"
    ),
    "101 fields": refused("RFC 9110 §5.4: a limit", OK + b"A: b\r\n" * 100 + b"Content-Length: 3\r\n\r\nabc"),
    "large field": refused("RFC 9110 §5.4: a limit", OK + b"A: " + b"b" * 17_000),
    "bare LF": refused("RFC 9112 §2.2", b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc"),
    "bare LF after a field": refused(
        "response splitting", OK + b"A: b\nSet-Cookie: x=y\r\nContent-Length: 3\r\n\r\nabc"
    ),
    "bare CR in a value": refused(
        "response splitting", OK + b"A: b\rSet-Cookie: x=y\r\nContent-Length: 3\r\n\r\nabc"
    ),
    "NUL in a value": refused("RFC 9110 §5.5", OK + b"A: \0\r\nContent-Length: 3\r\n\r\nabc"),
    "folded value": refused(
        "RFC 9112 §5.2: may be refused", OK + b"A: b\r\n c\r\nContent-Length: 3\r\n\r\nabc"
    ),
    "blank before colon": refused("RFC 9112 §5.1: may be refused", OK + b"Content-Length : 3\r\n\r\nabc"),
    "no colon": refused("RFC 9112 §5", OK + b"nonsense\r\nContent-Length: 3\r\n\r\nabc"),
    "no name": refused("RFC 9112 §5", OK + b": b\r\nContent-Length: 3\r\n\r\nabc"),
    # ---- interim answers ----
    "100 unasked": Answer("RFC 9110 §15.2", b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH, 200, b"abc"),
    "102 and 103": Answer(
        "RFC 9110 §15.2", b"HTTP/1.1 102 P\r\n\r\nHTTP/1.1 103 E\r\nLink: x\r\n\r\n" + LENGTH, 200, b"abc"
    ),
    "199": Answer("RFC 9110 §15.2", b"HTTP/1.1 199 X\r\n\r\n" + LENGTH, 200, b"abc"),
    "interim with a length": Answer(
        "RFC 9112 §6.3 rule 1", b"HTTP/1.1 103 E\r\nContent-Length: 3\r\n\r\n" + LENGTH, 200, b"abc"
    ),
    "interim and no more": refused("RFC 9110 §15.2", b"HTTP/1.1 103 E\r\n\r\n", ends=True),
    "32 interim answers": Answer("a limit", b"HTTP/1.1 102 P\r\n\r\n" * 32 + LENGTH, 200, b"abc"),
    "33 interim answers": refused("a limit", b"HTTP/1.1 102 P\r\n\r\n" * 33 + LENGTH),
    "101 unasked": refused(
        "RFC 9110 §15.2.2", b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    ),
    "101 unasked and an answer": refused(
        "RFC 9110 §15.2.2", b"HTTP/1.1 101 S\r\nUpgrade: h2c\r\n\r\n" + LENGTH
    ),
    # ---- behind the end ----
    "a second answer": Answer("an answer nobody asked for", LENGTH + HIDDEN, 200, b"abc", kept=False),
    "a second answer behind chunks": Answer(
        "an answer nobody asked for", CHUNKED + b"0\r\n\r\n" + HIDDEN, 200, kept=False
    ),
    "a second answer behind 204": Answer(
        "an answer nobody asked for", b"HTTP/1.1 204 N\r\n\r\n" + HIDDEN, 204, kept=False
    ),
    "an empty line behind": Answer("RFC 9112 §2.2", LENGTH + b"\r\n", 200, b"abc", kept=False),
    "a byte too many": Answer("RFC 9112 §6.3", LENGTH + b"d", 200, b"abc", kept=False),
    # ---- broken bodies ----
    "too short": cut("RFC 9112 §8", OK + b"Content-Length: 3\r\n\r\nab", ends=True),
    "chunks cut": cut("RFC 9112 §8", CHUNKED + b"3\r\nabc\r\n", ends=True),
    "chunk cut": cut("RFC 9112 §8", CHUNKED + b"3\r\nab", ends=True),
    "no chunk size": cut("RFC 9112 §7.1", CHUNKED + b"abx\r\n"),
    "chunk size with sign": cut("RFC 9112 §7.1", CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n"),
    "chunk size with bare LF": cut("RFC 9112 §7.1", CHUNKED + b"3\nabc\r\n0\r\n\r\n"),
    "bare CR in a chunk extension": cut("RFC 9112 §7.1.1", CHUNKED + b"3;\r\rabc\r\n0\r\n\r\n"),
    "chunk size too large": cut("RFC 9112 §7.1", CHUNKED + b"fffffffffffffffff\r\nabc"),
    "chunk too long": cut("RFC 9112 §7.1", CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n"),
    "malformed trailer": cut("RFC 9112 §5", CHUNKED + b"0\r\nnonsense\r\n\r\n"),
    # ---- no answer ----
    "nothing": refused("RFC 9112 §9.3.1", b"", ends=True),
    "half a head": refused("RFC 9112 §8", b"HTTP/1.1 200 OK\r\nContent-Le", ends=True),
}
