"""The time for a whole request: told to servers, believed of neighbours that are trusted, and kept."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from lbkit.exchange import Exchange
from lbkit.proxy.forward import ForwardSettings
from tests.exchange.wire import GET, Client
from tests.proxy.test_accel import accelerated
from tests.proxy.upstreams import Behaviour, proxy, upstream
from tests.support.loops import on_both_loops, until

FIELD = b"X-Envoy-Expected-Rq-Timeout-Ms"
TELLS = ForwardSettings(request=30.0, deadline_field=FIELD)
NOBODY: frozenset[str] = frozenset()


async def echo(client: Client) -> None:
    """Answers with the head that it got."""
    while True:
        head = await client.reader.readuntil(b"\r\n\r\n")
        client.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(head), head))


def fields(head: bytes) -> list[int]:
    """What is left by the fields of *head*, however they are spelled."""
    pairs = (line.partition(b": ") for line in head.split(b"\r\n")[1:])
    return [int(value) for name, _, value in pairs if name.lower().replace(b"_", b"-") == FIELD.lower()]


CLAIMS = [
    # settings, what the client says, from and to how many milliseconds the server is told
    (TELLS, b"", (29_000, 30_000)),
    (TELLS, FIELD + b": 2000\r\n", (1_000, 2_000)),
    (TELLS, FIELD + b": 90000\r\n", (29_000, 30_000)),
    (TELLS, FIELD + b": soon\r\n", (29_000, 30_000)),
    (TELLS, FIELD.replace(b"-", b"_") + b": 1\r\n", (29_000, 30_000)),
    (replace(TELLS, trusted=NOBODY), FIELD + b": 2000\r\n", (29_000, 30_000)),
    (replace(TELLS, request=0.0), FIELD + b": 2000\r\n", (1_000, 2_000)),
    (replace(TELLS, request=0.0), b"", None),
    (replace(TELLS, request=0.0, trusted=NOBODY), FIELD + b": 2000\r\n", None),
    (replace(TELLS, deadline_field=b""), b"", None),
    (ForwardSettings(), FIELD + b": 2000\r\n", (2_000, 2_000)),
]


@pytest.mark.parametrize(("settings", "said", "told"), CLAIMS)
@on_both_loops
async def test_what_servers_are_told(
    settings: ForwardSettings, said: bytes, told: tuple[int, int] | None
) -> None:
    async with upstream(echo) as a, proxy(a.server, settings=settings) as lb, lb.site.client() as client:
        for method in (b"GET", b"POST"):
            for _ in range(2):
                body = b"Content-Length: 2\r\n\r\nab" if method == b"POST" else b"\r\n"
                client.send(method + b" / HTTP/1.1\r\nHost: h\r\n" + said + body)
                left = fields((await client.response())[2])
                assert len(left) == (told is not None)
                if told is not None:
                    assert told[0] <= left[0] <= told[1]


@on_both_loops
async def test_time_in_the_queue_is_taken_off() -> None:
    settings = replace(TELLS, request=10.0)
    async with upstream(echo) as a:
        a.server.max_connections = 1
        async with proxy(a.server, settings=settings) as lb, lb.site.client() as client:
            lb.pool.acquire(a.server, 0.0)
            client.send(GET)
            await until(lambda: lb.pool.waiting == 1)
            await asyncio.sleep(0.1)
            lb.pool.release(a.server, 0.0, 0.0)
            assert fields((await client.response())[2])[0] <= 9_900


async def silent(client: Client) -> None:
    await client.reader.read()


async def half(client: Client) -> None:
    await client.reader.readuntil(b"\r\n\r\n")
    client.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    await client.reader.read()


SHORT = ForwardSettings(request=0.05)


@on_both_loops
async def test_a_server_that_takes_longer_is_left() -> None:
    async with upstream(silent) as a, proxy(a.server, settings=SHORT) as lb, lb.site.client() as client:
        for _ in range(2):
            client.send(GET)
            assert (await client.response())[0] == 504
        await until(lambda: a.open == 0)
        assert a.server.open_sessions == 0 and a.server.counters.timeouts == 0


@on_both_loops
async def test_an_answer_that_has_begun_is_cut() -> None:
    async with upstream(half) as a, proxy(a.server, settings=SHORT) as lb, lb.site.client() as client:
        client.send(GET)
        await client.until(b"half")
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await client.exactly(1)
        await until(lambda: a.open == 0)


@on_both_loops
async def test_nobody_waits_in_the_queue_for_longer() -> None:
    async with upstream(silent) as a:
        a.server.max_connections = 1
        async with proxy(a.server, settings=SHORT) as lb, lb.site.client() as client:
            lb.pool.acquire(a.server, 0.0)
            client.send(GET)
            assert (await client.response())[0] == 504
            assert lb.pool.waiting == 0 and a.connections == 0


@on_both_loops
async def test_what_comes_too_late_is_not_begun() -> None:
    settings = ForwardSettings(deadline_field=FIELD)
    async with upstream(echo) as a, proxy(a.server, settings=settings) as lb, lb.site.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n%b: 0\r\n\r\n" % FIELD)
        assert (await client.response())[0] == 504
        assert a.connections == 0


@on_both_loops
async def test_a_tunnel_is_no_request_any_more() -> None:
    async def tunnels(client: Client) -> None:
        await client.reader.readuntil(b"\r\n\r\n")
        client.send(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        while data := await client.reader.read(100):
            client.send(data)

    async with upstream(tunnels) as a, proxy(a.server, settings=SHORT) as lb, lb.site.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await client.until(b"\r\n\r\n")
        for _ in range(4):
            await asyncio.sleep(0.03)
            client.send(b"ping")
            assert await client.exactly(4) == b"ping"


@on_both_loops
async def test_a_file_in_place_of_the_answer_may_take_longer(tmp_path: Path) -> None:
    with (tmp_path / "big.bin").open("wb") as file:
        file.truncate(20_000_000)
    said: Behaviour = says_big
    async with accelerated(tmp_path, said, SHORT) as client:
        client.send(GET)
        await client.until(b"\r\n\r\n")
        await asyncio.sleep(0.1)
        assert len(await client.exactly(20_000_000)) == 20_000_000


async def says_big(client: Client) -> None:
    await client.reader.readuntil(b"\r\n\r\n")
    client.send(b"HTTP/1.1 200 OK\r\nX-Accel-Redirect: /private/big.bin\r\nContent-Length: 0\r\n\r\n")
    await client.reader.read()


@on_both_loops
async def test_a_timeout_of_something_else_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async with upstream(echo) as a, proxy(a.server, settings=TELLS) as lb, lb.site.client() as client:

        async def broken(*_: Exchange) -> None:
            raise TimeoutError

        monkeypatch.setattr(lb.forwarder, "serve", broken)
        client.send(GET)
        assert (await client.response())[0] == 500
