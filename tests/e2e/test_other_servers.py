"""Servers of other families behind a live proxy: none of them sees more requests, or other ones, than the proxy did.

Each gets the streams of the corpus and many generated ones. It may refuse what the proxy lets through, but then
that is one answer to one request; what it answers has to be what was asked, in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from lbkit.server import Server
from tests.exchange.wire import connected
from tests.proxy.upstreams import proxy
from tests.support.processes import ROOT
from tests.support.programs import free_port, program, started
from tests.support.recording import Echo, read_response, recorder
from tests.support.streams import CORPUS, STREAMS, read_stream

HOST = "127.0.0.1"
Place = Callable[[Path, int, int], list[str]]
"""The command that listens on the first port, with a folder for its files; the second is a recorder's."""


def uvicorn(parser: str) -> Place:
    module = [sys.executable, "-m", "uvicorn", "tests.support.echo:app", "--no-access-log", "--http", parser]
    return lambda folder, port, behind: [*module, "--app-dir", str(ROOT), "--port", str(port)]


def own(folder: Path, port: int, behind: int) -> list[str]:
    place = ["--app-dir", str(ROOT), "--listen", f"{HOST}:{port}"]
    return [sys.executable, "-m", "lbkit", "app", "tests.support.echo:app", *place]


def python(folder: Path, port: int, behind: int) -> list[str]:
    return [sys.executable, str(ROOT / "tests/support/echo.py"), str(port)]


def nginx(folder: Path, port: int, behind: int) -> list[str]:
    file = folder / "nginx.conf"
    file.write_text(
        f"""daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
        events {{}}
        http {{
            access_log off;
            client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
            uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
            server {{ listen {HOST}:{port}; location / {{
                proxy_pass http://{HOST}:{behind}; proxy_http_version 1.1;
                proxy_set_header Connection ""; proxy_set_header Host $host; }} }}
        }}"""
    )
    return [program("nginx"), "-p", str(folder), "-c", str(file)]


def haproxy(folder: Path, port: int, behind: int) -> list[str]:
    file = folder / "haproxy.cfg"
    file.write_text(
        f"""defaults
    mode http
    timeout connect 5s
    timeout client 10s
    timeout server 10s
frontend in
    bind {HOST}:{port}
    default_backend out
backend out
    server recorder {HOST}:{behind}
"""
    )
    return [program("haproxy"), "-db", "-f", str(file)]


PLACES: dict[str, Place] = {
    "uvicorn with httptools": uvicorn("httptools"),
    "uvicorn with h11": uvicorn("h11"),
    "lbkit": own,
    "http.server": python,
    "nginx": nginx,
    "HAProxy": haproxy,
}


def streams() -> list[bytes]:
    """The same ones in each run."""
    found = [data + b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n" for data in CORPUS]

    @settings(
        max_examples=150,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )
    @seed(7)
    @given(STREAMS)
    def collect(data: bytes) -> None:
        found.append(data)

    collect()
    random.Random(7).shuffle(found)
    return found


def plain(target: str) -> str:
    """Applications are not told of an empty query."""
    return target.removesuffix("?")


def is_echo(body: bytes, request: Echo) -> bool:
    method, target, content = request
    seen = json.loads(body)
    return (seen["method"], plain(seen["target"]), seen["body"]) == (method, plain(target), content.hex())


@contextlib.asynccontextmanager
async def behind_proxy(place: Place, folder: Path) -> AsyncIterator[tuple[int, list[Echo], list[str]]]:
    """The port of a proxy in front of the server; what a recorder behind that sees, and what it cannot read."""
    port = free_port(HOST)
    async with recorder() as last:
        command = place(folder, port, last.port)
        with started(command, (HOST, port), folder / "log"):
            async with proxy(Server("other", f"{HOST}:{port}")) as lb:
                yield lb.site.port, last.seen, last.misread  # type: ignore[misc]


async def check(port: int, data: bytes) -> int:
    """Send *data*; how many requests the server answered with what it read, which is what the proxy did."""
    expected = read_stream(data)
    echoed = 0
    async with asyncio.timeout(20), connected(port) as client:
        client.send(data)
        for request in expected.requests:
            status, _, body = await read_response(client.reader, request[0])
            if status == 200:
                assert request[0] == "HEAD" or is_echo(body, request), (data, request, body)
                echoed += 1
            else:
                assert status >= 400, (data, request, body)
        if expected.refusal:
            assert (await read_response(client.reader, expected.refused))[0] == expected.refusal
        if expected.closes:
            assert await client.reader.read() == b""
    async with asyncio.timeout(20), connected(port) as client:
        client.send(b"GET /sentinel HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        body = (await read_response(client.reader, "GET"))[2]
        assert is_echo(body, ("GET", "/sentinel", b"")), (data, body)
    return echoed + 1


@pytest.mark.parametrize("name", PLACES)
def test_it_sees_what_the_proxy_saw(name: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with behind_proxy(PLACES[name], tmp_path) as (port, seen, misread):
            everything = streams()
            echoed = sum([await check(port, data) for data in everything])
            assert echoed > 1.5 * len(everything)  # most of what is let through is taken by all of them
            assert not misread
            assert len(seen) in (0, echoed)

    asyncio.run(run())
