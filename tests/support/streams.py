"""Streams of several requests, mutated: what smuggling is made of. And what the engine reads of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

from lbkit.errors import ClientError
from lbkit.http.engine import ServerEngine
from lbkit.http.messages import Body, End, Request
from tests.http.corpus import REQUESTS
from tests.support.recording import Echo

__all__ = ["CORPUS", "STREAMS", "Reading", "read_stream"]

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a.example\r\n\r\n"
CORPUS = [case.data for case in REQUESTS.values() if len(case.data) < 2000]

LINES = st.builds(
    b"%b %b %b".__mod__,
    st.tuples(
        st.sampled_from([b"GET", b"POST", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"DELETE", b"BREW"]),
        st.sampled_from([b"/a", b"/b?c=d", b"/a%20b", b"/c/../d", b"http://b.example/e", b"*"]),
        st.sampled_from([b"HTTP/1.1"] * 9 + [b"HTTP/1.0"]),
    ),
)
FIELDS = st.lists(
    st.sampled_from(
        [
            b"A: b",
            b"X-Odd:1",
            b"Connection: keep-alive",
            b"Connection: close",
            b"Connection: Content-Length",
            b"Expect: 100-continue",
            b"Upgrade: h2c",
            b"TE: trailers",
            b"Cookie: a=b",
            b"Transfer_Encoding: chunked",
            b"Content-Length: 0",
            b"A: b \t",
            b"X-Forwarded-For: 192.0.2.1",
        ]
    ),
    max_size=3,
)
CONTENTS = st.lists(
    st.sampled_from([b"", b"a", b"abc", HIDDEN, b"0\r\n\r\n", b"\r\n", b"\0", b"GET "]), max_size=3
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request, mostly a good one; its body may look like another one."""
    pieces = draw(CONTENTS)
    body, fields = b"".join(pieces), draw(FIELDS)
    kind = draw(
        st.sampled_from(["none", "length", "length", "chunked", "chunked", "both", "wrong", "obscured"])
    )
    sent = b"".join(
        b"%x%b\r\n%b\r\n" % (len(piece), draw(st.sampled_from([b"", b"", b";x", b";x=y"])), piece)
        for piece in pieces
        if piece
    )
    sent += b"0\r\n" + draw(st.sampled_from([b"", b"", b"A: b\r\n", b"Content-Length: 5\r\n"])) + b"\r\n"
    length = b"Content-Length: %d"
    if kind == "none":
        body = b""
    elif kind == "length":
        fields.append(length % len(body))
    elif kind == "wrong":
        fields.append(length % draw(st.integers(0, 60)))
    elif kind == "both":
        fields += draw(st.permutations([b"Transfer-Encoding: chunked", length % len(sent)]))
        body = sent
    else:
        coding = [b"Transfer-Encoding: chunked"]
        if kind == "obscured":
            coding = [draw(st.sampled_from([b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding : chunked", b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding:\tchunked ", b"transfer-encoding:CHUNKED", b"X: y\nTransfer-Encoding: chunked"]))]  # fmt: skip
        fields, body = fields + coding, sent
    return b"\r\n".join([draw(LINES), b"Host: a.example", *fields, b"", body])


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """One to four requests one behind the other, and up to two places damaged."""
    data = b"".join(draw(st.lists(requests() | st.sampled_from(CORPUS), min_size=1, max_size=4)))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        start = draw(st.integers(0, len(data)))
        stop = min(len(data), start + draw(st.integers(0, 3)))
        piece = draw(
            st.sampled_from(
                [b"", b"\r", b"\n", b"\r\n", b" ", b":", b";", b"\0", b"0", b"1", b"\t", b"chunked", b"\xff"]
            )
        )
        data = data[:start] + piece + data[stop:]
    return data


STREAMS = streams()


@dataclass(slots=True)
class Reading:
    """What the engine makes of a stream when every request is answered."""

    requests: list[Echo] = field(default_factory=list)
    """Whole ones."""
    refusal: int = 0
    """The status for what follows them, 0 where nothing is refused."""
    refused: str = "GET"
    """The method of what is refused, where its head was good: an answer to HEAD has no body."""
    closes: bool = False
    """Whether the connection is over after that."""


def read_stream(data: bytes) -> Reading:
    """Of *data* at once."""
    engine, reading = ServerEngine(), Reading()
    engine.receive(data)
    target, body, method = "", b"", ""
    try:
        while (event := engine.next_event()) is not None:
            if isinstance(event, Request):
                method, target, body = event.method, event.target.origin_form.decode(), b""
            elif isinstance(event, Body):
                body += event.data
            elif isinstance(event, End):
                reading.requests.append((method, target, body))
                engine.start(200, [(b"Content-Length", b"0")], b"")
                engine.end()
                if not engine.keeps_alive:
                    reading.closes = True
                    break
                engine.next_cycle()
    except ClientError as error:
        reading.refusal, reading.closes = error.status, True
        reading.refused = "GET" if engine.awaits_head else method
    return reading
