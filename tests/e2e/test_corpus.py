"""The corpus through lbkit as users run it: a process, on one listener after the other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.exchange.wire import connected
from tests.support.processes import Lbkit, write_config
from tests.support.recording import echo_of, read_response, recorder
from tests.support.streams import CORPUS, read_stream

LISTENER = """
[listeners.web]
listen = "127.0.0.1:0"
mode = "http"
pool = "web"
access_log = "access.log"
"""
POOL = """
[[pools.web.servers]]
name = "a"
address = "127.0.0.1:%d"
"""
OPTIONS = {
    "plain": [],
    "with a firewall, a route and a sticky cookie": [
        '[listeners.web.firewall]\nrequest_rate = "100000/s burst 100000"\nmax_connections_per_client = 100',
        '[[listeners.web.routes]]\npath = "/hidden"\npool = "web"',
        '[pools.web]\nsticky_cookie = "at"',
    ],
}


@pytest.mark.parametrize("name", OPTIONS)
def test_the_corpus(name: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with recorder() as behind:
            file = write_config(tmp_path / "lbkit.toml", [LISTENER, *OPTIONS[name], POOL % behind.port])
            with Lbkit("run", str(file), log=tmp_path / "log") as lbkit:
                port = (await asyncio.to_thread(lbkit.listens, "web"))[1]
                for data in CORPUS:
                    await check(port, data)
                assert not behind.misread
                expected = [one for data in CORPUS for one in read_stream(data).requests]
                assert [seen.what for seen in behind.seen] == expected
                assert await asyncio.to_thread(lbkit.stop) == 0
                assert "Traceback" not in lbkit.output

    asyncio.run(run())


async def check(port: int, data: bytes) -> None:
    expected = read_stream(data)
    async with asyncio.timeout(20), connected(port) as client:
        client.send(data)
        for request in expected.requests:
            status, _, body = await read_response(client.reader, request[0])
            assert (status, body) == (200, b"" if request[0] == "HEAD" else echo_of(*request))
        if expected.refusal:
            assert (await read_response(client.reader, expected.refused))[0] == expected.refusal
        if expected.closes:
            assert await client.reader.read() == b""
