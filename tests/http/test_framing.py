from __future__ import annotations

import pytest

from lbkit.http.framing import BodyReader, Chunked, Counted, ToTheEnd


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_counted_body_ends_where_it_was_said(size: int) -> None:
    data, reader, body = b"abcdeGET /", Counted(5), b""
    for start in range(0, len(data), size):
        if reader.is_over:
            reader.rest += data[start : start + size]
        else:
            body += reader.read(data[start : start + size])
    assert (body, reader.rest, reader.is_over) == (b"abcde", b"GET /", True)


def test_a_body_of_nothing_is_over_at_once() -> None:
    assert Counted(0).is_over


def test_a_chunked_body() -> None:
    reader = Chunked(1000, 10)
    assert reader.read(b"1\r\na\r\n") == b"a" and not reader.is_over
    assert reader.read(b"0\r\nX: y\r\n\r\nrest") == b"" and reader.is_over
    assert (reader.trailers, reader.rest) == ([(b"X", b"y")], b"rest")


def test_a_body_that_ends_with_the_connection() -> None:
    reader = ToTheEnd()
    assert reader.read(b"abc") == b"abc" and not reader.is_over
    reader.finish()
    assert reader.is_over


@pytest.mark.parametrize("reader", [Counted(3), Chunked(100, 1)])
def test_an_end_too_early(reader: BodyReader) -> None:
    with pytest.raises(ValueError):
        reader.finish()
