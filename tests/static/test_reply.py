from __future__ import annotations

import random
from dataclasses import replace

import pytest

from lbkit.http.dates import format_date
from lbkit.http.messages import Headers, Request, get
from lbkit.http.ranges import ByteRange
from lbkit.http.targets import Target
from lbkit.static.reply import Reply, Version, reply_to

MODIFIED = 1_600_000_000
VERSION = Version(10_000, MODIFIED * 10**9, b"text/plain", ((b"Cache-Control", b"no-cache"),))
ETAG = VERSION.validators.etag
DATE, EARLIER = format_date(MODIFIED), format_date(MODIFIED - 1)


def ask(method: str = "GET", version: Version = VERSION, **fields: bytes) -> Reply:
    headers: Headers = [(name.replace("_", "-").encode(), value) for name, value in fields.items()]
    return reply_to(Request(method, Target(b"/", b"/", b""), headers), version, 1.7e9, random.Random(1))


@pytest.mark.parametrize(
    ("method", "fields", "status"),
    [
        ("GET", {}, 200),
        ("HEAD", {}, 200),
        ("GET", {"Range": b"bytes=0-1"}, 206),
        ("HEAD", {"Range": b"bytes=0-1"}, 200),  # RFC 9110 §14.2
        ("GET", {"Range": b"bytes=0-1,5000-"}, 206),
        ("GET", {"Range": b"bytes=10000-"}, 416),
        ("GET", {"Range": b"pages=1"}, 200),
        # §13.2.2: a precondition counts before a range
        ("GET", {"Range": b"bytes=0-1", "If-None-Match": ETAG}, 304),
        ("GET", {"Range": b"bytes=10000-", "If-Modified-Since": DATE}, 304),
        ("GET", {"Range": b"bytes=0-1", "If-Match": b'"other"'}, 412),
        ("GET", {"Range": b"bytes=0-1", "If-Unmodified-Since": EARLIER}, 412),
        ("GET", {"Range": b"bytes=0-1", "If-Match": ETAG, "If-None-Match": b'"other"'}, 206),
        # §13.1.5: and If-Range last, also before what cannot be satisfied
        ("GET", {"Range": b"bytes=0-1", "If-Range": ETAG}, 206),
        ("GET", {"Range": b"bytes=0-1", "If-Range": b"W/" + ETAG}, 200),
        ("GET", {"Range": b"bytes=0-1", "If-Range": b'"other"'}, 200),
        ("GET", {"Range": b"bytes=0-1", "If-Range": DATE}, 206),
        ("GET", {"Range": b"bytes=0-1", "If-Range": EARLIER}, 200),
        ("GET", {"Range": b"bytes=10000-", "If-Range": b'"other"'}, 200),
        ("GET", {"If-Range": b'"other"'}, 200),
    ],
)
def test_the_order_of_preconditions_and_ranges(method: str, fields: dict[str, bytes], status: int) -> None:
    reply = ask(method, **fields)
    assert reply.status == status
    assert reply.is_error == (status >= 400)


def test_a_304_says_what_a_cache_needs() -> None:
    # RFC 9110 §15.4.5
    reply = ask(If_None_Match=ETAG)
    assert not reply.body
    assert [name for name, _ in reply.headers] == [b"ETag", b"Last-Modified", b"Cache-Control"]
    coded = replace(VERSION, fields=((b"Vary", b"Accept-Encoding"), (b"Content-Encoding", b"gzip")))
    reply = ask(version=coded, If_None_Match=ETAG)
    assert [name for name, _ in reply.headers] == [b"ETag", b"Last-Modified", b"Vary"]


def test_one_range() -> None:
    reply = ask(Range=b"bytes=-3")
    assert reply.body == [ByteRange(9997, 10_000)]
    assert get(reply.headers, b"content-range") == b"bytes 9997-9999/10000"
    assert get(reply.headers, b"content-length") == b"3"
    assert get(reply.headers, b"content-type") == b"text/plain"


def test_several_ranges() -> None:
    reply = ask(Range=b"bytes=0-0,-1")
    boundary = (get(reply.headers, b"content-type") or b"").partition(b"multipart/byteranges; boundary=")[2]
    assert len(boundary) == 32
    literal = b"".join(piece if isinstance(piece, bytes) else b"X" * len(piece) for piece in reply.body)
    assert literal == (
        b"--%b\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-0/10000\r\n\r\nX"
        b"\r\n--%b\r\nContent-Type: text/plain\r\nContent-Range: bytes 9999-9999/10000\r\n\r\nX"
        b"\r\n--%b--\r\n" % (boundary, boundary, boundary)
    )
    assert get(reply.headers, b"content-length") == b"%d" % len(literal)
    assert get(reply.headers, b"content-range") is None


def test_a_range_out_of_the_file_says_its_size() -> None:
    assert ask(Range=b"bytes=10000-").headers == [(b"Content-Range", b"bytes */10000")]
