"""WebSockets of applications, over real sockets, with wsproto as the client."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import Frame, FrameProtocol, Opcode

from lbkit.asgi import WebSocketSettings, serve
from lbkit.asgi.types import Message, Receive, Scope, Send
from lbkit.asgi.websocket import ClientGone
from tests.exchange.wire import Client, connected
from tests.support.loops import on_both_loops

Talk = Callable[[Scope, Receive, Send], Awaitable[None]]
HANDSHAKE = (
    b"GET /chat?a=b HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"


class Peer(FrameProtocol):
    """The client's side of an open websocket."""

    def __init__(self, client: Client, extensions: list[Any]) -> None:
        super().__init__(client=True, extensions=extensions)
        self.client = client
        self._frames: list[Frame] = []

    def say(self, data: bytes | str, fin: bool = True) -> None:
        self.client.send(self.send_data(data, fin))

    async def hear(self) -> Frame:
        """The next frame; a piece of a frame is none."""
        parts: list[Any] = []
        while True:
            while not self._frames:
                async with asyncio.timeout(5):
                    data = await self.client.reader.read(2**16)
                assert data, "the server has closed"
                self.receive_bytes(data)
                self._frames.extend(self.received_frames())
            frame = self._frames.pop(0)
            if frame.opcode.iscontrol():
                return frame
            parts.append(frame.payload)
            if frame.message_finished:
                return frame._replace(payload=parts[0][:0].join(parts))

    async def told(self) -> tuple[int, str]:
        """Code and reason of the close."""
        frame = await self.hear()
        assert frame.opcode is Opcode.CLOSE
        return frame.payload  # type: ignore[return-value]


@contextlib.asynccontextmanager
async def serving(talk: Talk, **settings: Any) -> AsyncIterator[Any]:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        await talk(scope, receive, send)

    async with serve(app, "127.0.0.1:0", websocket=WebSocketSettings(**settings)) as server:
        yield server


@contextlib.asynccontextmanager
async def opened(
    talk: Talk, fields: bytes = b"", behind: bytes = b"", **settings: Any
) -> AsyncIterator[tuple[Peer, str, Any]]:
    """The client, the head of the 101 and the server; *behind* is sent with the handshake."""
    async with serving(talk, **settings) as server, connected(server.address.port) as client:
        client.send(HANDSHAKE + fields + b"\r\n" + behind)
        head = (await client.until(b"\r\n\r\n")).decode()
        assert head.startswith("HTTP/1.1 101 Switching Protocols\r\n")
        extensions = []
        if "permessage-deflate" in head:
            extensions.append(PerMessageDeflate())
            extensions[0].finalize(head.split("xtensions: ")[1].split("\r\n")[0])
        yield Peer(client, extensions), head, server


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


@on_both_loops
async def test_text_and_bytes_come_back() -> None:
    async with opened(echo) as (peer, head, _):
        assert "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
        for word in ("", "hé", b"\x00\xff", "x" * 70_000, b"y" * 300):
            peer.say(word)
            assert (await peer.hear()).payload == word


@on_both_loops
async def test_the_scope() -> None:
    seen: list[Any] = []

    async def talk(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        headers = [(b"x-a", b"b")]
        await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][1], "headers": headers})

    async with opened(talk, b"Sec-WebSocket-Protocol: one, two\r\n") as (peer, head, _):
        assert "\r\nSec-WebSocket-Protocol: two\r\nx-a: b\r\n" in head
        assert (await peer.told())[0] == 1000
    (scope,) = seen
    assert (scope["type"], scope["scheme"], scope["path"]) == ("websocket", "ws", "/chat")
    assert scope["query_string"] == b"a=b" and scope["subprotocols"] == ["one", "two"]
    assert "method" not in scope and "websocket.http.response" in scope["extensions"]


@on_both_loops
async def test_compression_both_ways() -> None:
    text = "all work and no play makes Jack a dull boy " * 30
    async with opened(echo, DEFLATE) as (peer, _, server):
        for _ in range(3):
            peer.say(text)
            assert (await peer.hear()).payload == text
        assert server.http.counters.bytes_out < len(text)
    async with opened(echo, DEFLATE, compression=False) as (_, head, _):
        assert "deflate" not in head


@on_both_loops
async def test_fragments_byte_by_byte_with_pings_between() -> None:
    async with opened(echo, DEFLATE) as (peer, _, _):
        data = peer.send_data("é" * 100, fin=False) + peer.ping(b"1") + peer.send_data("b", fin=False)
        data += peer.ping(b"2") + peer.send_data("", fin=True)
        for byte in data:
            peer.client.send(bytes([byte]))
            await asyncio.sleep(0)
        got = [await peer.hear() for _ in range(3)]
        assert [bytes(one.payload) for one in got[:2]] == [b"1", b"2"]  # type: ignore[arg-type]
        assert got[2].payload == "é" * 100 + "b"


@on_both_loops
async def test_frames_that_come_with_the_handshake() -> None:
    early = FrameProtocol(client=True, extensions=[]).send_data("early")
    async with opened(echo, behind=early) as (peer, _, _):
        assert (await peer.hear()).payload == "early"


def masked(first: int, payload: bytes) -> bytes:
    return bytes([first, 0x80 | len(payload)]) + bytes(4) + payload


def bomb() -> bytes:
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(bytes(50_000)) + packer.flush(zlib.Z_SYNC_FLUSH)
    return masked(0xC2, packed[:-4])


@on_both_loops
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (masked(0x81, b"\xff"), 1007),
        (masked(0x01, b"\xc3") + masked(0x80, b"("), 1007),
        (masked(0x82, bytes(101)), 1009),
        (masked(0x02, bytes(60)) + masked(0x80, bytes(60)), 1009),
        (masked(0x81, ("é" * 51).encode()), 1009),
        (bomb(), 1009),
        (masked(0x83, b""), 1002),
        (masked(0xA1, b""), 1002),
        (masked(0x80, b"x"), 1002),
        (masked(0x09, b"x"), 1002),
        (b"\x81\x01x", 1002),
        (masked(0x88, b"\x03\xec"), 1002),
        (masked(0x88, b"x"), 1002),
        (masked(0x88, b"\x03\xe8\xff"), 1007),
    ],
)  # fmt: skip
async def test_what_breaks_the_protocol_ends_with_its_code(data: bytes, code: int) -> None:
    told: list[Message] = []

    async def talk(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        assert (await receive())["type"] == "websocket.connect"
        told.append(await receive())

    async with opened(talk, DEFLATE, max_message=100) as (peer, _, _):
        peer.client.send(data)
        said = await peer.told()
        assert said[0] == code and (code != 1009 or said[1] == "a message may have 100 bytes")
        assert await peer.client.rest() == b""
    assert told[0]["type"] == "websocket.disconnect" and told[0]["code"] == code


@on_both_loops
@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [(b"", 1005, ""), (b"\x03\xe8", 1000, ""), (b"\x0f\xa0bye", 4000, "bye")],
)
async def test_a_close_of_the_client_is_answered_and_told(payload: bytes, code: int, reason: str) -> None:
    told: list[Message] = []

    async def talk(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await receive()
        told.extend([await receive(), await receive()])
        with pytest.raises(ClientGone):
            await send({"type": "websocket.send", "text": "too late"})

    async with opened(talk) as (peer, _, _):
        peer.client.send(masked(0x88, payload))
        assert (await peer.told())[0] == code
        assert await peer.client.rest() == b""
    assert told == [{"type": "websocket.disconnect", "code": code, "reason": reason}] * 2


@on_both_loops
async def test_a_client_that_is_lost_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    told: asyncio.Queue[Message] = asyncio.Queue()

    async def talk(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if scope["path"] == "/chat":
            await send({"type": "websocket.accept"})
        told.put_nowait(await receive())
        await send({"type": "websocket.accept"})

    async with serving(talk) as server:
        for handshake in (HANDSHAKE, HANDSHAKE.replace(b"/chat", b"/early")):
            async with connected(server.address.port) as client:
                client.send(handshake + b"\r\n")
                if handshake is HANDSHAKE:
                    await client.until(b"\r\n\r\n")
            async with asyncio.timeout(5):
                assert (await told.get())["code"] == 1006
    assert not caplog.records


@on_both_loops
async def test_the_application_closes() -> None:
    async def talk(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        with pytest.raises(ValueError, match="1006"):
            await send({"type": "websocket.close", "code": 1006})
        await send({"type": "websocket.close", "code": 3001, "reason": "enough"})
        with pytest.raises(RuntimeError):
            await send({"type": "websocket.send", "text": "more"})

    async with opened(talk) as (peer, _, _):
        assert await peer.told() == (3001, "enough")
        peer.say("what was on its way")
        peer.client.send(peer.close(3001))
        assert await peer.client.rest() == b""


@on_both_loops
async def test_a_client_that_answers_no_close_is_cut() -> None:
    async def talk(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})

    async with opened(talk, close=0.01) as (peer, _, _):
        await peer.told()
        assert await peer.client.rest() == b""


@on_both_loops
async def test_an_application_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        raise KeyError("boom")

    async def early(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("bang")

    async def cancelled(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        raise asyncio.CancelledError("burst")

    with caplog.at_level(logging.ERROR, "lbkit.http"):
        for talk in (late, cancelled):
            async with opened(talk) as (peer, _, _):
                assert (await peer.told())[0] == 1011
                peer.client.send(peer.close(1011))
                await peer.client.rest()
        assert (await denied(early))[0] == 500
    assert all(word in caplog.text for word in ("boom", "bang", "burst"))


async def denied(talk: Talk, handshake: bytes = HANDSHAKE) -> tuple[int, dict[str, str], bytes]:
    async with serving(talk) as server, connected(server.address.port) as client:
        client.send(handshake + b"\r\n")
        return await client.response()


@on_both_loops
async def test_a_refusal_and_a_denial() -> None:
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close"})
        assert (await receive())["type"] == "websocket.disconnect"

    async def deny(scope: Scope, receive: Receive, send: Send) -> None:
        kind = "websocket.http.response"
        await send({"type": f"{kind}.start", "status": 401, "headers": [(b"x-a", b"b")]})
        await send({"type": f"{kind}.body", "body": b"who are you?"})
        assert (await receive())["type"] == "websocket.connect"
        assert (await receive())["type"] == "websocket.disconnect"

    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    assert (await denied(refuse))[0] == 403
    status, fields, body = await denied(deny)
    assert (status, fields["x-a"], body) == (401, "b", b"who are you?")
    assert (await denied(silent))[0] == 500


@on_both_loops
async def test_a_handshake_that_is_none() -> None:
    old = HANDSHAKE.replace(b"Version: 13", b"Version: 8")
    status, fields, _ = await denied(echo, old)
    assert (status, fields["sec-websocket-version"]) == (426, "13")
    assert (await denied(echo, HANDSHAKE.replace(b"dGhl", b"!!!!")))[0] == 400


@on_both_loops
@pytest.mark.parametrize("kind", ["websocket.accept", "http.response.start", "websocket.http.response.start"])
async def test_messages_out_of_turn(kind: str) -> None:
    caught: list[Exception] = []

    async def talk(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        try:
            await send({"type": kind})
        except (ValueError, RuntimeError) as error:
            caught.append(error)

    async with opened(talk) as (peer, _, _):
        await peer.told()
    assert len(caught) == 1


@on_both_loops
async def test_a_slow_application_stops_the_reading() -> None:
    go = asyncio.Event()
    count = 0

    async def talk(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal count
        await send({"type": "websocket.accept"})
        await receive()
        await go.wait()
        while (await receive())["type"] == "websocket.receive":
            count += 1

    async with opened(talk, queue=4) as (peer, _, server):
        message = peer.send_data(os.urandom(60_000))
        taken = 0
        # More than the sockets' buffers hold: it must come to a stop.
        while peer.client.writer.transport.get_write_buffer_size() < 1_000_000:
            peer.client.send(message)
            taken += 1
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert server.http.counters.bytes_in < 2_000_000
        go.set()
        peer.client.send(peer.close(1000))
        assert (await peer.told())[0] == 1000
    assert count == taken


@on_both_loops
async def test_many_small_messages_at_once_are_held_unparsed() -> None:
    async with opened(echo, queue=2) as (peer, _, _):
        peer.client.send(b"".join(peer.send_data(str(number)) for number in range(500)))
        assert [(await peer.hear()).payload for _ in range(500)] == [str(number) for number in range(500)]


@on_both_loops
async def test_a_slow_client_holds_up_send_and_its_pings_are_answered_later() -> None:
    sent = 0

    async def talk(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send({"type": "websocket.accept"})
        for _ in range(400):
            await send({"type": "websocket.send", "bytes": bytes(100_000)})
            sent += 1

    async with opened(talk) as (peer, _, _):
        peer.client.send(peer.ping(b"a") + peer.ping(b"b"))
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert sent < 400
        pongs, size = [], 0
        while (frame := await peer.hear()).opcode is not Opcode.CLOSE:
            if frame.opcode is Opcode.PONG:
                pongs.append(bytes(frame.payload))  # type: ignore[arg-type]
            else:
                size += len(frame.payload)
        assert size == 400 * 100_000 and pongs[-1] == b"b"


@on_both_loops
async def test_pings_and_who_does_not_answer_them() -> None:
    told: list[Message] = []

    async def talk(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await receive()
        told.append(await receive())

    async with opened(talk, ping=0.03, ping_timeout=0.03) as (peer, _, _):
        for _ in range(3):
            assert (await peer.hear()).opcode is Opcode.PING
            peer.client.send(peer.pong(b""))
        with contextlib.suppress(ConnectionResetError):
            await peer.client.rest()
    assert told == [{"type": "websocket.disconnect", "code": 1011, "reason": "no answer to a ping"}]


@on_both_loops
async def test_pings_go_on_while_a_client_may_still_answer() -> None:
    async with opened(echo, ping=0.02, ping_timeout=0.4) as (peer, _, _):
        for _ in range(4):
            assert (await peer.hear()).opcode is Opcode.PING
        peer.say("here")
        kinds = [(await peer.hear()).opcode for _ in range(12)]
        assert Opcode.TEXT in kinds and kinds.count(Opcode.PING) == 11
        with contextlib.suppress(ConnectionResetError):
            await peer.client.rest()


@on_both_loops
async def test_a_server_that_stops_says_so() -> None:
    told: list[Message] = []

    async def talk(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        told.append(await receive())

    async with opened(talk) as (peer, _, server):
        stopping = asyncio.create_task(server.stop())
        assert await peer.told() == (1012, "the server stops")
        peer.client.send(peer.close(1012))
        assert await stopping == 0
    assert told[0]["code"] == 1012
