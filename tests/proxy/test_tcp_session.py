from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import socket
import struct
from pathlib import Path

import pytest

from lbkit import sockets
from lbkit.config import TlsConfig
from lbkit.errors import ConnectFailed
from lbkit.kernel.pressure import Pressure
from lbkit.pool import Pool, PoolSettings, make_balancer
from lbkit.proxy import tcp_session
from lbkit.proxy.listener import Listener
from lbkit.proxy.origin import Origin
from lbkit.proxy.tcp_session import TcpService, TcpSettings
from lbkit.proxy.ticker import Ticker
from lbkit.proxy_protocol import build
from lbkit.relay import RELAYS, Resources, choose_relay
from lbkit.server import Address, Server
from lbkit.tls import Termination
from tests.proxy.test_forward_pool import Recorder
from tests.support.backends import Backend, echo, free_address, full_backlog, hold
from tests.support.certificates import Authority, client_context
from tests.support.loops import on_both_loops, until


class Balancer:
    """A tcp balancer over the given addresses."""

    def __init__(
        self,
        *addresses: str,
        retries: int = 3,
        algorithm: str = "round_robin",
        relay: str = "auto",
        send_proxy: str = "",
        **settings: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        servers = [Server(chr(ord("a") + i), address) for i, address in enumerate(addresses)]
        self.pool = Pool(
            "p",
            servers,
            make_balancer(algorithm, random.Random(7)),
            settings=PoolSettings(retries, send_proxy=send_proxy),
        )
        self.ticker = Ticker(loop)
        self.resources = Resources(loop)
        self.listener = Listener("test", Address("127.0.0.1", 0), self._accept, loop=loop)
        self.service = TcpService(
            "test",
            self.pool,
            choose_relay(relay),
            TcpSettings(**settings),  # type: ignore[arg-type]
            resources=self.resources,
            ticker=self.ticker,
            on_end=self.listener.session_ended,
            hold=self.listener.hold,
        )
        self.servers: list[asyncio.Server] = []
        self.listener.bind()
        self.listener.start()

    def _accept(self, sock: socket.socket) -> None:
        self.service.accept(sock)

    async def __aenter__(self) -> Balancer:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.listener.stop()
        self.service.abort()
        assert await self.service.drain(5)
        assert self.listener.open_sessions == 0
        assert all(server.open_sessions == 0 for server in self.pool)
        self.ticker.close()
        await asyncio.sleep(0)  # sockets are closed after the events at hand
        self.resources.close()

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.listener.address.host, self.listener.address.port)

    async def exchange(self, data: bytes) -> bytes:
        async with asyncio.timeout(10):
            reader, writer = await self.open()
            writer.write(data)
            writer.write_eof()
            try:
                return await reader.read()
            except ConnectionResetError:  # it was closed before our end reached it
                return b""
            finally:
                writer.close()


@on_both_loops
async def test_bytes_go_through_and_are_counted() -> None:
    async with Backend(echo) as one, Backend(echo) as two, Balancer(one, two) as balancer:
        for _ in range(4):
            assert await balancer.exchange(b"hello") == b"hello"
        assert await balancer.service.drain(5)
        for server in balancer.pool:
            counters = server.counters
            assert (counters.picks, counters.sessions, counters.bytes_in, counters.bytes_out) == (
                2,
                2,
                10,
                10,
            )


@on_both_loops
async def test_a_server_that_refuses_is_replaced_before_the_client_notices() -> None:
    async with Backend(echo) as good, Balancer(free_address(), free_address(), good) as balancer:
        for _ in range(6):
            assert await balancer.exchange(b"hello") == b"hello"
        a, b, c = balancer.pool
        assert c.counters.bytes_in == 30
        assert a.counters.connect_errors == a.counters.retries > 0
        assert b.counters.connect_errors == b.counters.retries > 0
        assert balancer.service.failed_sessions == 0


@on_both_loops
async def test_when_all_refuse_the_session_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    async with Balancer(free_address(), free_address()) as balancer:
        assert await balancer.exchange(b"") == b""
        assert await balancer.exchange(b"") == b""
        assert balancer.service.failed_sessions == 2
        a, b = balancer.pool
        assert a.counters.connect_errors == b.counters.connect_errors == 2
        assert a.counters.retries + b.counters.retries == 2, "after the last failure nobody else was tried"
    assert "connection refused" in caplog.text, "why is said, not only that nobody is left"
    assert caplog.text.count("session failed") == 1, "a flood of failures is not a flood of log lines"


@on_both_loops
async def test_retries_are_bounded() -> None:
    async with Balancer(*(free_address() for _ in range(5)), retries=1) as balancer:
        assert await balancer.exchange(b"") == b""
        assert sum(server.counters.connect_errors for server in balancer.pool) == 2
        assert sum(server.counters.retries for server in balancer.pool) == 1


@on_both_loops
async def test_a_server_that_does_not_answer_the_connect_is_replaced() -> None:
    listening, clients = full_backlog()
    silent = f"127.0.0.1:{listening.getsockname()[1]}"
    async with (
        Backend(echo) as good,
        Balancer(silent, good, algorithm="active_passive", connect=0.15) as balancer,
    ):
        assert await balancer.exchange(b"hello") == b"hello"
        assert balancer.pool["a"].counters.connect_errors == 1
    for sock in (listening, *clients):
        sock.close()


@on_both_loops
async def test_a_refusal_in_the_turn_in_which_the_time_is_up() -> None:
    async with Balancer(free_address(), connect=0.15) as balancer:
        service = balancer.service
        ours, theirs = socket.socketpair()
        service.accept(ours)
        (session,) = service._connecting
        assert session._dial is not None
        session._dial.cancel()
        session._connected(ConnectFailed("refused"))
        service._tick(asyncio.get_running_loop().time() + 2)
        async with asyncio.timeout(5):
            while service.open_sessions:
                await asyncio.sleep(0)
        balancer.listener.open_sessions = 0  # it did not come through the listener
        theirs.close()


@on_both_loops
async def test_an_idle_session_is_ended() -> None:
    async with Backend(hold) as silent, Balancer(silent, client=0.3, server=0.3) as balancer:
        async with asyncio.timeout(5):
            reader, writer = await balancer.open()
            writer.write(b"x")
            assert await reader.read() == b""
            writer.close()
        assert await balancer.service.drain(5)
        assert balancer.service.client_timeouts + balancer.pool["a"].counters.timeouts == 1


@on_both_loops
async def test_a_session_with_traffic_is_not_idle() -> None:
    async with Backend(echo) as server, Balancer(server, client=0.4, server=0.4) as balancer:
        reader, writer = await balancer.open()
        loop = asyncio.get_running_loop()
        end = loop.time() + 1.0
        while loop.time() < end:
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            await asyncio.sleep(0.05)
        writer.close()


@on_both_loops
async def test_drain_waits_for_sessions_and_says_when_it_gave_up() -> None:
    async with Backend(echo) as server, Balancer(server) as balancer:
        assert await balancer.service.drain(5), "nothing to wait for"
        reader, writer = await balancer.open()
        writer.write(b"x")
        await reader.readexactly(1)
        assert not await balancer.service.drain(0.01)
        drain = asyncio.create_task(balancer.service.drain(5))
        writer.close()
        assert await drain


@on_both_loops
async def test_bytes_of_sessions_in_progress_can_be_seen() -> None:
    async with Backend(echo) as server, Balancer(server) as balancer:
        reader, writer = await balancer.open()
        writer.write(b"hello")
        await reader.readexactly(5)
        assert balancer.service.unsettled_bytes() == [(balancer.pool["a"], 5, 5)]
        writer.close()


@on_both_loops
async def test_the_sessions_with_one_server_are_cut_and_no_others() -> None:
    async with Backend(echo) as a, Backend(echo) as b, Balancer(a, b) as balancer:
        pairs = [await balancer.open() for _ in range(4)]
        for reader, writer in pairs:
            writer.write(b"x")
            await reader.readexactly(1)
        balancer.service.cut(balancer.pool["a"])
        ended = 0
        for reader, writer in pairs:
            writer.write(b"y")
            with contextlib.suppress(ConnectionError):
                ended += not await reader.read(1)
                continue
            ended += 1
        assert ended == 2
        assert balancer.service.open_sessions == 2
        for _, writer in pairs:
            writer.close()


@on_both_loops
async def test_abort_while_connecting() -> None:
    listening, clients = full_backlog()
    async with Balancer(f"127.0.0.1:{listening.getsockname()[1]}") as balancer:
        _, writer = await balancer.open()
        async with asyncio.timeout(5):
            while not balancer.service.open_sessions:
                await asyncio.sleep(0)
        balancer.service.abort()
        assert balancer.service.open_sessions == 0
        writer.close()
    for sock in (listening, *clients):
        sock.close()


@on_both_loops
async def test_a_session_keeps_the_pool_it_began_with() -> None:
    async with Backend(echo) as server, Balancer(server) as balancer:
        reader, writer = await balancer.open()
        writer.write(b"x")
        await reader.readexactly(1)
        balancer.service.pool = Pool("other", [], make_balancer("round_robin", random.Random(7)))
        writer.write(b"y")
        assert await reader.readexactly(1) == b"y"
        writer.close()


# ---- what the session does with its pool ----


def limit(balancer: Balancer, number: int, max_queue: int = 10) -> Pool:
    """Let each server have *number* connections."""
    pool = balancer.pool
    servers = [Server(server.name, server.address, max_connections=number) for server in pool]
    settings = PoolSettings(max_queue=max_queue)
    pool.reconfigure(servers, balancer=None, rules=pool.rules, settings=settings, now=0)
    return pool


@on_both_loops
async def test_sessions_over_the_limit_wait_in_order() -> None:
    async with Backend(echo) as one, Balancer(one) as balancer:
        pool = limit(balancer, 1)
        _, holder = await balancer.open()
        await until(lambda: pool.open_sessions == 1)
        waiting = [asyncio.create_task(balancer.exchange(b"%d" % i)) for i in range(3)]
        await until(lambda: pool.waiting == 3)
        holder.close()
        assert await asyncio.gather(*waiting) == [b"0", b"1", b"2"]
        assert (pool.waiting, pool.queued) == (0, 3)


@on_both_loops
async def test_a_session_waits_no_longer_than_it_may_nor_in_a_full_queue() -> None:
    async with Backend(echo) as one, Balancer(one, queue=0.15) as balancer:
        pool = limit(balancer, 1, max_queue=1)
        _, holder = await balancer.open()
        await until(lambda: pool.open_sessions == 1)
        late = asyncio.create_task(balancer.exchange(b""))
        await until(lambda: pool.waiting == 1)
        assert await balancer.exchange(b"") == b"", "the queue is full"
        assert await late == b""
        assert (pool.queue_timeouts, pool.queue_refused) == (1, 1)
        assert balancer.service.failed_sessions == 2
        holder.close()


@on_both_loops
async def test_abort_while_waiting() -> None:
    async with Backend(echo) as one, Balancer(one) as balancer:
        pool = limit(balancer, 1)
        writers = [(await balancer.open())[1] for _ in range(3)]
        await until(lambda: pool.waiting == 2)
        balancer.service.abort()
        assert await balancer.service.drain(5)
        assert (pool.waiting, pool.open_sessions) == (0, 0)
        for writer in writers:
            writer.close()


@on_both_loops
async def test_start_first_byte_end_and_the_clients_address_reach_the_algorithm() -> None:
    async with Backend(echo) as one, Balancer(free_address(), one) as balancer:
        recorder, pool = Recorder(), balancer.pool
        pool.reconfigure(list(pool), balancer=recorder, rules=pool.rules, settings=pool.settings, now=0)
        assert await balancer.exchange(b"hello") == b"hello"
        await until(lambda: len(recorder.heard) == 5)
        assert recorder.heard == [
            ("a", "started"),
            ("a", "connect failed"),
            ("b", "started"),
            ("b", "responded"),
            ("b", "done"),
        ]
        assert recorder.keys == [b"127.0.0.1"] * 2


@on_both_loops
async def test_a_server_that_resets_is_an_error_and_a_client_that_does_is_not() -> None:
    for side in ("server", "client"):
        gone = asyncio.Event()

        async def reset(
            reader: asyncio.StreamReader,
            writer: asyncio.StreamWriter,
            side: str = side,
            gone: asyncio.Event = gone,
        ) -> None:
            await reader.readexactly(1)
            if side == "server":
                linger(writer)
                writer.transport.abort()
            await gone.wait()

        async with Backend(reset) as one, Balancer(one) as balancer:
            recorder, pool = Recorder(), balancer.pool
            pool.reconfigure(list(pool), balancer=recorder, rules=pool.rules, settings=pool.settings, now=0)
            _, writer = await balancer.open()
            writer.write(b"x")
            if side == "client":
                await asyncio.sleep(0.05)
                linger(writer)
                writer.transport.abort()
            await until(lambda recorder=recorder: len(recorder.heard) == 2)
            gone.set()
            assert recorder.heard[-1] == ("a", "error" if side == "server" else "cancelled")
            writer.transport.abort()


@on_both_loops
async def test_retries_stop_when_the_budget_is_spent() -> None:
    async with Balancer(*(free_address() for _ in range(4))) as balancer:
        pool = balancer.pool
        settings = PoolSettings(retry_percent=0, retry_minimum=1)
        pool.reconfigure(list(pool), balancer=None, rules=pool.rules, settings=settings, now=0)
        assert pool.start_retry(), "somebody else's"
        assert await balancer.exchange(b"") == b""
        assert sum(server.counters.connect_errors for server in pool) == 1
        pool.end_retry()
        assert await balancer.exchange(b"") == b""
        assert sum(server.counters.connect_errors for server in pool) == 1 + 4
        assert pool.start_retry(), "each was given back"


def linger(writer: asyncio.StreamWriter) -> None:
    """Close with a reset."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@on_both_loops
async def test_a_retry_that_stands_in_line_takes_nothing_of_the_budget() -> None:
    async with Backend(echo) as one, Balancer(free_address(), one) as balancer:
        pool = limit(balancer, 1)
        pool.settings = PoolSettings(retry_minimum=1, retry_percent=0)
        _, holder = await balancer.open()
        await until(lambda: pool["b"].open_sessions == 1)
        waiting = [asyncio.create_task(balancer.exchange(b"%d" % i)) for i in range(2)]
        await until(lambda: pool.waiting == 2)
        assert pool.retries_refused == 0
        holder.close()
        assert await asyncio.gather(*waiting) == [b"0", b"1"]
        await until(lambda: pool.open_sessions == 0)
        assert pool.start_retry(), "all of it is given back"
        assert not pool.start_retry()


@on_both_loops
async def test_a_client_that_resets_its_connection_leaves_the_queue() -> None:
    async with Backend(echo) as one, Balancer(one) as balancer:
        pool = limit(balancer, 1)
        _, holder = await balancer.open()
        await until(lambda: pool.open_sessions == 1)
        _, gone = await balancer.open()
        await until(lambda: pool.waiting == 1)
        sock = gone.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.transport.abort()
        await until(lambda: pool.waiting == 0)
        assert balancer.service.failed_sessions == 0, "nobody refused it"
        holder.close()


@on_both_loops
async def test_so_does_one_that_is_secured(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    site = TlsConfig(certificate=authority.issue("site.pem", ["a.example"]))
    async with Backend(echo) as one, Balancer(one) as balancer:
        pool = limit(balancer, 1)
        _, holder = await balancer.open()
        await until(lambda: pool.open_sessions == 1)
        balancer.service.tls = Termination(site, "tls", mode="tcp")
        _, gone = await asyncio.open_connection(
            balancer.listener.address.host,
            balancer.listener.address.port,
            ssl=client_context(authority),
            server_hostname="a.example",
        )
        await until(lambda: pool.waiting == 1)
        sock = gone.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.transport.abort()
        await until(lambda: pool.waiting == 0)
        assert balancer.service.failed_sessions == 0, "nobody refused it"
        holder.close()


# ---- the same on every relay ----

every_relay = pytest.mark.parametrize("relay", list(RELAYS))


def skip_where_it_cannot_be(relay: str) -> None:
    if reason := RELAYS[relay].factory.unsupported():
        pytest.skip(f"relay {relay}: {reason}")


async def exchange_some(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A few messages both ways: now the session lasts, and relays have settled on their way."""
    for number in range(4):
        message = b"message %d" % number
        writer.write(message)
        assert await reader.readexactly(len(message)) == message


@every_relay
@pytest.mark.parametrize("limit", ["client", "server", "tunnel"])
@on_both_loops
async def test_an_idle_session_ends_on_each_relay(relay: str, limit: str) -> None:
    skip_where_it_cannot_be(relay)
    settings = {"client": 0.0, "server": 0.0, limit: 0.3}
    async with Backend(echo) as server, Balancer(server, relay=relay, **settings) as balancer:
        async with asyncio.timeout(10):
            reader, writer = await balancer.open()
            await exchange_some(reader, writer)
            began = asyncio.get_running_loop().time()
            assert await reader.read() == b""
            assert asyncio.get_running_loop().time() - began > 0.2
            writer.close()
        assert await balancer.service.drain(5)
        timed_out = balancer.service.client_timeouts, balancer.pool["a"].counters.timeouts
        assert timed_out == ((0, 1) if limit == "server" else (1, 0))
        counters = balancer.pool["a"].counters
        assert counters.bytes_in == counters.bytes_out == 4 * len(b"message 0")


@every_relay
@on_both_loops
async def test_a_session_with_traffic_is_not_idle_on_any_relay(relay: str) -> None:
    skip_where_it_cannot_be(relay)
    async with Backend(echo) as server, Balancer(server, relay=relay, client=0.4, server=0.4) as balancer:
        reader, writer = await balancer.open()
        loop = asyncio.get_running_loop()
        end = loop.time() + 1.2
        while loop.time() < end:
            await exchange_some(reader, writer)
            await asyncio.sleep(0.05)
        writer.close()


@every_relay
@on_both_loops
async def test_the_tunnel_timeout_begins_when_both_have_spoken(relay: str) -> None:
    """Before, the client's counts; afterwards one side may be silent for long while the other speaks."""
    skip_where_it_cannot_be(relay)

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(16 if await reader.read(100) else 0):
            writer.write(b"x")
            await asyncio.sleep(0.05)
        await reader.read()

    limits = {"client": 0.4, "server": 0.0, "tunnel": 0.6}
    async with Backend(speak) as server, Balancer(server, relay=relay, **limits) as balancer:
        async with asyncio.timeout(10):
            silent, silent_writer = await balancer.open()
            reader, writer = await balancer.open()
            writer.write(b"go")
            assert await silent.read() == b"", "its client said nothing at all"
            assert await reader.readexactly(16) == b"x" * 16
            assert await reader.read() == b""
            writer.close()
            silent_writer.close()


@every_relay
@on_both_loops
async def test_a_connect_that_takes_too_long_on_each_relay(relay: str) -> None:
    skip_where_it_cannot_be(relay)
    listening, clients = full_backlog()
    silent = f"127.0.0.1:{listening.getsockname()[1]}"
    async with Balancer(silent, relay=relay, connect=0.2) as balancer:
        assert await balancer.exchange(b"") == b""
        assert balancer.pool["a"].counters.connect_errors == 1
        assert balancer.service.failed_sessions == 1
    for sock in (listening, *clients):
        sock.close()


@every_relay
@pytest.mark.parametrize("resets", [False, True])
@on_both_loops
async def test_a_client_gone_during_connect(relay: str, resets: bool) -> None:
    """The server then has a session with nobody, which ends."""
    skip_where_it_cannot_be(relay)
    ended = asyncio.Event()

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(100):
                pass
        finally:
            ended.set()

    async with Backend(note) as server, Balancer(server, relay=relay) as balancer:
        client = socket.create_connection((balancer.listener.address.host, balancer.listener.address.port))
        client.send(b"hello")
        if resets:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()  # before the balancer's loop has run at all
        async with asyncio.timeout(5):
            await ended.wait()
        assert await balancer.service.drain(5)


@every_relay
@on_both_loops
async def test_a_relay_chosen_by_a_reload_while_a_session_connects(relay: str) -> None:
    skip_where_it_cannot_be(relay)
    async with Backend(echo) as server, Balancer(server, relay=relay) as balancer:
        for other in RELAYS:
            if not RELAYS[other].factory.unsupported():
                reader, writer = await balancer.open()
                await until(lambda: balancer.service.open_sessions)
                balancer.service.relay = choose_relay(other)
                await exchange_some(reader, writer)
                writer.close()
                assert await balancer.service.drain(5)
                balancer.service.relay = choose_relay(relay)


# ---- pressure ----


@on_both_loops
async def test_half_open_work_is_bounded() -> None:
    """Servers that answer nothing: no more clients are let in than may connect at a time."""
    listening, clients = full_backlog()
    silent = f"127.0.0.1:{listening.getsockname()[1]}"
    async with Balancer(silent, connect=0.4, max_connecting=3) as balancer:
        writers = [(await balancer.open())[1] for _ in range(8)]
        await until(lambda: balancer.service.open_sessions == 3)
        for _ in range(20):
            await asyncio.sleep(0)
        assert balancer.listener.sessions == 3
        await until(lambda: balancer.service.failed_sessions == 8)
        assert balancer.listener.sessions == 8, "the others were let in as places came free"
        for writer in writers:
            writer.close()
    for sock in (listening, *clients):
        sock.close()


@on_both_loops
async def test_without_descriptors_for_servers_sessions_wait_and_nobody_is_blamed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with Backend(echo) as server, Balancer(server) as balancer:
        lack = [OSError(errno.EMFILE, os.strerror(errno.EMFILE))] * 2
        make = sockets._new_socket

        def new_socket(address: Address) -> socket.socket:
            if lack:
                raise lack.pop()
            return make(address)

        monkeypatch.setattr(sockets, "_new_socket", new_socket)
        assert await balancer.exchange(b"hello") == b"hello"
        counters = balancer.pool["a"].counters
        assert (counters.connect_errors, counters.retries, counters.sessions) == (0, 0, 1)
        assert caplog.text.count("connecting pauses: too many open files") == 1


@on_both_loops
async def test_a_lack_of_descriptors_that_lasts_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Backend(echo) as server, Balancer(server, connect=0.3) as balancer:

        def lack(address: Address) -> socket.socket:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        monkeypatch.setattr(sockets, "_new_socket", lack)
        assert await balancer.exchange(b"") == b""
        assert balancer.service.failed_sessions == 1
        assert balancer.pool["a"].counters.connect_errors == 0


@on_both_loops
async def test_under_auto_sessions_relieve_a_process_that_is_short_of_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not choose_relay("auto").may_relieve:
        pytest.skip("auto has no relay here that could")
    async with Backend(echo) as server, Balancer(server) as balancer:
        sessions = [await balancer.open() for _ in range(3)]
        for reader, writer in sessions:
            await exchange_some(reader, writer)
        service = balancer.service
        service._tick(asyncio.get_running_loop().time())
        assert len(service.resources.joins) == 0
        monkeypatch.setattr(Pressure, "is_high", lambda self: True)
        monkeypatch.setattr(tcp_session, "_RELIEVED", 2)
        joined = []
        for later in (1, 2):
            service._tick(asyncio.get_running_loop().time() + later)
            joined.append(len(service.resources.joins))
        assert joined == [4, 6], "some at a time"
        for reader, writer in sessions:
            await exchange_some(reader, writer)
            writer.close()
        assert await service.drain(5)


@pytest.mark.parametrize("version", ["v1", "v2"])
@every_relay
@on_both_loops
async def test_a_server_is_told_the_client_before_anything_else(relay: str, version: str) -> None:
    async with Backend(echo) as one, Balancer(one, relay=relay, send_proxy=version) as balancer:
        async with asyncio.timeout(10):
            reader, writer = await balancer.open()
            here = writer.get_extra_info("sockname")
            there = (balancer.listener.address.host, balancer.listener.address.port)
            header = build(version, here, there)
            assert await reader.readexactly(len(header)) == header, "also before the client said anything"
            for _ in range(3):
                writer.write(b"hello")
                assert await reader.readexactly(5) == b"hello"
            writer.close()
        assert await balancer.service.drain(5)
        assert balancer.pool["a"].counters.bytes_in == 15, "what we say ourselves is no traffic of clients"


@on_both_loops
async def test_the_client_that_a_header_told_is_told_on_and_is_the_key() -> None:
    told = ("192.0.2.1", 1), ("192.0.2.2", 2)
    async with Backend(echo) as one, Backend(echo) as two:
        async with Balancer(one, two, algorithm="maglev", send_proxy="v1") as balancer:
            ends: list[int] = []

            def accept(client: socket.socket, origin: Origin | None = None) -> None:
                balancer.service.accept(client, Origin(*told, lambda: ends.append(1)))

            balancer.listener.accept = accept
            for _ in range(4):
                line = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
                assert await balancer.exchange(b"hello") == line + b"hello"
            assert await balancer.service.drain(5)
            assert ends == [1] * 4
            wanted = balancer.pool.pick(0.0, b"192.0.2.1")
            assert wanted.counters.sessions == 4


@on_both_loops
async def test_a_server_that_takes_no_header_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Backend(echo) as one, Backend(echo) as two:
        async with Balancer(one, two, send_proxy="v1") as balancer:
            real = tcp_session.TcpSession._introduce
            port = int(one.rpartition(":")[2])

            def full(session: tcp_session.TcpSession, server: socket.socket) -> bool:
                """A socket whose buffer is full: sending by hand until it would block."""
                if server.getpeername()[1] == port:
                    with contextlib.suppress(BlockingIOError):
                        while True:
                            server.send(bytes(65536))
                return real(session, server)

            monkeypatch.setattr(tcp_session.TcpSession, "_introduce", full)
            for _ in range(2):
                assert (await balancer.exchange(b"hello")).endswith(b"hello")
            assert balancer.pool["a"].counters.connect_errors >= 1
            assert balancer.pool["b"].counters.bytes_in == 10
