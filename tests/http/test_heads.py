from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.errors import BadResponse, ClientError
from lbkit.http.heads import (
    REQUEST_LINE,
    HeadBuffer,
    check_request_fields,
    check_request_head,
    check_response_fields,
    check_response_head,
)
from lbkit.http.targets import parse_target

HEAD = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


def test_a_head_comes_out_whole_and_the_rest_stays() -> None:
    buffer = HeadBuffer(100, REQUEST_LINE)
    buffer.feed(HEAD + b"rest")
    assert buffer.take() == HEAD
    assert len(buffer) == 4
    assert buffer.take_all() == b"rest"
    assert buffer.take() is None


@given(st.lists(st.integers(1, 5)))
def test_pieces_make_no_difference(sizes: list[int]) -> None:
    data = b"\r\n" + HEAD + HEAD
    buffer = HeadBuffer(100, REQUEST_LINE)
    taken = []
    while data:
        size = sizes.pop() if sizes else 1
        buffer.feed(data[:size])
        data = data[size:]
        if (head := buffer.take()) is not None:
            taken.append(head)
    if (head := buffer.take()) is not None:
        taken.append(head)
    assert taken == [HEAD, HEAD]


def test_the_limit_counts_the_whole_head() -> None:
    for limit, fits in ((len(HEAD), True), (len(HEAD) - 1, False)):
        buffer = HeadBuffer(limit, REQUEST_LINE)
        buffer.feed(HEAD)
        if fits:
            assert buffer.take() == HEAD
        else:
            with pytest.raises(OverflowError):
                buffer.take()


@pytest.mark.parametrize(
    "data", [b"\0", b" GET", b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\r\nA: b\n", b"GET /\r\n", b"EHLO mail\r\n"]
)
def test_what_cannot_become_a_head_is_refused_early(data: bytes) -> None:
    buffer = HeadBuffer(100, REQUEST_LINE)
    buffer.feed(data)
    with pytest.raises(ValueError):
        buffer.take()


def test_a_line_feed_right_after_a_scanned_carriage_return_is_fine() -> None:
    buffer = HeadBuffer(100, REQUEST_LINE)
    for byte in HEAD[:-1]:
        buffer.feed(bytes([byte]))
        assert buffer.take() is None
    buffer.feed(HEAD[-1:])
    assert buffer.take() == HEAD


def test_request_heads() -> None:
    check_request_head(HEAD)
    for head, status in ((b"GET / HTTP/3.0\r\n\r\n", 505), (b"GET / HTTP/1.1\r\n a: b\r\n\r\n", 400)):
        with pytest.raises(ClientError) as caught:
            check_request_head(head)
        assert caught.value.status == status


def test_request_fields() -> None:
    target = parse_target(b"/", "GET")
    check_request_fields([(b"host", b"h"), (b"Expect", b"100-Continue")], target, "1.1")
    check_request_fields([(b"Expect", b"anything")], target, "1.0")
    with pytest.raises(ClientError):
        check_request_fields([], target, "1.1")


@pytest.mark.parametrize(
    "line", [b"HTTP/1.1 200 OK", b"HTTP/1.0 404 ", b"HTTP/1.1 200", b"HTTP/1.1 299 \xe9 x"]
)
def test_response_heads(line: bytes) -> None:
    check_response_head(line + b"\r\nA: b\r\n\r\n")


@pytest.mark.parametrize(
    "head",
    [b"HTTP/2.0 200 OK\r\n\r\n", b"HTTP/1.1 20 OK\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n", b"HTTP/1.1  200 OK\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", b"ICY 200 OK\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", b"HTTP/1.1 099 OK\r\n\r\n"],
)  # fmt: skip
def test_malformed_response_heads(head: bytes) -> None:
    with pytest.raises(BadResponse):
        check_response_head(head)


def test_a_response_with_two_framings() -> None:
    with pytest.raises(BadResponse):
        check_response_fields([(b"Content-Length", b"1"), (b"Transfer-Encoding", b"chunked")], "1.1")
