from __future__ import annotations

import asyncio
import os
import socket
import struct

import msgspec
import pytest

from lbkit.runtime.channel import Channel, ChannelBroken, pair
from lbkit.runtime.messages import Drain, Failed, Ready, Sockets
from tests.support.loops import on_both_loops, until


def frame(body: bytes, descriptors: int = 0) -> bytes:
    return struct.pack("!IH", len(body), descriptors) + body


def ends() -> tuple[Channel, Channel]:
    one, two = pair()
    return Channel(one), Channel(two)


@on_both_loops
async def test_messages_come_in_order_and_then_the_end() -> None:
    here, there = ends()
    here.send(Ready(1))
    here.send(Failed("ü"))
    here.close()
    assert await there.receive() == (Ready(1), [])
    assert await there.receive() == (Failed("ü"), [])
    assert await there.receive() is None
    there.close()


@on_both_loops
async def test_a_frame_that_comes_byte_by_byte() -> None:
    ours, theirs = pair()
    channel = Channel(theirs)
    receiving = asyncio.create_task(channel.receive())
    for byte in frame(b'{"type":"Failed","reason":"no"}'):
        assert not receiving.done()
        ours.send(bytes([byte]))
        await asyncio.sleep(0)
    assert await receiving == (Failed("no"), [])
    ours.close()
    channel.close()


@on_both_loops
async def test_descriptors_come_with_their_message() -> None:
    here, there = ends()
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        addresses = [one.getsockname(), two.getsockname()]
        here.send(Ready(1))
        here.send(Sockets(["one"]), [one.fileno()])
        here.send(Sockets(["two"]), [two.fileno()])
    assert await there.receive() == (Ready(1), [])
    for name, address in zip(("one", "two"), addresses, strict=True):
        received = await there.receive()
        assert received is not None and received[0] == Sockets([name])
        with socket.socket(fileno=received[1][0]) as sock:
            assert sock.getsockname() == address
    here.close()
    there.close()


@on_both_loops
async def test_what_is_not_taken_is_queued_and_how_long_is_known() -> None:
    here, there = ends()
    here.send(Ready(1))
    assert (here.queued, here.stuck_for()) == (0, 0.0)
    big = Failed("x" * 3_000_000)
    for _ in range(3):
        here.send(big)
    assert here.queued > 6_000_000
    await asyncio.sleep(0.05)
    assert here.stuck_for() >= 0.04
    assert await there.receive() == (Ready(1), [])
    for _ in range(3):
        assert await there.receive() == (big, [])
    await until(lambda: not here.queued)
    assert here.stuck_for() == 0.0
    here.close()
    there.close()


@on_both_loops
async def test_sending_to_nobody_and_closing_with_a_queue() -> None:
    here, there = ends()
    there.close()
    here.send(Drain(), [0])
    assert here.queued == 0
    assert await here.receive() is None
    here.close()
    here.send(Drain())
    here, there = ends()
    for _ in range(3):
        here.send(Failed("x" * 3_000_000), [0])
    receiving = asyncio.create_task(here.receive())
    await asyncio.sleep(0)
    here.close()
    assert await receiving is None
    there.close()


@on_both_loops
async def test_descriptors_that_nobody_took_are_closed() -> None:
    here, there = ends()
    number = os.open(os.devnull, os.O_RDONLY)
    here.send(Ready(1))
    here.send(Sockets(["x"]), [number])
    os.close(number)
    assert await there.receive() == (Ready(1), [])
    there.close()
    here.close()


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (frame(b"{}"), msgspec.ValidationError),
        (frame(b"{"), msgspec.DecodeError),
        (frame(b'{"type":"Ready","version":"one"}'), msgspec.ValidationError),
        (frame(b'{"type":"Ready","version":1,"more":1}'), msgspec.ValidationError),
        (frame(b'{"type":"Leave"}'), msgspec.ValidationError),
        (frame(b'{"type":"Drain"}', 1), ChannelBroken),
        (b"\xff" * 6, ChannelBroken),
    ],
)
async def test_what_is_no_message_is_an_error(data: bytes, error: type[Exception]) -> None:
    ours, theirs = pair()
    channel = Channel(theirs)
    ours.send(data)
    with pytest.raises(error):
        await channel.receive()
    ours.close()
    channel.close()
