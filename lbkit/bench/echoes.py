"""The client of the WebSocket benchmark: ``python -m lbkit.bench.echoes ADDRESS PATH CONNECTIONS SECONDS``.

Each connection sends a text of 64 bytes, waits until it has come back, and sends it again. The frames of a
server have a fixed form for that, so that nothing is parsed here: the client is to be no part of what is
measured. It prints the fields of `clients.Measured` as JSON. Compression is not offered: it costs much more
than what is compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from typing import cast

import uvloop

from lbkit.server import Address

__all__ = ["Echoes", "main"]

_TEXT = b"x" * 64
_MASK = b"\x01\x02\x03\x04"
_FRAME = (
    b"\x81"
    + bytes([0x80 | len(_TEXT)])
    + _MASK
    + bytes(a ^ b for a, b in zip(_TEXT, _MASK * 16, strict=True))
)
_ECHO = b"\x81" + bytes([len(_TEXT)]) + _TEXT
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3


class Echoes:
    """What all connections have seen."""

    def __init__(self, address: Address, path: str) -> None:
        self.received = 0
        self.failures = 0
        self.latencies: list[float] = []
        self.is_over = False
        self.request = (
            f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {_KEY}\r\n\r\n"
        ).encode()


class _Connection(asyncio.Protocol):
    def __init__(self, echoes: Echoes) -> None:
        self._echoes = echoes
        self._is_open = False
        self._buffer = b""
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._echoes.request)

    def data_received(self, data: bytes) -> None:
        echoes = self._echoes
        echoes.received += len(data)
        if self._buffer or not self._is_open or data != _ECHO:
            data = self._whole(data)
            if not data:
                return
        if self._sent_at:
            echoes.latencies.append(time.perf_counter() - self._sent_at)
        self._sent_at = time.perf_counter()
        self._transport.write(_FRAME)

    def _whole(self, data: bytes) -> bytes:
        """What is complete: the answer to the request or an echo; other things end the connection."""
        self._buffer += data
        if not self._is_open:
            if b"\r\n\r\n" not in self._buffer:
                return b""
            self._is_open = self._buffer.startswith(b"HTTP/1.1 101 ")
        elif len(self._buffer) < len(_ECHO):
            return b""
        elif self._buffer != _ECHO:
            self._is_open = False
        whole, self._buffer = self._buffer, b""
        if not self._is_open:
            self._transport.abort()
            return b""
        return whole

    def connection_lost(self, error: Exception | None) -> None:
        if not self._echoes.is_over:
            self._echoes.failures += 1


async def main(where: str, path: str, connections: int, seconds: float) -> None:
    """Measure, and print what came out."""
    address, loop = Address.parse(where), asyncio.get_running_loop()
    echoes = Echoes(address, path)
    transports: list[asyncio.Transport] = []
    for _ in range(connections):
        try:
            made = await loop.create_connection(lambda: _Connection(echoes), address.host, address.port)
            transports.append(made[0])
        except OSError:
            echoes.failures += 1
    await asyncio.sleep(seconds)
    echoes.is_over = True
    for transport in transports:
        with contextlib.suppress(OSError):
            transport.abort()
    sorted_latencies = sorted(echoes.latencies) or [0.0]
    count = len(echoes.latencies)
    print(
        json.dumps(
            {
                "rate": count / seconds,
                "bytes_rate": echoes.received / seconds,
                "p50_ms": 1000 * sorted_latencies[count // 2],
                "p99_ms": 1000 * sorted_latencies[count * 99 // 100],
                "requests": count,
                "failures": echoes.failures,
            }
        )
    )


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
