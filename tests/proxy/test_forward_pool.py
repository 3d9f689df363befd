"""What the forwarder does with its pool: queueing, stickiness, keys, and what it reports back."""

from __future__ import annotations

import asyncio
import contextlib
import random

from lbkit.balancing import Balancer
from lbkit.config.values import parse_key
from lbkit.exchange import Exchange
from lbkit.pool import AdminState, Pool, PoolSettings
from lbkit.proxy.forward import ForwardSettings
from lbkit.registry import NoOptions
from lbkit.server import Outcome, Server
from tests.exchange.wire import Client
from tests.proxy.upstreams import Proxy, proxy, refusing, upstream
from tests.support.loops import on_both_loops, until

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Recorder(Balancer):
    """Picks the first server left, and writes down what it is told."""

    keyed = True

    def __init__(self) -> None:
        super().__init__(NoOptions(), random.Random(7))
        self.candidates: tuple[Server, ...] = ()
        self.keys: list[bytes | None] = []
        self.heard: list[tuple[str, str]] = []

    def update(self, candidates, now) -> None:  # type: ignore[no-untyped-def]
        self.candidates = tuple(candidates)

    def pick(self, now, key=None, exclude=()) -> Server | None:  # type: ignore[no-untyped-def]
        self.keys.append(key)
        return next((server for server in self.candidates if server not in exclude), None)

    def started(self, server, now) -> None:  # type: ignore[no-untyped-def]
        self.heard.append((server.name, "started"))

    def responded(self, server, seconds, now) -> None:  # type: ignore[no-untyped-def]
        assert 0 <= seconds < 60
        self.heard.append((server.name, "responded"))

    def ended(self, server, seconds, outcome, now) -> None:  # type: ignore[no-untyped-def]
        assert 0 <= seconds < 60
        self.heard.append((server.name, outcome.value))


def listen_to(lb: Proxy) -> Recorder:
    """Give the proxy's pool a balancer that records."""
    recorder = Recorder()
    pool = lb.pool
    pool.reconfigure(list(pool), balancer=recorder, rules=pool.rules, settings=pool.settings, now=0)
    return recorder


def replying(answer: bytes):  # type: ignore[no-untyped-def]
    async def reply(client: Client) -> None:
        while True:
            await client.until(b"\r\n\r\n")
            client.send(answer)

    return reply


class Gate:
    """A server that answers when it is told to."""

    def __init__(self) -> None:
        self.waiting = 0
        self._open = asyncio.Semaphore(0)

    async def __call__(self, client: Client) -> None:
        while True:
            await client.until(b"\r\n\r\n")
            self.waiting += 1
            await self._open.acquire()
            self.waiting -= 1
            client.send(OK)

    def let_one_through(self) -> None:
        self._open.release()


async def ask(client: Client, head: bytes = GET) -> tuple[int, dict[str, str], bytes]:
    client.send(head)
    return await client.response()


@on_both_loops
async def test_start_first_byte_and_end_of_every_attempt_are_reported() -> None:
    async with (
        upstream(replying(OK), "good") as good,
        proxy(refusing("down"), good.server) as lb,
        lb.site.client() as client,
    ):
        recorder = listen_to(lb)
        assert (await ask(client))[0] == 200
        await until(lambda: len(recorder.heard) == 5)
    assert recorder.heard == [
        ("down", "started"),
        ("down", "connect failed"),
        ("good", "started"),
        ("good", "responded"),
        ("good", "done"),
    ]
    assert lb.pool.open_sessions == 0


@on_both_loops
async def test_outcomes() -> None:
    cases = [
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", 500, Outcome.ERROR),
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", 503, Outcome.ERROR),
        (b"HTTP/1.1 501 What\r\nContent-Length: 0\r\n\r\n", 501, Outcome.DONE),
        (b"HTTP/1.1 404 Where\r\nContent-Length: 0\r\n\r\n", 404, Outcome.DONE),
        (b"no http at all\r\n\r\n", 502, Outcome.ERROR),
    ]
    for answer, status, outcome in cases:
        async with upstream(replying(answer)) as a, proxy(a.server) as lb, lb.site.client() as client:
            recorder = listen_to(lb)
            assert (await ask(client))[0] == status
            pool = lb.pool
            await until(lambda pool=pool: pool.open_sessions == 0)
            assert recorder.heard[-1] == ("a", outcome.value)


@on_both_loops
async def test_silence_is_a_timeout_and_a_client_that_leaves_is_nobodys_fault() -> None:
    gate = Gate()
    settings = ForwardSettings(server=0.15)
    async with upstream(gate) as a, proxy(a.server, settings=settings) as lb:
        recorder = listen_to(lb)
        async with lb.site.client() as client:
            assert (await ask(client))[0] == 504
        async with lb.site.client() as client:
            client.send(GET)
            await until(lambda: gate.waiting == 2)
        await until(lambda: len(recorder.heard) == 4)
    assert [what for _, what in recorder.heard] == ["started", "timeout", "started", "cancelled"]


@on_both_loops
async def test_keys() -> None:
    settings = ForwardSettings(key=parse_key("header:X-User"))
    async with (
        upstream(replying(OK)) as a,
        proxy(a.server, settings=settings) as lb,
        lb.site.client() as client,
    ):
        recorder = listen_to(lb)
        lb.forwarder.settings = settings  # as a reload does
        await ask(client, GET.replace(b"\r\n\r\n", b"\r\nX-User: ann\r\n\r\n"))
        await ask(client)
    assert recorder.keys == [b"ann", None]


def limited(lb: Proxy, limit: int, max_queue: int = 10) -> Pool:
    pool = lb.pool
    servers = [Server(server.name, server.address, max_connections=limit) for server in pool]
    settings = PoolSettings(max_queue=max_queue)
    pool.reconfigure(servers, balancer=None, rules=pool.rules, settings=settings, now=0)
    return pool


@on_both_loops
async def test_requests_over_the_limit_wait_their_turn() -> None:
    gate = Gate()
    async with (
        upstream(gate) as a,
        proxy(a.server) as lb,
        lb.site.client() as one,
        lb.site.client() as two,
        lb.site.client() as three,
    ):
        pool = limited(lb, 1)
        for number, client in enumerate((one, two, three)):
            client.send(GET)
            await until(lambda number=number: gate.waiting + pool.waiting == number + 1)
        assert (gate.waiting, pool.waiting) == (1, 2)
        for client in (one, two, three):
            gate.let_one_through()
            assert (await client.response())[0] == 200
        assert (pool.open_sessions, pool.waiting, pool.queued) == (0, 0, 2)


@on_both_loops
async def test_a_wait_ends_at_the_deadline_at_a_full_queue_and_when_the_client_leaves() -> None:
    gate = Gate()
    settings = ForwardSettings(queue=0.1)
    async with (
        upstream(gate) as a,
        proxy(a.server, settings=settings) as lb,
        lb.site.client() as holder,
        lb.site.client() as late,
    ):
        pool = limited(lb, 1, max_queue=1)
        holder.send(GET)
        await until(lambda: gate.waiting == 1)
        assert (await ask(late))[0] == 503
        assert pool.queue_timeouts == 1
        lb.forwarder.settings = ForwardSettings(queue=60)
        async with lb.site.client() as leaver:
            leaver.send(GET)
            await until(lambda: pool.waiting == 1)
            assert (await ask(late))[0] == 503
            assert pool.queue_refused == 1
        await until(lambda: pool.waiting == 0)
        gate.let_one_through()
        assert (await holder.response())[0] == 200
        assert pool.open_sessions == 0


def sticky(headers: dict[str, str]) -> str:
    return headers["set-cookie"].partition(";")[0]


@on_both_loops
async def test_a_cookie_keeps_a_client_at_its_server() -> None:
    settings = ForwardSettings(sticky_cookie="lb")
    async with (
        upstream(replying(OK), "a") as a,
        upstream(replying(OK), "b") as b,
        proxy(a.server, b.server, settings=settings) as lb,
        lb.site.client() as client,
    ):
        status, headers, _ = await ask(client)
        cookie = sticky(headers)
        assert headers["set-cookie"].endswith("; Path=/; HttpOnly; SameSite=Lax")
        assert headers["cache-control"] == "private"
        first = next(server for server in lb.pool if server.counters.requests)
        with_cookie = GET.replace(b"\r\n\r\n", b"\r\nCookie: x=1; " + cookie.encode() + b"\r\n\r\n")
        for _ in range(6):
            status, headers, _ = await ask(client, with_cookie)
            assert status == 200
            assert "set-cookie" not in headers
        assert first.counters.requests == 7
        lb.pool.set_state(first.name, AdminState.DRAIN, 0)
        await ask(client, with_cookie)
        assert first.counters.requests == 8, "a draining server keeps those it has"
        lb.pool.set_state(first.name, AdminState.MAINT, 0)
        _, headers, _ = await ask(client, with_cookie)
        assert sticky(headers) != cookie, "it moved on and says where to"
        assert first.counters.requests == 8


@on_both_loops
async def test_a_sticky_request_waits_for_its_own_server() -> None:
    gate = Gate()
    settings = ForwardSettings(sticky_cookie="lb")
    async with (
        upstream(gate, "a") as a,
        upstream(replying(OK), "b") as b,
        proxy(a.server, b.server, settings=settings) as lb,
        lb.site.client() as one,
        lb.site.client() as two,
    ):
        pool = limited(lb, 1)
        cookie = b"lb=" + pool.token_of(pool["a"]).encode()
        head = GET.replace(b"\r\n\r\n", b"\r\nCookie: " + cookie + b"\r\n\r\n")
        one.send(head)
        await until(lambda: gate.waiting == 1)
        two.send(head)
        await until(lambda: pool.waiting == 1)
        for client in (one, two):
            gate.let_one_through()
            assert (await client.response())[0] == 200
        assert b.server.counters.requests == 0


@on_both_loops
async def test_retries_stop_when_the_budget_is_spent() -> None:
    servers = [refusing(name) for name in "abcdef"]
    async with proxy(*servers) as lb, lb.site.client() as client:
        pool = lb.pool
        settings = PoolSettings(retry_percent=0, retry_minimum=0)
        pool.reconfigure(list(pool), balancer=None, rules=pool.rules, settings=settings, now=0)
        assert (await ask(client))[0] == 502
        assert sum(server.counters.connect_errors for server in servers) == 1
        assert pool.retries_refused == 1


@on_both_loops
async def test_many_that_find_a_server_dead_in_the_same_moment_all_go_on_to_another() -> None:
    async with upstream(replying(OK), "up") as up, proxy(refusing("down"), up.server) as lb:
        async with contextlib.AsyncExitStack() as crowd:
            clients = [await crowd.enter_async_context(lb.site.client()) for _ in range(40)]
            for client in clients:
                client.send(GET)
            assert [(await client.response())[0] for client in clients] == [200] * 40
        assert lb.pool.retries_refused == 0
        assert lb.pool["down"].counters.connect_errors == 20


@on_both_loops
async def test_patience_with_others_tries_has_an_end() -> None:
    async with upstream(replying(OK), "up") as up, proxy(refusing("down"), up.server) as lb:
        async with lb.site.client() as client:
            pool = lb.pool
            while pool.start_retry():
                pass
            refused = pool.retries_refused
            listen_to(lb)  # picks the first server first
            assert (await ask(client))[0] == 502
            assert pool.retries_refused == refused + 1


@on_both_loops
async def test_a_try_after_a_failed_connect_counts_only_until_it_is_connected() -> None:
    gate = Gate()
    async with (
        upstream(gate, "up") as up,
        proxy(refusing("down"), up.server) as lb,
        lb.site.client() as one,
        lb.site.client() as two,
        lb.site.client() as three,
    ):
        listen_to(lb)  # picks the first server first
        pool = lb.pool
        settings = PoolSettings(retry_percent=0, retry_minimum=1)
        pool.reconfigure(list(pool), balancer=None, rules=pool.rules, settings=settings, now=0)
        for number, client in enumerate((one, two, three), 1):
            client.send(GET)
            await until(lambda number=number: gate.waiting == number)
        for client in (one, two, three):
            gate.let_one_through()
            assert (await client.response())[0] == 200
        assert pool.retries_refused == 0


@on_both_loops
async def test_a_request_sent_again_counts_to_its_end() -> None:
    gate, seen = Gate(), 0

    async def dies_first(client: Client) -> None:
        nonlocal seen
        await client.until(b"\r\n\r\n")
        seen += 1

    async with (
        upstream(dies_first, "dies") as dies,
        upstream(gate, "up") as up,
        proxy(dies.server, up.server) as lb,
        lb.site.client() as one,
        lb.site.client() as two,
    ):
        listen_to(lb)
        pool = lb.pool
        settings = PoolSettings(retry_percent=0, retry_minimum=1)
        pool.reconfigure(list(pool), balancer=None, rules=pool.rules, settings=settings, now=0)
        one.send(GET)
        await until(lambda: gate.waiting == 1)
        assert (await ask(two))[0] == 502
        assert pool.retries_refused == 1
        gate.let_one_through()
        assert (await one.response())[0] == 200
        assert pool.start_retry(), "given back"


@on_both_loops
async def test_a_client_that_had_left_before_it_would_have_to_wait_takes_no_place_in_the_queue() -> None:
    gate = Gate()
    async with upstream(gate) as a, proxy(a.server) as lb, lb.site.client() as one, lb.site.client() as gone:
        pool = limited(lb, 1)
        one.send(GET)
        await until(lambda: gate.waiting == 1)
        forward, ended = lb.site.http.handler, asyncio.Event()

        async def late(exchange: Exchange) -> None:
            await exchange.wait_disconnected()
            try:
                await forward(exchange)
            finally:
                ended.set()

        lb.site.http.handler = late
        gone.send(GET)
        gone.writer.write_eof()
        async with asyncio.timeout(2):
            await ended.wait()
        assert (pool.waiting, pool.queued) == (0, 0)
        gate.let_one_through()
        await one.response()
    assert pool.open_sessions == 0


@on_both_loops
async def test_a_retry_that_stands_in_line_takes_nothing_of_the_budget() -> None:
    gate = Gate()
    async with (
        upstream(gate, "good") as good,
        proxy(refusing("down"), good.server) as lb,
        lb.site.client() as one,
        lb.site.client() as two,
    ):
        pool = limited(lb, 1)
        pool.settings = PoolSettings(retry_minimum=1, retry_percent=0)
        pool.acquire(pool["good"], 0)
        one.send(GET)
        two.send(GET)
        await until(lambda: pool.waiting == 2)
        assert pool.retries_refused == 0
        pool.release(pool["good"], 0)
        for client in (one, two):
            gate.let_one_through()
            assert (await client.response())[0] == 200
        await until(lambda: pool.open_sessions == 0)
        assert pool.start_retry(), "all of it is given back"
        assert not pool.start_retry()


@on_both_loops
async def test_a_client_that_is_lost_as_its_answer_comes_leaves_the_connection_to_others() -> None:
    asked = asyncio.Event()

    async def server(client: Client) -> None:
        await client.reader.readuntil(b"\r\n\r\n")
        asked.set()  # this answer comes by hand
        await client.reader.readuntil(b"\r\n\r\n")
        client.send(OK)
        await client.reader.read()

    async with upstream(server) as a, proxy(a.server) as lb:
        async with lb.site.client() as client:
            client.send(GET)
            await asked.wait()
            (wire,), (connection,) = lb.site.http.connections, lb.forwarder._watched
            wire.abort()  # which the client's exchange hears of in the loop's next round
            connection.data_received(OK)
            await until(lambda: not lb.site.http.connections)
        async with lb.site.client() as other:
            other.send(GET)
            assert (await other.response())[0] == 200
        assert a.connections == 1 and lb.pool.open_sessions == 0
