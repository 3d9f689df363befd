"""The conformance suite that every registered relay passes, at each age of a session."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import select
import socket
from collections.abc import Iterator

import pytest

from lbkit.relay import RELAYS, RelayEnd, choose_relay
from lbkit.relay.resources import BUFFER
from tests.relay.joined import AGES, Joined, reset, resources
from tests.support.loops import on_both_loops, until

every_relay = pytest.mark.parametrize("name", list(RELAYS))
every_age = pytest.mark.parametrize("age", AGES)

EDGES = (1448, 4096, 16_384, 32_768, 65_536, BUFFER)
SIZES = sorted({0, 1, 2, 1000, 70_000, 1_000_000, *(edge + by for edge in EDGES for by in (-1, 0, 1))})


@pytest.fixture(autouse=True)
def nothing_is_warned_of(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert not [record for record in caplog.get_records("call") if record.levelno >= logging.WARNING]


@pytest.fixture(autouse=True)
def it_works_here(request: pytest.FixtureRequest) -> None:
    name = getattr(request.node, "callspec", None) and request.node.callspec.params.get("name")
    if name and (reason := RELAYS[name].factory.unsupported()):
        pytest.skip(f"relay {name}: {reason}")


@every_relay
@every_age
@on_both_loops
async def test_every_byte_arrives_both_ways_at_once(name: str, age: str) -> None:
    async with resources() as shared:
        for size in SIZES:
            async with Joined(name, shared, age=age) as joined:
                request, response = random.Random(1).randbytes(size), random.Random(2).randbytes(size)
                at_server, at_client, *_ = await asyncio.gather(
                    joined.read_all(joined.server),
                    joined.read_all(joined.client),
                    joined.send_and_shut(joined.client, request),
                    joined.send_and_shut(joined.server, response),
                )
                assert at_server == request, size
                assert at_client == response, size
                assert await joined.end() is RelayEnd.DONE
                assert joined.counts == (size + joined.warm_up, size + joined.warm_up)


@every_relay
@every_age
@on_both_loops
async def test_random_chunks_at_random_moments(name: str, age: str) -> None:
    rng = random.Random(5)

    async def send(joined: Joined, sock: socket.socket, data: bytes) -> None:
        at = 0
        while at < len(data):
            size = rng.choice((1, 7, 100, 1448, 5000, 70_000, 300_000))
            await joined.loop.sock_sendall(sock, data[at : at + size])
            at += size
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(0)
        sock.shutdown(socket.SHUT_WR)

    async with resources() as shared:
        for _ in range(5):
            async with Joined(name, shared, age=age) as joined:
                there, back = rng.randbytes(rng.randrange(2_000_000)), rng.randbytes(rng.randrange(2_000_000))
                at_server, at_client, *_ = await asyncio.gather(
                    joined.read_all(joined.server),
                    joined.read_all(joined.client),
                    send(joined, joined.client, there),
                    send(joined, joined.server, back),
                )
                assert at_server == there
                assert at_client == back
                assert await joined.end() is RelayEnd.DONE


@every_relay
@every_age
@on_both_loops
async def test_a_half_close_is_passed_on_and_the_answer_still_comes(name: str, age: str) -> None:
    async with resources() as shared, Joined(name, shared, age=age) as joined:
        await joined.send_and_shut(joined.client, b"request")
        assert await joined.read_all(joined.server) == b"request"
        for _ in range(3):
            await joined.pass_on(joined.server, joined.client, b"part")
        await joined.send_and_shut(joined.server, b"answer")
        assert await joined.read_all(joined.client) == b"answer"
        assert await joined.end() is RelayEnd.DONE


@every_relay
@every_age
@on_both_loops
async def test_a_server_that_speaks_and_leaves_first(name: str, age: str) -> None:
    async with resources() as shared, Joined(name, shared, age=age) as joined:
        await joined.send_and_shut(joined.server, b"greeting")
        assert await joined.read_all(joined.client) == b"greeting"
        await joined.pass_on(joined.client, joined.server, b"more")
        await joined.send_and_shut(joined.client, b"thanks")
        assert await joined.read_all(joined.server) == b"thanks"
        assert await joined.end() is RelayEnd.DONE


@every_relay
@every_age
@on_both_loops
async def test_a_reset_of_the_client_reaches_the_server(name: str, age: str) -> None:
    async with resources() as shared, Joined(name, shared, age=age) as joined:
        await joined.pass_on(joined.client, joined.server, b"x")
        reset(joined.client)
        with pytest.raises(ConnectionResetError):
            await joined.read_all(joined.server)
        assert await joined.end() is RelayEnd.CLIENT_RESET


@every_relay
@every_age
@on_both_loops
async def test_a_reset_of_the_server_reaches_the_client(name: str, age: str) -> None:
    async with resources() as shared, Joined(name, shared, age=age) as joined:
        await joined.pass_on(joined.server, joined.client, b"x")
        reset(joined.server)
        with pytest.raises(ConnectionResetError):
            await joined.read_all(joined.client)
        assert await joined.end() is RelayEnd.SERVER_RESET


@every_relay
@every_age
@on_both_loops
async def test_what_came_before_a_reset_is_passed_on(name: str, age: str) -> None:
    """A server that answers and closes with bytes unread sends its answer and then a reset."""
    async with resources() as shared:
        for size in (1000, 20_000, 60_000) * 5:
            async with Joined(name, shared, age=age) as joined:
                answer = random.Random(size).randbytes(size)
                joined.client.send(b"what nobody reads")
                while not select.select([joined.server], [], [], 0)[0]:
                    await asyncio.sleep(0.001)
                joined.server.send(answer)
                joined.server.close()
                received = bytearray()
                with contextlib.suppress(ConnectionResetError):
                    while data := await joined.loop.sock_recv(joined.client, 65536):
                        received += data
                assert received == answer
                assert await joined.end() is RelayEnd.SERVER_RESET


@every_relay
@every_age
@on_both_loops
async def test_a_server_gone_in_mid_stream(name: str, age: str) -> None:
    """It leaves while the client sends: the client hears of it, and nothing is left open."""
    async with resources() as shared, Joined(name, shared, age=age) as joined:

        async def send_on() -> None:
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                async with asyncio.timeout(20):
                    while True:
                        await joined.loop.sock_sendall(joined.client, bytes(65536))

        sending = asyncio.create_task(send_on())
        await joined.read(joined.server, 500_000)
        joined.server.close()  # with bytes unread, so that the kernel sends a reset
        await sending
        assert await joined.end() is RelayEnd.SERVER_RESET


@every_relay
@every_age
@on_both_loops
async def test_memory_is_bounded_with_a_slow_reader(name: str, age: str) -> None:
    """The sender stands still long before what nobody reads is in our memory."""
    async with resources() as shared, Joined(name, shared, age=age) as joined:
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 400_000_000:
                async with asyncio.timeout(0.3):
                    await joined.loop.sock_sendall(joined.server, bytes(65536))
                sent += 65536
        client_side, server_side = joined.relay.progress()
        assert server_side - client_side < 50_000_000, (
            "bytes taken from the server and not given to the client"
        )
        assert sent < 100_000_000
        reset(joined.client)
        await joined.end()


@every_relay
@every_age
@on_both_loops
async def test_a_slow_reader_gets_the_tail(name: str, age: str) -> None:
    async with resources() as shared, Joined(name, shared, age=age) as joined:
        data = random.Random(3).randbytes(3_000_000)
        sending = asyncio.create_task(joined.send_and_shut(joined.server, data))
        joined.client.shutdown(socket.SHUT_WR)
        received = bytearray()
        async with asyncio.timeout(30):
            while chunk := await joined.loop.sock_recv(joined.client, 4096):
                received += chunk
        await sending
        assert bytes(received) == data
        assert await joined.end() is RelayEnd.DONE


@every_relay
@every_age
@on_both_loops
async def test_a_reader_that_wakes_up_late_gets_the_tail(name: str, age: str) -> None:
    """The server has sent everything and left before the client reads its first byte."""
    async with resources() as shared, Joined(name, shared, age=age) as joined:
        data = random.Random(4).randbytes(12_000_000)
        sending = asyncio.create_task(joined.send_and_shut(joined.server, data))
        await asyncio.wait([sending], timeout=0.5)
        assert await joined.read_all(joined.client) == data
        await sending
        joined.client.shutdown(socket.SHUT_WR)
        assert await joined.end() is RelayEnd.DONE
        assert joined.counts == (joined.warm_up, len(data) + joined.warm_up)


@every_relay
@every_age
@on_both_loops
async def test_a_slow_writer(name: str, age: str) -> None:
    async with resources() as shared, Joined(name, shared, age=age) as joined:
        for number in range(200):
            await joined.pass_on(joined.client, joined.server, b"%d" % number)
        await joined.send_and_shut(joined.client, b"end")
        assert await joined.read_all(joined.server) == b"end"


@every_relay
@every_age
@on_both_loops
async def test_urgent_data_does_not_stop_the_rest(name: str, age: str) -> None:
    """A read stops at the urgent byte, which no relay passes on as such (RFC 6093); what follows arrives."""
    async with resources() as shared, Joined(name, shared, age=age) as joined:
        joined.client.send(b"before")
        joined.client.send(b"!", socket.MSG_OOB)
        joined.client.send(b"after")
        received = b""
        async with asyncio.timeout(5):
            while not received.endswith(b"after"):
                received += await joined.loop.sock_recv(joined.server, 100)
        assert received in (b"beforeafter", b"before!after")


@every_relay
@every_age
@on_both_loops
async def test_abort_closes_both_sides(name: str, age: str) -> None:
    async with resources() as shared, Joined(name, shared, age=age) as joined:
        await joined.pass_on(joined.client, joined.server, b"x")
        joined.relay.abort()
        assert await joined.end() is RelayEnd.ABORTED
        assert await joined.read_all(joined.server) == b""
        assert await joined.read_all(joined.client) == b""


@every_relay
@on_both_loops
async def test_abort_before_the_first_byte(name: str) -> None:
    async with resources() as shared, Joined(name, shared) as joined:
        joined.relay.abort()
        assert await joined.end() is RelayEnd.ABORTED


@every_relay
@on_both_loops
async def test_what_came_before_the_start_is_passed_on(name: str) -> None:
    """Both sockets hold bytes, and one its end, before the relay starts."""
    async with resources() as shared:
        joined = Joined(name, shared)
        joined.client.sendall(b"early")
        joined.client.shutdown(socket.SHUT_WR)
        joined.server.sendall(b"greeting")
        async with joined:
            assert await joined.read_all(joined.server) == b"early"
            assert await joined.read(joined.client, 8) == b"greeting"
            joined.server.shutdown(socket.SHUT_WR)
            assert await joined.end() is RelayEnd.DONE


@every_relay
@on_both_loops
async def test_a_server_that_is_gone_before_the_start(name: str) -> None:
    async with resources() as shared:
        joined = Joined(name, shared)
        joined.client.sendall(b"x")
        joined.server.close()
        async with joined:
            joined.client.shutdown(socket.SHUT_WR)
            await joined.end()


@every_relay
@on_both_loops
async def test_a_client_that_has_reset_before_the_start(name: str) -> None:
    async with resources() as shared:
        joined = Joined(name, shared)
        reset(joined.client)
        async with joined:
            assert await joined.end() is RelayEnd.CLIENT_RESET
            with pytest.raises(ConnectionResetError):
                await joined.read_all(joined.server)


@every_relay
@every_age
@on_both_loops
async def test_progress_counts_each_side(name: str, age: str) -> None:
    async with resources() as shared, Joined(name, shared, age=age) as joined:
        before = joined.relay.progress()
        await joined.pass_on(joined.client, joined.server, b"12345")
        await until(lambda: all(b - a >= 5 for a, b in zip(before, joined.relay.progress(), strict=True)))
        assert (joined.relay.bytes_in, joined.relay.bytes_out) == (5 + joined.warm_up, joined.warm_up)


@every_relay
@on_both_loops
async def test_the_servers_first_byte_is_told_once(name: str) -> None:
    heard: list[int] = []
    async with resources() as shared, Joined(name, shared, on_first_byte=lambda: heard.append(1)) as joined:
        for _ in range(3):
            await joined.pass_on(joined.client, joined.server, b"question")
        assert not heard
        for _ in range(3):
            await joined.pass_on(joined.server, joined.client, b"answer")
        assert heard == [1]


@every_relay
@on_both_loops
async def test_unix_sockets(name: str) -> None:
    def pair() -> tuple[socket.socket, socket.socket]:
        pair = socket.socketpair()
        for sock in pair:
            sock.setblocking(False)
        return pair

    data = random.Random(6).randbytes(1_000_000)
    async with resources() as shared, Joined(name, shared, pair=pair) as joined:
        for _ in range(4):
            await joined.pass_on(joined.client, joined.server, b"question")
        sending = asyncio.create_task(joined.send_and_shut(joined.server, data))
        assert await joined.read_all(joined.client) == data
        await sending
        joined.client.shutdown(socket.SHUT_WR)
        assert await joined.end() is RelayEnd.DONE


@every_relay
@every_age
@on_both_loops
async def test_a_thousand_sessions_at_once(name: str, age: str) -> None:
    async def talk(joined: Joined, data: bytes) -> None:
        async with joined:
            sending = asyncio.create_task(joined.send_and_shut(joined.client, data))
            assert await joined.read_all(joined.server) == data
            await sending
            sending = asyncio.create_task(joined.send_and_shut(joined.server, data[::-1]))
            assert await joined.read_all(joined.client) == data[::-1]
            await sending
            assert await joined.end() is RelayEnd.DONE

    rng = random.Random(4)
    async with resources() as shared:
        sessions = [Joined(name, shared, age=age) for _ in range(1000)]
        await asyncio.gather(*(talk(joined, rng.randbytes(rng.randrange(20_000))) for joined in sessions))


# ---- which one is taken ----


def test_auto_takes_the_preferred_one_that_works() -> None:
    best = max(
        (entry.factory for entry in RELAYS.values() if not entry.factory.unsupported()),
        key=lambda r: r.preference,
    )
    assert choose_relay("auto") is best.for_auto()


def test_those_passed_over_are_named_once_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for name in RELAYS.keys() - {"stream"}:
        monkeypatch.setattr(RELAYS[name].factory, "unsupported", lambda name=name: f"no {name} today")
    for _ in range(3):
        assert choose_relay("auto") is RELAYS["stream"].factory
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "relay sockmap passed over: no sockmap today",
        "relay splice passed over: no splice today",
    ]


def test_a_relay_that_cannot_work_here_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RELAYS["stream"].factory, "unsupported", lambda: "no luck")
    with pytest.raises(ValueError, match='relay "stream" cannot be used here: no luck'):
        choose_relay("stream")


def test_where_tls_is_opened_auto_takes_the_one_that_can(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(3):
        assert choose_relay("auto", opens_tls=True).__name__ == "StreamRelay"
    assert caplog.text.count("relay stream taken where TLS is opened") <= 1, "said once in a process"
