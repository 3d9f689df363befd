from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lbkit.config import Config, loads
from lbkit.errors import ConfigError, StartFailed
from lbkit.runtime import Runtime, catalog
from lbkit.server import Address
from tests.support.backends import Backend, echo, free_address, full_backlog
from tests.support.loops import on_both_loops


def server(name: str, address: str, **extra: object) -> str:
    lines = [f"{key} = {json.dumps(value)}" for key, value in extra.items()]
    return "\n".join(["[[pools.p.servers]]", f'name = "{name}"', f'address = "{address}"', *lines])


def tcp(*servers: str, more: str = "", pool: str = "") -> Config:
    text = f'[listeners.main]\nlisten = "127.0.0.1:0"\npool = "p"\n{more}\n[pools.p]\n{pool}\n'
    return loads(text + "\n".join(servers), catalog())


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[Runtime]:
    runtime = Runtime(config)
    await runtime.start()
    try:
        yield runtime
    finally:
        await runtime.close()


async def exchange(address: Address, data: bytes, *, end: bool = True) -> bytes:
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        try:
            writer.write(data)
            if end:
                writer.write_eof()
            return await reader.read()
        finally:
            writer.close()


async def get(address: Address, path: str = "/") -> tuple[bytes, bytes]:
    """Status line and body of one request."""
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    head, _, body = (await exchange(address, request.encode(), end=False)).partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0], body


@on_both_loops
async def test_a_tcp_listener_with_checks() -> None:
    async with Backend(echo) as one:
        config = tcp(server("a", one), server("b", free_address()), pool='[pools.p.health]\ncheck = "tcp"')
        async with running(config) as runtime:
            async with asyncio.timeout(5):
                while (
                    len(runtime.pool("p").candidates()) != 1
                    or runtime.pool("p")["b"].counters.checks_failed < 1
                ):
                    await asyncio.sleep(0)
            for _ in range(4):
                assert await exchange(runtime.addresses["main"], b"hello") == b"hello"
            assert runtime.pool("p")["b"].counters.picks == 0


@on_both_loops
async def test_http_routes_to_files_and_pools_and_the_admin_endpoint(tmp_path: Path) -> None:
    (tmp_path / "hello.txt").write_text("hello")
    text = f"""
    [admin]
    listen = "127.0.0.1:0"
    [listeners.web]
    listen = "127.0.0.1:0"
    mode = "http"
    [[listeners.web.routes]]
    path = "/files/"
    static = {json.dumps(str(tmp_path))}
    [[listeners.web.routes]]
    path = "/pool/"
    pool = "p"
    [pools.p]
    {server("a", free_address())}
    """
    async with running(loads(text, catalog())) as runtime:
        web = runtime.addresses["web"]
        assert await get(web, "/files/hello.txt") == (b"HTTP/1.1 200 OK", b"hello")
        assert (await get(web, "/other"))[0] == b"HTTP/1.1 404 Not Found"
        assert (await get(web, "/pool/x"))[0] == b"HTTP/1.1 502 Bad Gateway"
        _, status = await get(runtime.addresses["admin"], "/status")
        shown = json.loads(status)
        assert shown["pools"]["p"]["servers"]["a"]["connect_errors"] == 1
        assert shown["listeners"]["web"]["responses"] == {"1xx": 0, "2xx": 1, "3xx": 0, "4xx": 1, "5xx": 1}
        _, metrics = await get(runtime.addresses["admin"], "/metrics")
        assert b'lbkit_server_connect_errors_total{pool="p",server="a"} 1.0' in metrics


@on_both_loops
async def test_two_routes_may_show_one_folder(tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_text("f")
    routes = "".join(
        f'[[listeners.web.routes]]\npath = "/{name}/"\nstatic = {json.dumps(str(tmp_path))}\n'
        for name in "ab"
    )
    async with running(
        loads(f'[listeners.web]\nlisten = "127.0.0.1:0"\nmode = "http"\n{routes}', catalog())
    ) as runtime:
        for name in "ab":
            assert await get(runtime.addresses["web"], f"/{name}/f.txt") == (b"HTTP/1.1 200 OK", b"f")


@on_both_loops
async def test_an_address_in_use_leaves_nothing_open() -> None:
    async with running(tcp(server("a", free_address()))) as runtime:
        taken = runtime.addresses["main"]
        more = f'[listeners.other]\nlisten = "{taken}"\npool = "p"\n'
        with pytest.raises(StartFailed, match="in use"):
            await Runtime(tcp(server("a", free_address()), more=more)).start()


@on_both_loops
async def test_reload_changes_pools_in_place_and_cuts_no_session() -> None:
    async with Backend(echo) as one, Backend(echo) as two, running(tcp(server("a", one))) as runtime:
        address = runtime.addresses["main"]
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        pool, old = runtime.pool("p"), runtime.pool("p")["a"]

        await runtime.reload(tcp(server("b", two)))
        assert runtime.pool("p") is pool
        assert runtime.addresses["main"] == address
        assert await exchange(address, b"new") == b"new"
        assert pool["b"].counters.picks == 1
        writer.write(b"y")
        assert await reader.readexactly(1) == b"y", "the old session is still there"
        writer.close()
        async with asyncio.timeout(5):
            while runtime.open_sessions:
                await asyncio.sleep(0)
        assert (old.open_sessions, old.counters.bytes_in) == (0, 2)
        assert runtime.reloads == 1


@on_both_loops
async def test_reload_to_an_address_in_use_changes_nothing() -> None:
    async with Backend(echo) as one, running(tcp(server("a", one))) as runtime:
        before = dict(runtime.addresses)
        more = f'[listeners.other]\nlisten = "{one}"\npool = "p"\n'
        with pytest.raises(StartFailed, match="in use"):
            await runtime.reload(tcp(server("b", free_address()), more=more))
        assert runtime.addresses == before
        assert [server.name for server in runtime.pool("p")] == ["a"]
        assert await exchange(runtime.addresses["main"], b"hello") == b"hello"


@on_both_loops
async def test_reload_adds_and_removes_listeners_and_pools() -> None:
    async with Backend(echo) as one, running(tcp(server("a", one))) as runtime:
        first = runtime.addresses["main"]
        more = '[listeners.second]\nlisten = "127.0.0.1:0"\npool = "q"\n'
        added = f'\n[pools.q]\n[[pools.q.servers]]\nname = "z"\naddress = "{one}"'
        await runtime.reload(tcp(server("a", one), added, more=more))
        second = runtime.addresses["second"]
        assert await exchange(second, b"two") == b"two"
        await runtime.reload(tcp(server("a", one)))
        assert runtime.addresses == {"main": first}
        with pytest.raises(ConnectionRefusedError):
            await exchange(second, b"")
        with pytest.raises(KeyError):
            runtime.pool("q")


@on_both_loops
async def test_reload_changes_the_mode_of_a_listener() -> None:
    async with Backend(echo) as one, running(tcp(server("a", one))) as runtime:
        address = runtime.addresses["main"]
        text = f'[listeners.main]\nlisten = "127.0.0.1:0"\nmode = "http"\npool = "p"\n[pools.p]\n{server("a", free_address())}'
        await runtime.reload(loads(text, catalog()))
        assert runtime.addresses["main"] == address
        assert (await get(address))[0] == b"HTTP/1.1 502 Bad Gateway"
        await runtime.reload(tcp(server("a", one)))
        assert await exchange(address, b"hello") == b"hello"


@on_both_loops
async def test_reload_changes_algorithm_and_checks() -> None:
    async with Backend(echo) as one, Backend(echo) as two:
        servers = server("a", one), server("b", two)
        async with running(tcp(*servers)) as runtime:
            pool = runtime.pool("p")
            await runtime.reload(
                tcp(
                    *servers,
                    pool='algorithm = "active_passive"\n[pools.p.health]\ncheck = "tcp"\ninterval = "60s"',
                )
            )
            assert {pool.pick(0).name for _ in range(4)} == {"a"}
            async with asyncio.timeout(5):
                while not pool["a"].counters.checks_passed:
                    await asyncio.sleep(0)
            await runtime.reload(tcp(*servers))
            assert pool.health("a").state.value == "up"


@on_both_loops
async def test_a_listener_of_any_name_forwards() -> None:
    async def headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)

    async with Backend(headers) as backend:
        text = '[listeners."日本 web"]\nlisten = "127.0.0.1:0"\nmode = "http"\npool = "p"\n[pools.p]\n'
        async with running(loads(text + server("a", backend), catalog())) as runtime:
            status, body = await get(runtime.addresses["日本 web"])
            assert status == b"HTTP/1.1 200 OK"
            assert b"Via: 1.1 ___web\r\n" in body


@on_both_loops
async def test_drain() -> None:
    async with Backend(echo) as one:
        config = tcp(server("a", one), more='[global]\ndrain_timeout = "5s"')
        async with running(config) as runtime:
            address = runtime.addresses["main"]
            reader, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(b"x")
            await reader.readexactly(1)
            draining = asyncio.create_task(runtime.drain())
            await asyncio.sleep(0)
            with pytest.raises(ConnectionRefusedError):
                await exchange(address, b"")
            writer.write(b"y")
            assert await reader.readexactly(1) == b"y", "a session may go on"
            writer.close()
            assert await draining is True


async def test_the_same_seed_gives_the_same_picks_also_after_a_reload() -> None:
    def numbers(runtime: Runtime) -> list[float]:
        return [runtime.pool("p").balancer.rng.random() for _ in range(5)]

    seeded = tcp(server("a", free_address()), more="[global]\nseed = 7")
    other = loads('[global]\nseed = 8\n[admin]\nlisten = "127.0.0.1:0"', catalog())
    async with running(seeded) as one, running(seeded) as two, running(other) as reloaded:
        await reloaded.reload(seeded)
        assert numbers(one) == numbers(two) == numbers(reloaded)


async def test_a_relay_that_cannot_be_used_is_a_configuration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from lbkit.relay import RELAYS

    monkeypatch.setattr(RELAYS["stream"].factory, "unsupported", lambda: "no luck")
    with pytest.raises(
        ConfigError, match=r'listeners\.main\.relay: relay "stream" cannot be used here: no luck'
    ):
        await Runtime(tcp(server("a", free_address()), more='relay = "stream"')).start()


CHECKED = '[pools.p.health]\ncheck = "tcp"\ntimeout = "300ms"\ninterval = "60s"'


@on_both_loops
async def test_it_accepts_only_when_every_server_was_looked_at_once() -> None:
    """Otherwise a client that comes at the first moment finds no server known to be up."""
    async with Backend(echo) as one:
        config = tcp(server("a", one), server("b", free_address()), pool=CHECKED)
        async with running(config) as runtime:
            assert [item.name for item in runtime.pool("p").candidates()] == ["a"]
            assert await exchange(runtime.addresses["main"], b"hello") == b"hello"
            assert runtime.pool("p")["b"].counters.checks_failed == 1


@on_both_loops
async def test_a_reload_that_replaces_every_server_leaves_no_gap() -> None:
    async with Backend(echo) as one, Backend(echo) as two:
        async with running(tcp(server("a", one), pool=CHECKED)) as runtime:
            await runtime.reload(tcp(server("b", two), pool=CHECKED))
            assert [item.name for item in runtime.pool("p").candidates()] == ["b"]
            assert runtime.pool("p")["b"].counters.checks_passed == 1


@on_both_loops
async def test_a_silent_server_delays_the_start_by_its_check_timeout_only() -> None:
    listening, clients = full_backlog()
    silent = f"127.0.0.1:{listening.getsockname()[1]}"
    async with Backend(echo) as one:
        async with asyncio.timeout(2):
            runtime = Runtime(tcp(server("a", one), server("b", silent), pool=CHECKED))
            await runtime.start()
        assert runtime.pool("p").health("b").reason == "no answer within 0.3 s"
        await runtime.close()
    for sock in (listening, *clients):
        sock.close()


@on_both_loops
async def test_a_reload_while_it_stops_changes_nothing() -> None:
    async with Backend(echo) as one, running(tcp(server("a", one))) as runtime:
        address = runtime.addresses["main"]
        await runtime.drain()
        await runtime.reload(tcp(server("b", one)))
        assert [item.name for item in runtime.pool("p")] == ["a"]
        with pytest.raises(ConnectionRefusedError):
            await exchange(address, b"")


@on_both_loops
async def test_a_timeout_of_zero_is_no_limit_in_http_mode_too() -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.3)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()

    zero = "\n".join(f'{key} = "0"' for key in ("client", "server", "request_head", "keep_alive", "queue"))
    more = f'mode = "http"\n[listeners.main.timeouts]\n{zero}'
    async with Backend(slow) as one, running(tcp(server("a", one), more=more)) as runtime:
        assert await get(runtime.addresses["main"]) == (b"HTTP/1.1 200 OK", b"ok")


@on_both_loops
async def test_what_time_brings_is_shown_also_while_there_are_no_sessions() -> None:
    async with Backend(echo) as one:
        slow = server("a", one, weight=16, slow_start="200ms")
        async with running(tcp(slow, pool='[pools.p.health]\ncheck = "tcp"')) as runtime:
            a = runtime.pool("p")["a"]
            assert a.effective_weight < 16
            await asyncio.sleep(0.3)
            runtime.view()
            assert a.effective_weight == 16
