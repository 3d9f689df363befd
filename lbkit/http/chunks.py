"""Reading the chunked coding (RFC 9112 §7.1), strictly.

Every place where two readers could disagree about where a chunk ends is refused: a size with a sign, with
``0x``, with blanks or with more than 16 digits; a bare CR or LF anywhere in a size line or in the trailers;
extensions that are not of the grammar. Extensions that are of it mean nothing to anybody and are dropped;
all of a body together may have 16 KiB of them, so that they are no way to keep a reader busy.

All chunks that have come are joined into one piece: whoever goes on with them frames them anew anyway.
"""

from __future__ import annotations

import re

from lbkit.http.messages import Headers

__all__ = ["ChunkReader"]

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
_SIZE_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,16})((?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?)*)\r\n" % (_TOKEN, _TOKEN, _QUOTED)
)
_SIZE_BEGINNING = re.compile(rb"[0-9A-Fa-f]{1,16}(?:[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?)?\r?")
_FIELD_LINE = re.compile(rb"(%b):[\t ]*([\t\x20-\x7e\x80-\xff]*)" % _TOKEN)
_FIELD_BEGINNING = re.compile(rb"(?:%b(?::[\t\x20-\x7e\x80-\xff]*)?)?\r?" % _TOKEN)
_NAME = re.compile(_TOKEN)
_TEXT = re.compile(rb"[\t\x20-\x7e\x80-\xff]+")
_LONGEST_SIZE_LINE = 4096
_MOST_EXTENSIONS = 16 * 1024
_LARGEST = 2**63

# Where a reader is.
_SIZE, _DATA, _DATA_END, _TRAILERS, _OVER = range(5)


class ChunkReader:
    """Takes the bytes of one chunked body. `read` as often as bytes come, until `is_over`."""

    __slots__ = (
        "_data",
        "_extensions",
        "_goes_on",
        "_left",
        "_most_fields",
        "_most_held",
        "_place",
        "_room",
        "trailers",
    )

    def __init__(self, most_trailers: int = 16 * 1024, most_fields: int = 100) -> None:
        """*most_trailers*: bytes that the trailers may have; *most_fields*: how many they may be."""
        self._data = b""
        self._goes_on: re.Pattern[bytes] | None = None
        """What may follow the line that is held and leaves it as good as it is, without another look at all
        of it: else a line that comes in many pieces would cost its square."""
        self._most_held = 0
        self._place = _SIZE
        self._left = 0
        self._extensions = 0
        self._room = most_trailers
        """Bytes that the rest of the trailers may have."""
        self._most_fields = most_fields
        self.trailers: Headers = []

    @property
    def is_over(self) -> bool:
        """Whether the end has come, with the trailers."""
        return self._place == _OVER

    def read(self, data: bytes) -> bytes:
        """What *data* adds to the body. Raises ValueError where it breaks the coding."""
        held = self._data
        if held:
            goes_on = self._goes_on
            if goes_on is not None and goes_on.fullmatch(data) and len(held) + len(data) <= self._most_held:
                self._data = held + data
                return b""
            data = held + data
        self._goes_on = None
        pieces: list[bytes] = []
        position, size = 0, len(data)
        while True:
            place = self._place
            if place == _DATA:
                stop = position + self._left
                if stop > size:
                    pieces.append(data[position:])
                    self._left = stop - size
                    position = size
                    break
                pieces.append(data[position:stop])
                position = stop
                self._place = _DATA_END
            elif place == _DATA_END:
                if not data.startswith(b"\r\n", position):
                    if data[position:] not in (b"", b"\r"):
                        raise ValueError("a chunk is not followed by a line end")
                    break
                position += 2
                self._place = _SIZE
            elif place == _SIZE:
                line = _SIZE_LINE.match(data, position)
                if line is None:
                    self._check_beginning(data, position)
                    break
                position = line.end()
                self._begin_chunk(line)
            elif place == _TRAILERS:
                position = self._trailers(data, position)
                if self._place == _TRAILERS:
                    break
            else:
                break
        self._data = data[position:]
        return b"".join(pieces)

    def take_rest(self) -> bytes:
        """The bytes after the end; once, when it `is_over`."""
        rest, self._data = self._data, b""
        return rest

    def _begin_chunk(self, line: re.Match[bytes]) -> None:
        self._extensions += len(line[2])
        if self._extensions > _MOST_EXTENSIONS or line.end() - line.start() > _LONGEST_SIZE_LINE:
            raise ValueError("too many chunk extensions")
        self._left = int(line[1], 16)
        if self._left >= _LARGEST:
            raise ValueError("a chunk too large to count")
        self._place = _DATA if self._left else _TRAILERS

    def _check_beginning(self, data: bytes, position: int) -> None:
        """What has come of a size line may still become one."""
        if position == len(data):
            return
        if len(data) - position > _LONGEST_SIZE_LINE or not _SIZE_BEGINNING.fullmatch(data, position):
            raise ValueError("malformed chunk size")
        if data.find(b";", position) >= 0 and not data.endswith(b"\r"):
            self._goes_on, self._most_held = _TEXT, _LONGEST_SIZE_LINE

    def _trailers(self, data: bytes, position: int) -> int:
        """Take the lines that are complete, each once, up to the empty one; the place behind them."""
        while (end := data.find(b"\r\n", position)) >= 0:
            self._room -= end + 2 - position
            if self._room < 0:
                raise ValueError("trailers too large")
            if end == position:
                self._place = _OVER
                return end + 2
            field = _FIELD_LINE.fullmatch(data, position, end)
            if field is None:
                raise ValueError("malformed trailers")
            if len(self.trailers) >= self._most_fields:
                raise ValueError("too many trailers")
            self.trailers.append((field[1], field[2].rstrip(b" \t")))
            position = end + 2
        if len(data) - position > self._room:
            raise ValueError("trailers too large")
        if not _FIELD_BEGINNING.fullmatch(data, position):
            raise ValueError("malformed trailers")
        if not data.endswith(b"\r"):
            self._goes_on = _TEXT if data.find(b":", position) >= 0 else _NAME
            self._most_held = self._room
        return position
