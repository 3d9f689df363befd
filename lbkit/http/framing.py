"""Where a message's body ends (RFC 9112 §6.3), for reading and for writing.

A reader takes bytes as they come and gives the body's; `rest` are those behind its end. The three kinds are
small classes of one shape, so that the engine has no branch for each.
"""

from __future__ import annotations

from lbkit.http.chunks import ChunkReader
from lbkit.http.messages import Headers

__all__ = ["BodyReader", "Chunked", "Counted", "ToTheEnd"]


class BodyReader:
    """One body. `read` until `is_over`; `finish` when the other side sends no more."""

    __slots__ = ("is_over", "rest", "trailers")

    def __init__(self) -> None:
        self.is_over = False
        self.rest = b""
        """What came behind the end."""
        self.trailers: Headers = []

    def read(self, data: bytes) -> bytes:
        """The body's bytes in *data*, as far as they are complete. Raises ValueError."""
        raise NotImplementedError

    def finish(self) -> None:
        """There is no more. Raises ValueError where the body needs more."""
        if not self.is_over:
            raise ValueError("the body is not complete")


class Counted(BodyReader):
    """A body of as many bytes as Content-Length said."""

    __slots__ = ("left",)

    def __init__(self, length: int) -> None:
        super().__init__()
        self.left = length
        self.is_over = not length

    def read(self, data: bytes) -> bytes:
        left = self.left = self.left - len(data)
        if left > 0:
            return data
        self.is_over = True
        if left:
            self.left = 0
            self.rest += data[left:]
            return data[:left]
        return data


class Chunked(BodyReader):
    """A body in the chunked coding."""

    __slots__ = ("_chunks",)

    def __init__(self, most_trailers: int, most_fields: int) -> None:
        super().__init__()
        self._chunks = ChunkReader(most_trailers, most_fields)

    def read(self, data: bytes) -> bytes:
        chunks = self._chunks
        body = chunks.read(data)
        if chunks.is_over:
            self.is_over = True
            self.rest += chunks.take_rest()
            self.trailers = chunks.trailers
        return body


class ToTheEnd(BodyReader):
    """A body that ends with the connection."""

    __slots__ = ()

    def read(self, data: bytes) -> bytes:
        return data

    def finish(self) -> None:
        self.is_over = True
