from __future__ import annotations

import asyncio

import pytest
from h2.settings import SettingCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given
from hypothesis import strategies as st

from lbkit.errors import ClientError, ConnectFailed, NoServerAvailable, ServerTimeout
from lbkit.exchange import Exchange, HttpServer, HttpSettings
from lbkit.http.h2_guard import H2Limits
from lbkit.http.rewriting import Changes
from tests.exchange.h2_client import GET, H2Client, h2_site

ENHANCE_YOUR_CALM = 11
REFUSED_STREAM = 7


class Now:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


async def hello(exchange: Exchange) -> None:
    await exchange.respond(200, [(b"X-Path", exchange.request.path)], b"hello")


async def echo(exchange: Exchange) -> None:
    await exchange.start(200, [])
    while data := await exchange.read():
        await exchange.write(data)
    await exchange.end()


async def hang(exchange: Exchange) -> None:
    await exchange.wait_disconnected()


async def test_requests_one_after_the_other_and_at_once() -> None:
    async with h2_site(hello) as client:
        first = client.request((b":path", b"/%41"))
        assert await client.response(first) == (200, b"hello")
        (head,) = client.heads[first]
        assert head[b"x-path"] == b"/A"
        assert head[b"content-length"] == b"5"
        assert b"date" in head
        assert head[b"server"] == b"lbkit"
        numbers = [client.request() for _ in range(50)]
        assert [await client.response(number) for number in numbers] == [(200, b"hello")] * 50
        assert client.http.counters.requests == 51
        assert client.http.counters.responses[2] == 51


async def test_what_a_handler_sees() -> None:
    seen: list[Exchange] = []

    async def look(exchange: Exchange) -> None:
        seen.append(exchange)
        await exchange.respond(204, [])

    async with h2_site(look) as client:
        number = client.request((b":method", b"HEAD"), (b"x", b"y"))
        await client.response(number)
        (exchange,) = seen
        assert exchange.request.method == "HEAD"
        assert exchange.request.headers == [(b"Host", b"a.example"), (b"x", b"y")]
        assert exchange.scheme == "https"
        assert exchange.client == client.writer.get_extra_info("sockname")
        assert exchange.number == 1


async def test_bodies_both_ways_with_backpressure() -> None:
    """Much more than any window, in both directions at the same time."""
    size = 3_000_000
    async with h2_site(echo) as client:
        number, sent = client.request((b":method", b"POST"), end=False), 0
        while sent < size:
            room = min(client.h2.local_flow_control_window(number), 16_384, size - sent)
            if room:
                client.body(number, bytes([sent % 251]) * room)
                sent += room
            else:
                await asyncio.sleep(0.001)
        client.h2.end_stream(number)
        client.flush()
        status, body = await client.response(number)
        assert status == 200
        assert len(body) == size


async def test_a_handler_that_does_not_read_stops_the_client() -> None:
    go = asyncio.Event()

    async def later(exchange: Exchange) -> None:
        await go.wait()
        total = 0
        while data := await exchange.read():
            total += len(data)
        await exchange.respond(200, [], b"%d" % total)

    async with h2_site(later) as client:
        number = client.request((b":method", b"POST"), end=False)
        await client.until(lambda: client.h2.local_flow_control_window(number) > 65_535)
        client.body(number, bytes(16_384))
        for _ in range(3):
            client.body(number, bytes(16_384))
        await asyncio.sleep(0.02)
        assert client.h2.local_flow_control_window(number) == 0
        go.set()
        await client.until(lambda: client.h2.local_flow_control_window(number) > 0)
        client.body(number, b"x", end=True)
        assert await client.response(number) == (200, b"65537")


async def test_a_client_that_does_not_read_stops_the_handler_and_no_other() -> None:
    written = 0

    async def much(exchange: Exchange) -> None:
        nonlocal written
        if exchange.request.path == b"/small":
            await exchange.respond(200, [], b"small")
            return
        await exchange.start(200, [])
        for _ in range(100):
            await exchange.write(bytes(10_000))
            written += 1
        await exchange.end()

    async with h2_site(much, window=20_000) as client:
        client.takes = False
        large = client.request()
        await client.until(lambda: len(client.bodies[large]) == 20_000)
        await asyncio.sleep(0.02)
        assert written == 2
        assert await client.response(client.request((b":path", b"/small"))) == (200, b"small")
        client.h2.increment_flow_control_window(2_000_000)
        client.h2.increment_flow_control_window(2_000_000, large)
        client.flush()
        status, body = await client.response(large)
        assert (status, len(body)) == (200, 1_000_000)


async def test_continue_is_sent_when_the_body_is_wanted() -> None:
    for handler, statuses in ((echo_whole, [b"100", b"200"]), (echo, [b"200"])):
        async with h2_site(handler) as client:
            number = client.request((b":method", b"POST"), (b"expect", b"100-continue"), end=False)
            await client.until(lambda: client.heads[number])  # noqa: B023 - of this round
            client.body(number, b"x", end=True)
            assert await client.response(number) == (200, b"x")
            assert [head[b":status"] for head in client.heads[number]] == statuses


async def test_an_answer_before_the_body_ends_the_stream_and_no_more() -> None:
    async with h2_site(hello) as client:
        number = client.request((b":method", b"POST"), end=False)
        assert await client.response(number) == (200, b"hello")
        await client.until(lambda: number in client.reset)
        assert client.reset[number] == 0
        assert await client.response(client.request()) == (200, b"hello")


async def test_trailers_are_passed_over_and_bad_ones_are_refused() -> None:
    async with h2_site(echo) as client:
        number = client.request((b":method", b"POST"), end=False)
        client.body(number, b"x")
        client.h2.send_headers(number, [(b"x-checksum", b"1")], end_stream=True)
        client.flush()
        assert await client.response(number) == (200, b"x")
    async with h2_site(echo_whole) as client:
        number = client.request((b":method", b"POST"), end=False)
        client.body(number, b"x")
        client.h2.send_headers(number, [(b"x-checksum", b"1\r\n2")], end_stream=True)
        client.flush()
        await client.until(lambda: number in client.reset)
        assert client.reset[number] == 1
        assert (await client.response(client.request()))[0] == 200


async def test_a_body_that_trailers_end_too_early() -> None:
    whole: list[bytes] = []

    async def collect(exchange: Exchange) -> None:
        await echo_whole(exchange)
        whole.append(exchange.request.path)

    async with h2_site(collect) as client:
        for sent, path in ((b"12345", b"/good"), (b"1234", b"/bad")):
            number = client.request(
                (b":method", b"POST"), (b":path", path), (b"content-length", b"5"), end=False
            )
            client.body(number, sent)
            client.h2.send_headers(number, [(b"x-checksum", b"1")], end_stream=True)
            client.flush()
            await client.until(lambda number=number: number in client.ended or number in client.reset)
        assert client.reset == {number: 1}
        assert whole == [b"/good"]


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ((b":method", b"CONNECT"), 501),
        ((b":path", b"/../a"), 400),
        ((b"transfer-encoding", b"chunked"), 400),
        ((b"connection", b"close"), 400),
        ((b"host", b"b.example"), 400),
        ((b"x", b"a\r\nb: c"), 400),
        ((b"X", b"a"), 400),
        ((b"x", b"y" * 20_000), 431),
        ((b"expect", b"other"), 417),
    ],
)
async def test_what_is_malformed_ends_its_stream(changed: tuple[bytes, bytes], status: int) -> None:
    async with h2_site(hello) as client:
        assert (await client.response(client.request(changed)))[0] == status
        assert await client.response(client.request()) == (200, b"hello")
        assert client.http.counters.client_errors == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ClientError("no", 404), 404),
        (NoServerAvailable("none"), 503),
        (ConnectFailed("no"), 502),
        (ServerTimeout("late"), 504),
        (ZeroDivisionError("bug"), 500),
        (None, 500),
    ],
)
async def test_handlers_that_fail(
    error: Exception | None, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(exchange: Exchange) -> None:
        if error is not None:
            raise error

    async with h2_site(fail) as client:
        assert (await client.response(client.request()))[0] == status
    assert ("bug" in caplog.text) is isinstance(error, ZeroDivisionError)


async def test_one_that_fails_in_mid_answer_resets_its_stream_only() -> None:
    async def fail(exchange: Exchange) -> None:
        if exchange.request.path == b"/good":
            await hello(exchange)
            return
        await exchange.start(200, [(b"Content-Length", b"10")])
        await exchange.write(b"12345")
        if exchange.request.path == b"/short":
            await exchange.end()
        await exchange.write(b"123456")

    async with h2_site(fail) as client:
        for path in (b"/short", b"/long"):
            number = client.request((b":path", path))
            await client.until(lambda number=number: number in client.reset)
            assert number not in client.ended, "no response may look complete that is not"
        assert await client.response(client.request((b":path", b"/good"))) == (200, b"hello")


async def test_a_client_that_gives_up_is_seen_by_the_handler() -> None:
    left = asyncio.Event()

    async def wait(exchange: Exchange) -> None:
        exchange.on_disconnect = left.set
        with pytest.raises(ClientError):
            await exchange.read()
        with pytest.raises(ClientError):
            await exchange.start(200, [])

    async with h2_site(wait) as client:
        number = client.request((b":method", b"POST"), end=False)
        await client.until(lambda: client.http.counters.requests)
        client.h2.reset_stream(number, 8)
        client.flush()
        async with asyncio.timeout(5):
            await left.wait()
        await client.until(lambda: not client.http._tasks)


async def test_drain_says_goodbye_and_lets_what_is_under_way_finish() -> None:
    go = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await go.wait()
        await exchange.respond(200, [], b"done")

    async with h2_site(slow) as client:
        number = client.request()
        await client.until(lambda: client.http.counters.requests)
        draining = asyncio.create_task(client.http.drain(5))
        await client.until(lambda: client.goaway is not None)
        assert client.goaway == (0, number)
        go.set()
        assert await draining == 0
        await client.until(lambda: client.is_closed)


async def test_drain_closes_idle_connections_at_once() -> None:
    async with h2_site(hello) as client:
        await client.response(client.request())
        assert await client.http.drain(5) == 0
        await client.until(lambda: client.is_closed)
        assert client.goaway == (0, 1)


async def test_a_client_that_says_goodbye_still_gets_its_answer() -> None:
    go = asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        await go.wait()
        await exchange.respond(200, [], bytes(200_000))

    async with h2_site(slow) as client:
        number = client.request()
        await client.until(lambda: client.http.counters.requests)
        client.writer.write(GoAwayFrame(0).serialize())
        await client.until(lambda: client.goaway is not None)
        go.set()
        assert await client.response(number) == (200, bytes(200_000))
        await client.until(lambda: not client.http.connections)
    async with h2_site(hang) as client:
        client.request()
        await client.until(lambda: client.http.counters.requests)
        client.writer.write(GoAwayFrame(0, error_code=1).serialize())
        await client.until(lambda: not client.http.connections)
        await client.until(lambda: not client.http._tasks)


async def test_what_comes_behind_a_goodbye_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    async with h2_site(hello) as client:
        await client.response(client.request())
        late = HeadersFrame(3, client.h2.encoder.encode(GET), flags=["END_HEADERS", "END_STREAM"])
        client.writer.write(GoAwayFrame(0).serialize() + late.serialize())
        await client.until(lambda: client.is_closed)
        await client.until(lambda: not client.http.connections)
        assert client.goaway == (0, 3)
        assert not caplog.records


async def is_heard(client: H2Client, frame: Frame) -> None:
    known = client.http.counters.bytes_in
    client.writer.write(frame.serialize())
    await client.until(lambda: client.http.counters.bytes_in > known)


async def test_the_last_answer_reaches_a_client_that_reads_late() -> None:
    """Its windows meet a connection that has nothing more to say."""
    size, now = 500_000, Now()

    async def much(exchange: Exchange) -> None:
        await exchange.respond(200, [], bytes(size))

    settings = HttpSettings(max_requests=1, linger=5, client=60)
    async with h2_site(much, settings, now, window=1 << 20) as client:
        client._task.cancel()
        client.h2.increment_flow_control_window(1 << 20)
        client.request()
        await client.until(lambda: client.http.counters.bytes_out > size)
        for _ in range(10):
            await is_heard(client, WindowUpdateFrame(0, window_increment=1))
            now.time += 4
            client.http.tick(now())
        assert len(await client.reader.read()) > size
        assert client.http.connections
        now.time += 6
        client.http.tick(now())
        await client.until(lambda: not client.http.connections)


async def test_who_never_goes_after_the_last_answer_is_cut() -> None:
    now = Now()
    settings = HttpSettings(max_requests=1, linger=5, client=20)
    async with h2_site(hello, settings, now) as client:
        client._task.cancel()
        client.request()
        await client.until(lambda: client.http.counters.responses[2])
        for _ in range(5):
            assert client.http.connections
            await is_heard(client, PingFrame(0, b"12345678"))
            now.time += 4
            client.http.tick(now())
        await client.until(lambda: not client.http.connections)


# ---- abuse


async def ended_for_abuse(client: H2Client) -> None:
    await client.until(lambda: client.goaway is not None)
    assert client.goaway is not None
    assert client.goaway[0] == ENHANCE_YOUR_CALM
    await client.until(lambda: not client.http._tasks)
    client.writer.close()
    await client.until(lambda: not client.http.connections)


async def test_rapid_reset() -> None:
    begun = 0

    async def count(exchange: Exchange) -> None:
        nonlocal begun
        begun += 1
        await exchange.wait_disconnected()

    async with h2_site(count) as client:
        for _ in range(5000):
            number = client.h2.get_next_available_stream_id()
            client.h2.send_headers(number, [*_get()], end_stream=True)
            client.h2.reset_stream(number, 8)
        client.flush()
        await ended_for_abuse(client)
        assert begun <= 150


def _get() -> list[tuple[bytes, bytes]]:
    return [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a"), (b":path", b"/")]


async def test_resets_that_the_client_makes_us_send() -> None:
    """CVE-2025-8671: malformed requests, which are answered and count as given up."""
    async with h2_site(hello) as client:
        for _ in range(4):
            numbers = [client.request((b"upgrade", b"x")) for _ in range(50)]
            await client.until(lambda: client.goaway or numbers[-1] in client.ended)  # noqa: B023
        await ended_for_abuse(client)


async def test_handlers_that_go_on_after_their_client_left_are_bounded() -> None:
    go = asyncio.Event()

    async def stubborn(exchange: Exchange) -> None:
        await go.wait()
        with pytest.raises(ClientError):
            await exchange.respond(200, [])

    limits = H2Limits(streams=5)
    async with h2_site(stubborn, HttpSettings(h2=limits)) as client:
        for begun in range(1, 6):
            given_up = client.request()
            await client.until(lambda: client.http.counters.requests == begun)  # noqa: B023 - of this round
            client.h2.reset_stream(given_up, 8)
            client.flush()
        number = client.request()
        await client.until(lambda: number in client.reset)
        assert client.reset[number] == REFUSED_STREAM
        assert client.http.counters.requests == 5
        go.set()


async def test_more_streams_than_are_allowed() -> None:
    async with h2_site(hang, HttpSettings(h2=H2Limits(streams=3))) as client:
        await client.until(lambda: client.h2.remote_settings.max_concurrent_streams == 3)
        client.h2.remote_settings[3] = 100
        client.h2.remote_settings.acknowledge()
        for _ in range(4):
            client.request()
        await client.until(lambda: client.goaway is not None)
        assert client.http.counters.requests <= 3


@pytest.mark.parametrize(
    "frame",
    [
        PingFrame(0, b"12345678"),
        SettingsFrame(0, {3: 100}),
        RstStreamFrame(1, 8),
        DataFrame(1, b""),
        ContinuationFrame(1, b""),
    ],
    ids=lambda frame: type(frame).__name__,
)
async def test_floods(frame: PingFrame | SettingsFrame | RstStreamFrame | DataFrame) -> None:
    async with h2_site(hang) as client:
        client.request((b":method", b"POST"), end=False)
        await client.until(lambda: client.http.counters.requests)
        if isinstance(frame, ContinuationFrame):
            client.writer.write(HeadersFrame(3, b"").serialize())
            frame.stream_id = 3
        client.writer.write(frame.serialize() * 2000)
        await client.until(lambda: client.goaway is not None)
        assert client.goaway is not None
        assert client.goaway[0] in (ENHANCE_YOUR_CALM, 1, 5)
        await client.until(lambda: not client.http._tasks)


async def test_windows_for_what_is_loaded_are_no_flood() -> None:
    """As Go's client opens them, for each few kilobytes, however fast they come."""

    async def much(exchange: Exchange) -> None:
        await exchange.respond(200, [], bytes(200_000))

    settings, now = HttpSettings(h2=H2Limits(windows=40, window_rate=0)), Now()
    async with h2_site(much, settings, now) as client:
        client.takes = False
        number = client.request()
        for piece in range(1, 34):
            await client.until(
                lambda piece=piece: len(client.bodies[number]) >= piece * 4096 or client.goaway
            )
            for opened in (None, number):
                client.h2.increment_flow_control_window(4096, opened)
                client.flush()
        assert await client.response(number) == (200, bytes(200_000))


@pytest.mark.parametrize("room", [2**31, 4096, 100, 0])
async def test_what_is_kept_of_fields_that_were_sent_is_little(room: int) -> None:
    async def look(exchange: Exchange) -> None:
        await exchange.respond(200, [(b"x-path", exchange.request.path)], b"hello")

    async with h2_site(look) as client:
        client.h2.update_settings({SettingCodes.HEADER_TABLE_SIZE: room})
        client.flush()
        for i in range(20):
            path = b"/%d" % i + b"x" * 1000
            number = client.request((b":path", path))
            assert await client.response(number) == (200, b"hello")
            assert client.heads[number][0][b"x-path"] == path
        (connection,) = client.http.connections
        kept = connection._h2.encoder.header_table.dynamic_entries  # type: ignore[attr-defined]
        assert sum(32 + len(name) + len(value) for name, value in kept) <= min(room, 4096)


async def test_a_header_bomb() -> None:
    """HPACK: a large field once in the table, then named again and again for a byte each."""
    async with h2_site(hello) as client:
        number = client.h2.get_next_available_stream_id()
        client.h2.send_headers(number, [*_get(), *((b"x", b"y" * 3000) for _ in range(400))], end_stream=True)
        client.flush()
        await ended_for_abuse(client)
        assert client.http.counters.requests == 0


async def test_a_client_that_asks_and_never_reads_is_cut() -> None:
    """Each DATA frame for a stream that is reset is answered by the library."""
    async with h2_site(hello, buffer=16_384) as client:
        client._task.cancel()
        number = client.request((b":method", b"POST"), end=False)
        await client.until(lambda: client.http.counters.responses[2])
        frame = DataFrame(number, b"x" * 1).serialize()
        sent = 0
        while client.http.connections and sent < 200 << 20:
            client.writer.write(frame * 2000)
            sent += len(frame) * 2000
            await asyncio.sleep(0)
            if client.writer.transport.get_write_buffer_size() > 8 << 20:
                await asyncio.sleep(0.005)
        assert not client.http.connections


async def test_what_comes_together_with_its_end() -> None:
    """The library has seen the end when the beginning is handled."""
    async with h2_site(hello) as client:
        first = client.h2.get_next_available_stream_id()
        client.h2.send_headers(first, [*_get(), (b"upgrade", b"x")])
        client.h2.send_data(first, b"x", end_stream=True)
        client.flush()
        assert (await client.response(first))[0] == 400
        second = client.h2.get_next_available_stream_id()
        client.h2.send_headers(second, [*_get(), (b"upgrade", b"x")])
        client.h2.send_data(second, b"x")
        client.h2.increment_flow_control_window(5, second)
        client.h2.reset_stream(second, 8)
        client.flush()
        assert await client.response(client.request()) == (200, b"hello")
        assert client.http.counters.requests == 2, "one that was given up at once is not begun"


async def test_a_download_that_is_given_up_together_with_a_window() -> None:
    async def much(exchange: Exchange) -> None:
        await exchange.respond(200, [], bytes(200_000 if exchange.request.path == b"/big" else 5))

    async with h2_site(much, window=1000) as client:
        client.takes = False
        number = client.request((b":path", b"/big"))
        await client.until(lambda: len(client.bodies[number]) == 1000)
        client.h2.increment_flow_control_window(5000, number)
        client.h2.increment_flow_control_window(5000)
        client.h2.reset_stream(number, 8)
        client.flush()
        assert await client.response(client.request()) == (200, bytes(5))


FRAMES = st.one_of(
    st.builds(
        lambda kind, flags, stream, body: (
            len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body
        ),
        st.integers(0, 10),
        st.sampled_from([0, 1, 4, 5, 8, 0x20, 0x25, 0x2D]),
        st.sampled_from([0, 1, 1, 3, 3, 5, 2, 1 << 31]),
        st.one_of(
            st.binary(max_size=12),
            # GET https a /, and the same with a field that is not allowed
            st.just(b"\x82\x87\x84\x41\x01a"),
            st.just(b"\x83\x87\x84\x41\x01a"),
            st.just(b"\x82\x87\x84\x41\x01a\x40\x07upgrade\x01x"),
            st.just(bytes(4)),
            st.just(b"\0\0\0\x08"),
            st.just(b"\0\x04\0\0\0\x10"),
        ),
    ),
    st.binary(max_size=5),
)


class Discarded:
    """A transport whose other end takes everything."""

    def __init__(self) -> None:
        self.is_over = False

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default

    def write(self, data: bytes) -> None:
        assert not self.is_over

    def write_eof(self) -> None:
        self.is_over = True

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.is_over

    def close(self) -> None:
        self.is_over = True

    abort = close


@given(st.lists(st.lists(FRAMES, max_size=4).map(b"".join), max_size=6))
def test_no_frames_break_it(packets: list[bytes]) -> None:
    """Whatever comes is answered, refused, or the end of the connection, and never an error of ours."""

    async def run() -> None:
        http = HttpServer(echo, clock=lambda: 1.0)
        transport = Discarded()
        protocol = http.h2_protocol_factory()
        protocol.connection_made(transport)  # type: ignore[arg-type]
        for packet in [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5), *packets]:
            if not transport.is_over:
                protocol.data_received(packet)
                await asyncio.sleep(0)
                protocol.check(1.0)
        protocol.connection_lost(None)
        await http.close()

    asyncio.run(run())


async def test_timeouts() -> None:
    now = Now()
    settings = HttpSettings(keep_alive=75, request_head=10, client=60, linger=5)
    async with h2_site(hello, settings, now) as client:
        await client.until(lambda: client.http.connections)
        now.time += 9.9
        client.http.tick(now())
        assert not client.is_closed
        now.time += 0.2
        client.http.tick(now())
        await client.until(lambda: client.is_closed)
    async with h2_site(hello, settings, now) as client:
        await client.response(client.request())
        now.time += 74
        client.h2.ping(b"12345678")  # keeps nothing open
        client.flush()
        client.http.tick(now())
        await asyncio.sleep(0.01)
        assert not client.is_closed
        now.time += 1.1
        client.http.tick(now())
        await client.until(lambda: client.is_closed)
        assert client.goaway == (0, 1)


async def test_a_body_that_stops_coming() -> None:
    now = Now()
    async with h2_site(echo_whole, HttpSettings(client=60), now) as client:
        number = client.request((b":method", b"POST"), end=False)
        client.body(number, b"x")
        await client.until(lambda: client.http.counters.requests)
        await asyncio.sleep(0.01)
        now.time += 61
        client.http.tick(now())
        assert (await client.response(number))[0] == 408


async def echo_whole(exchange: Exchange) -> None:
    whole = b""
    while data := await exchange.read():
        whole += data
    await exchange.respond(200, [], whole)


async def test_a_window_that_stays_shut() -> None:
    now = Now()

    async def much(exchange: Exchange) -> None:
        await exchange.respond(200, [], bytes(100_000))

    async with h2_site(much, HttpSettings(client=60), now, window=0) as client:
        number = client.request()
        await client.until(lambda: client.heads[number])
        now.time += 59
        client.http.tick(now())
        await asyncio.sleep(0.01)
        assert number not in client.reset
        now.time += 2
        client.http.tick(now())
        await client.until(lambda: number in client.reset)
        await client.until(lambda: not client.http._tasks)


async def test_a_head_that_stops_coming() -> None:
    now = Now()
    async with h2_site(hello, HttpSettings(request_head=10), now) as client:
        await client.response(client.request())
        now.time += 30
        client.writer.write(HeadersFrame(3, b"").serialize())
        await asyncio.sleep(0.02)
        client.http.tick(now())
        assert client.http.counters.client_errors == 0, "it has only begun"
        now.time += 10.1
        client.http.tick(now())
        await client.until(lambda: client.goaway is not None)


async def test_after_so_many_requests_a_new_connection_is_wanted() -> None:
    async with h2_site(hello, HttpSettings(max_requests=3)) as client:
        for _ in range(2):
            await client.response(client.request())
        last = client.request()
        await client.until(lambda: client.is_closed)
        assert client.bodies[last] == b"hello"
        assert client.goaway == (0, last)


async def test_what_is_no_http2_is_told_so() -> None:
    async with h2_site(hello, begins=False) as client:
        client._task.cancel()
        await asyncio.sleep(0)
        client.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(100))
        answer = b""
        async with asyncio.timeout(5):
            while b"\x07\0\0\0\0\0" not in answer:
                data = await client.reader.read(1000)
                assert data
                answer += data


async def test_nothing_is_kept_of_a_connection_that_is_over() -> None:
    async with h2_site(hello) as client:
        await client.response(client.request())
        await client.close()
        await client.until(lambda: not client.http.connections)
        assert not client.http._tasks


async def test_hints_come_before_the_answer_and_trailers_behind_it() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.send_interim(103, [(b"Link", b"</a.css>"), (b"Connection", b"x")])
        exchange.send_head(200, [])
        if exchange.request.path == b"/body":
            exchange.send_body(bytes(200_000))
        exchange.send_end([(b"Server-Timing", b"a;dur=1")])

    async with h2_site(handler) as client:
        for path, size in ((b"/", 0), (b"/body", 200_000)):
            number = client.request((b":path", path))
            status, body = await client.response(number)
            assert (status, len(body)) == (200, size)
            hint, _ = client.heads[number]
            assert hint == {b":status": b"103", b"link": b"</a.css>"}
            assert client.trailers[number] == {b"server-timing": b"a;dur=1"}
        number = client.request((b":method", b"HEAD"))
        assert await client.response(number) == (200, b"") and number not in client.trailers


async def test_an_error_page_of_ones_own_with_the_fields_that_are_wanted() -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.changes = Changes(b"/")
        exchange.changes.to_client.append((b"X-Request-Id", b"1"))
        if exchange.request.path == b"/405":
            await exchange.respond_error(405)
        raise NoServerAvailable("none")

    settings = HttpSettings(
        error_pages={
            503: (b"text/plain", b"sorry"),
            405: (b"text/plain", b"no"),
            400: (b"text/plain", b"bad"),
        }
    )
    async with h2_site(handler, settings) as client:
        for path, expected in ((b"/", (503, b"sorry")), (b"/405", (405, b"no"))):
            number = client.request((b":path", path))
            assert await client.response(number) == expected
            assert client.heads[number][0][b"x-request-id"] == b"1"
        assert await client.response(client.request((b":path", b"/%zz"))) == (400, b"bad")


async def test_there_are_no_upgrades() -> None:
    async def handler(exchange: Exchange) -> None:
        with pytest.raises(ValueError, match="no upgrades"):
            exchange.switch([], b"")
        await exchange.respond(200, [])

    async with h2_site(handler) as client:
        assert (await client.response(client.request()))[0] == 200
