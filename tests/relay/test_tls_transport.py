from __future__ import annotations

import asyncio
import random
import shutil
import socket
import ssl
from pathlib import Path

import pytest

from lbkit.relay.tls_transport import TlsTransport
from tests.relay.joined import reset, tcp_pair
from tests.relay.secured import Eager, Inside, contexts, transport
from tests.support.loops import on_both_loops, until

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


async def pair(
    folder: Path, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> tuple[TlsTransport, TlsTransport]:
    """A client's and a server's, secured, with nobody attached."""
    server, client = contexts(folder, newest=newest)
    one, other = tcp_pair()
    return await asyncio.gather(transport(one, client, "a.example"), transport(other, server))


async def attached(folder: Path, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> tuple[Inside, Inside]:
    insides = Inside(), Inside()
    for end, inside in zip(await pair(folder, newest), insides, strict=True):
        end.attach(inside)
    return insides


@on_both_loops
async def test_bytes_of_any_size_and_both_ends(tmp_path: Path) -> None:
    for newest in VERSIONS:
        for size in (0, 1, 16_384, 16_385, 1_000_000):
            client, server = await attached(tmp_path, newest)
            data = random.Random(size).randbytes(size)
            client.transport.write(data)
            client.transport.write_eof()
            await until(lambda server=server: server.ended)
            assert bytes(server.received) == data
            assert not client.ended
            server.transport.write(data[::-1])
            server.transport.write_eof()
            await until(lambda client=client: client.ended)
            assert bytes(client.received) == data[::-1], "after its own end it still hears"
            for one in (client, server):
                one.transport.close()
            await until(lambda: client.lost and server.lost)  # noqa: B023 - of this round
            assert client.lost == server.lost == [None]


@on_both_loops
async def test_what_comes_before_anybody_is_attached_is_kept(tmp_path: Path) -> None:
    client_end, server_end = await pair(tmp_path)
    client, server = Inside(), Inside()
    client_end.attach(client)
    client.transport.write(b"early")
    client.transport.write_eof()
    await asyncio.sleep(0.05)
    server_end.attach(server)
    await until(lambda: server.ended)
    assert server.received == b"early"
    for one in (client, server):
        one.transport.close()
    await until(lambda: client.lost and server.lost)


@on_both_loops
async def test_one_that_was_lost_before_anybody_was_attached_says_so(tmp_path: Path) -> None:
    client_end, server_end = await pair(tmp_path)
    client_end.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client_end.abort()
    server_end.resume_reading()
    await until(lambda: server_end.is_closing())
    await asyncio.sleep(0.02)
    inside = Inside()
    server_end.attach(inside)
    await until(lambda: inside.lost)


@on_both_loops
async def test_a_reader_that_stops_stops_the_writer(tmp_path: Path) -> None:
    client, server = await attached(tmp_path)
    server.transport.pause_reading()
    chunk, written = bytes(65_536), 0
    while not client.is_paused:
        client.transport.write(chunk)
        written += len(chunk)
        assert written < 64 << 20
        await asyncio.sleep(0)
    server.transport.resume_reading()
    await until(lambda: len(server.received) == written)
    assert not client.is_paused
    assert client.transport.get_write_buffer_size() == 0
    for one in (client, server):
        one.transport.close()
    await until(lambda: client.lost and server.lost)


@on_both_loops
async def test_who_is_done_with_an_end_is_closed(tmp_path: Path) -> None:
    client_end, server_end = await pair(tmp_path)
    client, server = Inside(), Inside(keeps_open=False)
    client_end.attach(client)
    server_end.attach(server)
    client.transport.write_eof()
    await until(lambda: server.lost)
    await until(lambda: client.ended)
    client.transport.close()
    await until(lambda: client.lost)


@on_both_loops
async def test_an_end_without_close_notify_is_one(tmp_path: Path) -> None:
    client, server = await attached(tmp_path)
    client.transport.write(b"all")
    client.transport.sock.shutdown(socket.SHUT_WR)  # type: ignore[attr-defined]
    await until(lambda: server.ended)
    assert server.received == b"all"
    for one in (client, server):
        one.transport.close()
    await until(lambda: client.lost and server.lost)


@on_both_loops
async def test_what_is_no_tls_any_more_breaks_the_connection(tmp_path: Path) -> None:
    client, server = await attached(tmp_path)
    client.transport._raw.write(b"\x17\x03\x03\x00\x20" + bytes(32))  # type: ignore[attr-defined]
    await until(lambda: server.lost)
    (error,) = server.lost
    assert isinstance(error, ConnectionAbortedError)
    assert str(error).startswith("broken TLS: ")
    assert not server.received
    await until(lambda: client.lost or client.ended)
    client.transport.close()
    await until(lambda: client.lost)


@on_both_loops
async def test_handshakes_that_fail(tmp_path: Path) -> None:
    server, client = contexts(tmp_path)
    one, other = tcp_pair()
    results = await asyncio.gather(
        transport(one, client, "b.example"), transport(other, server), return_exceptions=True
    )
    assert isinstance(results[0], ssl.SSLCertVerificationError)
    if isinstance(results[1], TlsTransport):  # TLS 1.3: the server may be done before the client objects
        results[1].abort()
    one, other = tcp_pair()
    one.close()
    with pytest.raises(OSError, match="left in the handshake"):
        await transport(other, server)
    one, other = tcp_pair()
    reset(one)
    with pytest.raises(OSError):
        await transport(other, server)
    one, other = tcp_pair()
    one.send(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(ssl.SSLError):
        await transport(other, server)
    one.close()
    one, other = tcp_pair()
    with pytest.raises(TimeoutError, match="no TLS handshake within 0.05 s"):
        await transport(other, server, timeout=0.05)
    one.close()


@on_both_loops
async def test_one_that_is_aborted_in_its_handshake_says_that_it_failed(tmp_path: Path) -> None:
    server, _ = contexts(tmp_path)
    for pause in (0, 1, 5):
        one, other = tcp_pair()
        failures: list[Exception] = []
        made = TlsTransport(
            asyncio.get_running_loop(),
            other,
            server,
            timeout=5,
            secured=lambda _: pytest.fail("secured"),
            failed=failures.append,
        )
        made.start()
        for _ in range(pause):
            await asyncio.sleep(0)
        made.abort()
        await until(lambda: failures)  # noqa: B023 - of this round
        assert len(failures) == 1
        one.close()


@on_both_loops
async def test_one_that_fails_before_it_begins_does_no_handshake(tmp_path: Path) -> None:
    """A busy loop finds the time over before the socket is its own."""
    server, client = contexts(tmp_path)
    one, other = tcp_pair()
    failures: list[Exception] = []
    secured: list[TlsTransport] = []
    made = TlsTransport(
        asyncio.get_running_loop(), other, server, timeout=5, secured=secured.append, failed=failures.append
    )
    made.start()
    made._timed_out()
    with pytest.raises(OSError):
        await transport(one, client, "a.example")
    assert [str(error) for error in failures] == ["no TLS handshake within 5 s"]
    assert not secured


@on_both_loops
async def test_what_is_known_of_it(tmp_path: Path) -> None:
    client, server = await attached(tmp_path)
    assert isinstance(server.transport.get_extra_info("ssl_object"), ssl.SSLObject)
    assert server.transport.get_extra_info("peername") == client.transport.get_extra_info("sockname")
    assert server.transport.get_extra_info("nothing", 7) == 7
    assert server.transport.can_write_eof()
    client.transport.close()
    assert client.transport.is_closing()
    client.transport.write(b"dropped")
    client.transport.write_eof()
    server.transport.abort()
    await until(lambda: client.lost and server.lost)


@on_both_loops
async def test_an_end_that_came_before_anybody_was_attached(tmp_path: Path) -> None:
    client_end, server_end = await pair(tmp_path)
    client_end.attach(Inside())
    client_end.write(b"all")
    client_end.write_eof()
    server_end.resume_reading()  # as if it had come together with the end of the handshake
    await asyncio.sleep(0.05)
    inside = Inside()
    server_end.attach(inside)
    await until(lambda: inside.ended)
    assert inside.received == b"all"
    for end in (client_end, server_end):
        end.close()
    await until(lambda: inside.lost)


@on_both_loops
async def test_a_flood_of_changed_keys_ends_the_connection(tmp_path: Path) -> None:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    server, _ = contexts(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = await asyncio.create_subprocess_exec(
            *(program, "s_client", "-connect", f"127.0.0.1:{listening.getsockname()[1]}", "-tls1_3"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        sock = await asyncio.to_thread(lambda: listening.accept()[0])
    sock.setblocking(False)
    inside = Inside()
    (await transport(sock, server)).attach(inside)
    assert client.stdin is not None
    for _ in range(150):  # a line that begins with K changes the keys and asks for the same (s_client(1))
        client.stdin.write(b"K\n")
        await asyncio.sleep(0.002)
        if inside.lost:
            break
    await until(lambda: inside.lost)
    assert "too many changes of keys" in str(inside.lost[0])
    client.stdin.close()
    await client.wait()


@on_both_loops
async def test_another_protocol_takes_over(tmp_path: Path) -> None:
    client, server = await attached(tmp_path)
    later = Inside()
    later.transport = server.transport
    client.transport.write(b"one")
    await until(lambda: bytes(server.received) == b"one")
    server.transport.set_protocol(later)
    client.transport.write(b"two")
    client.transport.write_eof()
    await until(lambda: later.ended)
    assert (bytes(server.received), bytes(later.received)) == (b"one", b"two") and not server.ended
    for one in (client, server):
        one.transport.close()
    await until(lambda: client.lost and later.lost)
    assert not server.lost


@on_both_loops
async def test_who_stops_it_while_it_is_attached_gets_no_more(tmp_path: Path) -> None:
    class Full(Inside):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    server, client = contexts(tmp_path)
    one, other = tcp_pair()
    eager, inside = Eager(one, client), Full()
    try:
        end, _ = await asyncio.gather(transport(other, server), eager.begin(b"early"))
        end.attach(inside)
        assert inside.received == b"early"
        await eager.send(b" and late")
        await asyncio.sleep(0.05)
        assert inside.received == b"early"
        end.resume_reading()
        await inside.has(b"early and late")
    finally:
        one.close()
        inside.transport.abort()
        await until(lambda: inside.lost)


@on_both_loops
async def test_an_end_said_at_once_takes_nothing_from_what_came_before(tmp_path: Path) -> None:
    class Done(Inside):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.write_eof()

    server, client = contexts(tmp_path)
    one, other = tcp_pair()
    eager, inside = Eager(one, client), Done()
    try:
        end, _ = await asyncio.gather(transport(other, server), eager.begin(b"early"))
        end.attach(inside)
        await eager.send(b" and late")
        await inside.has(b"early and late")
    finally:
        one.close()
        inside.transport.abort()
        await until(lambda: inside.lost)
