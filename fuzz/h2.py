"""HTTP/2: what is counted of frames, and heads of requests."""

from __future__ import annotations

from fuzz.target import Target, agree, pieces
from lbkit.errors import ClientError
from lbkit.http.engine import ClientEngine, Limits, ServerEngine
from lbkit.http.h2_guard import FrameGuard, H2Limits
from lbkit.http.h2_requests import request_of
from lbkit.http.messages import Request, get_all, without

__all__ = ["TARGETS"]

ROOMY = Limits(head_size=64 * 1024, fields=200)  # for the few that are added on the way
FEW = H2Limits(resets=2, frames=4, windows=4, block_frames=3, block_size=64)


def counted(data: bytes, size: int) -> object:
    guard = FrameGuard(FEW, 0.0)
    try:
        for piece in pieces(data, size):
            guard.feed(piece, 0.0)
    except ClientError as error:
        return error.status, str(error)
    return guard.in_block


def check_frames(data: bytes) -> None:
    """However they are cut, it is the same."""
    size, data = data[0] % 16 + 1 if data else 1, data[1:]
    agree([("whole", counted(data, len(data) or 1)), ("in pieces", counted(data, size))])


def check_heads(data: bytes) -> None:
    """What is let through can be sent on as HTTP/1.1, and is read there as the same."""
    has_ended, data = not data[:1] > b"\x7f", data[1:]
    fields = [(name, value) for name, _, value in (line.rpartition(b"=") for line in data.split(b"\n"))]
    try:
        request = request_of(fields, has_ended=has_ended, limits=Limits())
    except ClientError as error:
        assert error.status in (400, 417, 431, 501)
        return
    headers = without(request.headers, {b"expect"})
    writer, reader = ClientEngine(), ServerEngine(ROOMY)
    reader.receive(writer.request(request.method, request.target.origin_form, headers))
    again = reader.next_event()
    assert isinstance(again, Request)
    assert (again.method, again.path, again.headers) == (request.method, request.path, headers)
    assert again.has_body == request.has_body or get_all(headers, b"content-length") == [b"0"]


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAMES = tuple(
    b"\6"
    + PREFACE
    + b"\0\0\0\4\0\0\0\0\0"
    + length.to_bytes(3, "big")
    + bytes([kind, flags])
    + b"\0\0\0\1"
    + b"x" * length
    for kind in range(10)
    for flags in (0, 1, 4, 5)
    for length in (0, 5)
)
HEAD = b":method=GET\n:scheme=https\n:authority=a.example\n:path=/a?b"
TARGETS = (
    Target("h2-frames", check_frames, FRAMES),
    Target(
        "h2-heads",
        check_heads,
        tuple(
            first + HEAD + rest
            for first in (b"\0", b"\xff")
            for rest in (
                b"",
                b"\ncookie=a=b",
                b"\ncontent-length=3",
                b"\nte=trailers",
                b"\nhost=a.example",
                b"\nexpect=100-continue",
            )
        ),
    ),
)
