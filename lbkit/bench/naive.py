"""The proxy that one would write first, on asyncio's streams: ``python -m lbkit.bench.naive LISTEN SERVER``.

Two tasks for each session, plain asyncio without uvloop. It is there to be measured, not to be used.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

from lbkit.server import Address

__all__ = ["serve"]

_CHUNK = 65_536
_BACKLOG = 4096


async def serve(listen: Address, server: Address) -> asyncio.Server:
    """Listening on *listen*, each connection is joined to one to *server*."""

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(server.host, server.port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, server_writer), _copy(server_reader, writer))
        for one in (writer, server_writer):
            one.close()

    return await asyncio.start_server(session, listen.host, listen.port, backlog=_BACKLOG)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction, until its end; a connection that breaks ends both."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
        return
    writer.close()


async def main(listen: str, server: str) -> None:
    """Serve until the process is ended."""
    async with await serve(Address.parse(listen), Address.parse(server)) as running:
        await running.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
