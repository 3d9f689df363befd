"""The server behind the relays in benchmarks: the least work that is still HTTP.

``python -m lbkit.bench.answers`` listens on a free port of 127.0.0.1 and prints it. ``/small`` is 612 bytes
(the size of nginx's welcome page), ``/medium`` 64 KiB and ``/big`` 10 MB.
"""

from __future__ import annotations

import asyncio
from typing import cast

import uvloop

__all__ = ["BODIES", "Answers", "responses"]

BODIES = {b"/small": b"x" * 612, b"/medium": b"x" * 65_536, b"/big": b"x" * 10_000_000}
"""What each path answers."""
_BACKLOG = 4096


def responses(extra: bytes = b"") -> dict[bytes, bytes]:
    """Whole responses by path, each with the header line *extra*."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" + extra + b"Content-Length: %d\r\n\r\n"
    return {path: head % len(body) + body for path, body in BODIES.items()}


_KEPT = responses()
_CLOSED = responses(b"Connection: close\r\n")
_MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class Answers(asyncio.Protocol):
    """Answers whole GET requests; a head split over several reads is put together."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._head = b""

    def data_received(self, data: bytes) -> None:
        self._head += data
        while (end := self._head.find(b"\r\n\r\n")) >= 0:
            head, self._head = self._head[:end], self._head[end + 4 :]
            close = b"\r\nConnection: close" in head
            self._transport.write(
                (_CLOSED if close else _KEPT).get(head.split(b" ", 2)[1].partition(b"?")[0], _MISSING)
            )
            if close:
                self._transport.close()


async def main() -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Answers, "127.0.0.1", 0, backlog=_BACKLOG)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
