from __future__ import annotations

import contextlib
from collections.abc import Callable

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.http.chunks import ChunkReader

GOOD: dict[str, tuple[bytes, bytes]] = {
    "empty": (b"0\r\n\r\n", b""),
    "one": (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
    "two": (b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", b"abc"),
    "upper and lower case": (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2),
    "leading zeros": (b"0003\r\nabc\r\n000\r\n\r\n", b"abc"),
    "16 digits": (b"0000000000000001\r\na\r\n0\r\n\r\n", b"a"),
    "extension": (b"1;a\r\nx\r\n0;b=c\r\n\r\n", b"x"),
    "blanks in an extension": (b"1 ; a = b\r\nx\r\n0\r\n\r\n", b"x"),
    "quoted extension": (b'1;a="b\\"c;d"\r\nx\r\n0\r\n\r\n', b"x"),
    "several extensions": (b"1;a=b;c;d=e\r\nx\r\n0\r\n\r\n", b"x"),
    "line ends in the data": (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n"),
}
BAD: dict[str, bytes] = {
    "no size": b"\r\nabc",
    "sign": b"+3\r\nabc\r\n0\r\n\r\n",
    "minus": b"-3\r\nabc\r\n0\r\n\r\n",
    "0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "underscore": b"1_0\r\nabc",
    "blank before": b" 3\r\nabc\r\n0\r\n\r\n",
    "blank after": b"3 \r\nabc\r\n0\r\n\r\n",
    "17 digits": b"00000000000000003\r\nabc",
    "more than can be counted": b"8000000000000000\r\n",
    "bare LF after the size": b"3\nabc\r\n0\r\n\r\n",
    "bare CR after the size": b"3\rabc\r\n0\r\n\r\n",
    "bare LF after the data": b"3\r\nabc\n0\r\n\r\n",
    "too much data": b"3\r\nabcd\r\n0\r\n\r\n",
    "NUL in an extension": b"3;a\0b\r\nabc\r\n0\r\n\r\n",
    "bare CR in an extension": b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    "bare LF in an extension": b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    "extension without a name": b"3;\r\nabc\r\n0\r\n\r\n",
    "extension without a value": b"3;a=\r\nabc\r\n0\r\n\r\n",
    "open quote": b'3;a="b\r\nabc\r\n0\r\n\r\n',
    "no semicolon": b"3 a\r\nabc\r\n0\r\n\r\n",
    "end with bare LF": b"0\r\n\n",
    "trailer with bare LF": b"0\r\nA: b\n\r\n",
    "trailer without colon": b"0\r\nnonsense\r\n\r\n",
    "folded trailer": b"0\r\nA: b\r\n c\r\n\r\n",
    "blank before a trailer's colon": b"0\r\nA : b\r\n\r\n",
    "NUL in a trailer": b"0\r\nA: \0\r\n\r\n",
}


def read(data: bytes, size: int) -> tuple[ChunkReader, bytes]:
    reader, body = ChunkReader(), b""
    for start in range(0, len(data), size):
        body += reader.read(data[start : start + size])
    return reader, body


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("size", [1, 2, 1000])
def test_good(name: str, size: int) -> None:
    data, body = GOOD[name]
    reader, got = read(data, size)
    assert got == body and reader.is_over and reader.take_rest() == b""


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("size", [1, 2, 1000])
def test_bad(name: str, size: int) -> None:
    with pytest.raises(ValueError):
        read(BAD[name], size)


@pytest.mark.parametrize("size", [1, 1000])
def test_trailers(size: int) -> None:
    reader, _ = read(b"0\r\nA: b \r\nC:\r\n\r\n", size)
    assert reader.is_over and reader.trailers == [(b"A", b"b"), (b"C", b"")]


def test_trailers_are_read_once_each() -> None:
    """Held is only the line that has not come to its end: else many small pieces would cost their square."""
    reader = ChunkReader(most_fields=1000)
    for byte in b"0\r\n" + b"A: b\r\n" * 500:
        reader.read(bytes([byte]))
        assert len(reader._data) < 6
    assert reader.read(b"\r\n") == b"" and reader.is_over and len(reader.trailers) == 500


def test_a_line_that_drips_in_is_not_read_again_for_each_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    for name in ("_check_beginning", "_trailers"):
        method = getattr(ChunkReader, name)

        def look(
            self: ChunkReader, data: bytes, position: int, method: Callable[..., int | None] = method
        ) -> int | None:
            looks.append(len(data))
            return method(self, data, position)

        monkeypatch.setattr(ChunkReader, name, look)
    line, trailers = (
        b"1;a=" + b"b" * 1000 + b"\r\nx\r\n0\r\n",
        b"A" * 1000 + b": " + b"b" * 1000 + b"\r\n\r\n",
    )
    reader, body = read(line + trailers, 1)
    assert (body, reader.is_over, len(reader.trailers)) == (b"x", True, 1)
    assert len(looks) < 30


def test_what_follows_is_given_back() -> None:
    reader, body = read(b"1\r\na\r\n0\r\n\r\nGET / HTTP", 1000)
    assert (body, reader.take_rest()) == (b"a", b"GET / HTTP")
    assert reader.take_rest() == b""


def test_bounds() -> None:
    with pytest.raises(ValueError, match="extensions"):
        read(b"1;a=" + b"b" * 5000 + b"\r\n", 100_000)
    with pytest.raises(ValueError, match="size"):
        read(b"1;a=" + b"b" * 5000, 100)
    with pytest.raises(ValueError, match="extensions"):
        read(b"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\na\r\n" * 1000, 100_000)
    with pytest.raises(ValueError, match="large"):
        read(b"0\r\nA: " + b"b" * 20_000, 1000)
    with pytest.raises(ValueError, match="many"):
        read(b"0\r\n" + b"A: b\r\n" * 101 + b"\r\n", 100_000)


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.integers(1, 64))
def test_what_h11_writes_is_read(pieces: list[bytes], size: int) -> None:
    data = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    reader, body = read(data, size)
    assert body == b"".join(pieces) and reader.is_over


MEANINGFUL = st.sampled_from(
    [
        b"0",
        b"1",
        b"3",
        b"a",
        b"\r\n",
        b"\r",
        b"\n",
        b";",
        b"=",
        b'"',
        b" ",
        b"\t",
        b"\0",
        b"A: b",
        b":",
        b"abc",
        b"\xff",
    ]
)


def by_h11(data: bytes) -> bytes | None:
    """The body as h11 reads it; None where it refuses it or it is not complete."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    body = b""
    with contextlib.suppress(h11.RemoteProtocolError):
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return body
            elif event is h11.NEED_DATA:
                return None
    return None


@given(st.lists(MEANINGFUL, max_size=14).map(b"".join), st.integers(1, 20))
def test_whatever_is_read_means_the_same_to_h11(middle: bytes, size: int) -> None:
    """And however it is cut, it is the same."""
    data = b"1\r\nx\r\n" + middle + b"\r\n0\r\n\r\n"
    results = []
    for step in (size, len(data)):
        try:
            reader, body = read(data, step)
            results.append((body, reader.is_over))
        except ValueError:
            results.append((b"", False))
    refused = [result for result in results if not result[1]]
    if not refused:
        assert results[0] == results[1]
        assert by_h11(data) == results[0][0]
    assert len({over for _, over in results}) == 1
