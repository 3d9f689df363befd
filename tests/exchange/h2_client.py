"""An HTTP/2 client for tests, of the h2 library, over a real loopback connection without TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Callable

import h2.config
import h2.connection
import h2.events
import h2.settings

from lbkit.exchange import Handler, HttpServer, HttpSettings
from lbkit.http.messages import Headers

__all__ = ["GET", "H2Client", "h2_site"]

GET: Headers = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"a.example"),
    (b":path", b"/"),
]


class H2Client:
    """Collects what comes: heads, bodies and ends by stream, and the end of the connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, http: HttpServer) -> None:
        self.http = http
        self.reader = reader
        self.writer = writer
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.heads: dict[int, list[dict[bytes, bytes]]] = defaultdict(list)
        self.bodies: dict[int, bytes] = defaultdict(bytes)
        self.trailers: dict[int, dict[bytes, bytes]] = {}
        self.ended: set[int] = set()
        self.reset: dict[int, int] = {}
        self.goaway: tuple[int, int] | None = None
        self.is_closed = False
        self._rest = b""
        self.takes = True
        """Whether windows are opened again for what has come."""
        self._task = asyncio.create_task(self._read())

    def begin(self, window: int = 65_535) -> None:
        initial = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
        self.h2.local_settings = h2.settings.Settings(client=True, initial_values=initial)
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def request(self, *changed: tuple[bytes, bytes], end: bool = True, base: Headers = GET) -> int:
        number = self.h2.get_next_available_stream_id()
        names = {name for name, _ in changed if name.startswith(b":")}
        pseudo = [changed_or for changed_or in base if changed_or[0] not in names]
        pseudo += [field for field in changed if field[0].startswith(b":")]
        self.h2.send_headers(
            number, [*pseudo, *(field for field in changed if not field[0].startswith(b":"))], end_stream=end
        )
        self.flush()
        return number

    def body(self, number: int, data: bytes, *, end: bool = False) -> None:
        self.h2.send_data(number, data, end_stream=end)
        self.flush()

    async def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self.reader.read(65_536):
                for event in self.h2.receive_data(self._without_goaway(data)):
                    self._take(event)
                self.flush()
        self.is_closed = True
        self.writer.close()

    def _without_goaway(self, data: bytes) -> bytes:
        """Whole frames, without GOAWAY: after one the library takes nothing any more, and the protocol does."""
        self._rest += data
        frames = b""
        while len(self._rest) >= 9 and len(self._rest) >= (end := 9 + int.from_bytes(self._rest[:3], "big")):
            frame, self._rest = self._rest[:end], self._rest[end:]
            if frame[3] == 7:
                self.goaway = int.from_bytes(frame[13:17], "big"), int.from_bytes(frame[9:13], "big")
            else:
                frames += frame
        return frames

    def _take(self, event: h2.events.Event) -> None:
        number = getattr(event, "stream_id", 0) or 0
        match event:
            case h2.events.ResponseReceived() | h2.events.InformationalResponseReceived():
                self.heads[number].append(dict(event.headers or ()))
            case h2.events.TrailersReceived():
                self.trailers[number] = dict(event.headers or ())
            case h2.events.DataReceived():
                self.bodies[number] += event.data or b""
                if self.takes:
                    self.h2.acknowledge_received_data(event.flow_controlled_length or 0, number)
            case h2.events.StreamEnded():
                self.ended.add(number)
            case h2.events.StreamReset():
                self.reset[number] = int(event.error_code or 0)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.002)

    async def response(self, number: int) -> tuple[int, bytes]:
        """Status and body, when complete."""
        await self.until(lambda: number in self.ended or number in self.reset or self.is_closed)
        assert number in self.ended, (self.reset, self.goaway)
        return int(self.heads[number][-1][b":status"]), self.bodies[number]

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.writer.transport.abort()


@contextlib.asynccontextmanager
async def h2_site(
    handler: Handler,
    settings: HttpSettings | None = None,
    clock: Callable[[], float] | None = None,
    *,
    window: int = 65_535,
    begins: bool = True,
    buffer: int = 0,
) -> AsyncIterator[H2Client]:
    """A client of a server of *handler*; *buffer*: bytes that the kernel holds each way."""
    http = HttpServer(handler, settings, clock=clock)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(http.h2_protocol_factory, "127.0.0.1", 0)
    sock = socket.socket()
    sock.setblocking(False)
    if buffer:
        server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    await loop.sock_connect(sock, server.sockets[0].getsockname())
    client = H2Client(*await asyncio.open_connection(sock=sock), http)
    try:
        if begins:
            client.begin(window)
        yield client
    finally:
        await client.close()
        server.close()
        await http.close()
