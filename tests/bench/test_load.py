from __future__ import annotations

import asyncio
import time

from lbkit.bench.load import Call, Load
from lbkit.server import Address
from tests.support.backends import Backend, Talk, free_address, hold
from tests.support.loops import on_both_loops

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def answering(delay: float = 0.0, answer: bytes = OK, seen: list[bytes] | None = None) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if seen is not None:
                seen.append(head)
            await asyncio.sleep(delay)
            writer.write(answer)

    return talk


class Answers:
    def __init__(self) -> None:
        self.all: list[tuple[float, float, int]] = []

    def __call__(self, when: float, seconds: float, status: int) -> None:
        self.all.append((when, seconds, status))


@on_both_loops
async def test_requests_go_out_in_time_whether_others_are_answered_or_not() -> None:
    seen: list[bytes] = []
    async with Backend(answering(0.2, seen=seen)) as address:
        answers = Answers()
        calls: list[Call] = [(i * 0.02, 0, 0.5, None if i else b"k\n") for i in range(10)]
        began = time.monotonic()
        assert await Load([Address.parse(address)], answers).run(calls, 5) == 0
        assert time.monotonic() - began < 2, "one after the other it would be two seconds"
    assert [status for _, _, status in answers.all] == [200] * 10
    assert all(0.19 < seconds < 1 for _, seconds, _ in answers.all)
    assert b"X-Work: 0.500000000\r\nX-Key: 6b0a\r\n" in seen[0]
    assert not any(b"X-Key" in head for head in seen[1:])


@on_both_loops
async def test_connections_are_kept() -> None:
    opened = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        await answering()(reader, writer)

    async with Backend(talk) as address:
        answers = Answers()
        await Load([Address.parse(address)], answers).run([(i * 0.05, 0, 0, None) for i in range(5)], 5)
    assert (len(answers.all), opened) == (5, 1)


@on_both_loops
async def test_what_goes_wrong_is_told_too() -> None:
    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    broken = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with Backend(close) as one, Backend(answering(answer=broken)) as two:
        answers = Answers()
        balancers = [Address.parse(address) for address in (one, two, free_address())]
        await Load(balancers, answers).run([(0.0, 0, 0, None), (0.1, 1, 0, None), (0.2, 2, 0, None)], 5)
    assert [status for _, _, status in sorted(answers.all)] == [0, 503, 0]


@on_both_loops
async def test_an_answer_that_never_comes_is_counted() -> None:
    async with Backend(hold) as address:
        answers = Answers()
        calls: list[Call] = [(0.0, 0, 0, None)] * 3
        assert await Load([Address.parse(address)], answers).run(calls, 0.2) == 3
        await asyncio.sleep(0.05)
    assert answers.all == [], "and only once: not as a lost connection, too"
