"""Balancer, web server, app server, router, database: what nobody waits for any more ends in all of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from lbkit.mysql.driver import Connection, connect
from lbkit.mysql.dsn import Dsn
from tests.exchange.wire import Client, connected
from tests.support.databases import LivePair
from tests.support.processes import Lbkit, write_config

APP = """
import json
from urllib.parse import parse_qs

from lbkit import deadline
from lbkit.mysql import Router

router = Router(json.loads({dsns!r}))


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await router.start()
        await send({{"type": "lifespan.startup.complete"}})
        await receive()
        await router.close()
        await send({{"type": "lifespan.shutdown.complete"}})
        return
    if scope["path"] == "/left":
        body = json.dumps({{"left": deadline.remaining(), "scope": scope["extensions"].get("lbkit.deadline")}})
    else:
        rows = await router.fetch_all("SELECT SLEEP(30) AS slept, %s AS mark", [scope["path"]])
        body = str(rows)
    await send({{"type": "http.response.start", "status": 200}})
    await send({{"type": "http.response.body", "body": body.encode()}})
"""

LISTENER = """
[listeners.{name}]
listen = "127.0.0.1:0"
mode = "http"
pool = "next"
{more}
[pools.next]
servers = [{{ name = "a", address = "{address}" }}]
"""
DEADLINES = "deadlines = true\n"


class Chain:
    def __init__(self, port: int, database: Connection) -> None:
        self.port = port
        self._database = database

    async def works_on(self, mark: str) -> bool:
        """Whether the database is at the query for the path *mark*."""
        return bool(
            await self._database.fetch(
                "SELECT 1 FROM information_schema.processlist WHERE info LIKE %s AND id <> CONNECTION_ID()",
                [f"%SLEEP(30)%{mark}%"],
            )
        )

    async def becomes(self, mark: str, wanted: bool) -> float:
        """Wait until `works_on` is *wanted*; the seconds that it took."""
        started = time.monotonic()
        async with asyncio.timeout(10):
            while await self.works_on(mark) is not wanted:
                await asyncio.sleep(0.01)
        return time.monotonic() - started


@asynccontextmanager
async def chain(pair: LivePair, tmp_path: Path, balancer: str) -> AsyncIterator[Chain]:
    """What a balancer with the settings *balancer* leads to; its queries run on the replica."""
    (tmp_path / "sleeping.py").write_text(APP.format(dsns=json.dumps(pair.dsns)))
    with ExitStack() as processes:

        def start(name: str, *arguments: str) -> Lbkit:
            return processes.enter_context(Lbkit(*arguments, log=tmp_path / f"{name}.log"))

        app = start("app", "app", "sleeping:app", "--app-dir", str(tmp_path), "--listen", "127.0.0.1:0",
                    "--deadlines", "--cancel-on-disconnect", "--workers", "2")  # fmt: skip
        address = (await asyncio.to_thread(app.wait_for, r"serving sleeping:app on (\S+)"))[1]
        for name, more in (("web", DEADLINES), ("balancer", balancer)):
            text = LISTENER.format(name=name, more=more, address=address)
            running = start(name, "run", str(write_config(tmp_path / f"{name}.toml", [text])))
            address = await asyncio.to_thread(running.address_of, name)
        database = await connect(Dsn.parse(pair.replica.dsn), 5)
        try:
            yield Chain(int(address.rpartition(":")[2]), database)
        finally:
            await database.close()


async def ask(client: Client, path: str, more: str = "") -> tuple[int, bytes]:
    client.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n{more}\r\n".encode())
    status, _, body = await client.response()
    return status, body


@pytest.mark.parametrize("more", ["", "POST"])
async def test_a_query_ends_when_its_client_leaves(pair: LivePair, tmp_path: Path, more: str) -> None:
    async with chain(pair, tmp_path, "") as stack:
        async with connected(stack.port) as client:
            body = "Content-Length: 2\r\n\r\nab" if more else "\r\n"
            client.send(f"{more or 'GET'} /gone{more} HTTP/1.1\r\nHost: h\r\n{body}".encode())
            await stack.becomes(f"/gone{more}", True)
        assert await stack.becomes(f"/gone{more}", False) < 3


async def test_a_query_ends_at_the_deadline(pair: LivePair, tmp_path: Path) -> None:
    balancer = DEADLINES + 'timeouts = { request = "2s" }\ntrusted_proxies = []'
    async with chain(pair, tmp_path, balancer) as stack, connected(stack.port) as client:
        status, body = await ask(client, "/left")
        seen = json.loads(body)
        assert status == 200 and 1 < seen["left"] <= 2 and 1 < seen["scope"]["left"] <= 2
        lie = "X-Envoy-Expected-Rq-Timeout-Ms: 600000\r\n"
        assert json.loads((await ask(client, "/left", lie))[1])["left"] <= 2
        started = time.monotonic()
        client.send(b"GET /late HTTP/1.1\r\nHost: h\r\n\r\n")
        await stack.becomes("/late", True)
        assert (await client.response())[0] == 504  # the app server's answer, or the balancer's
        assert 1.5 < time.monotonic() - started < 5
        assert await stack.becomes("/late", False) < 3
        assert json.loads((await ask(client, "/left"))[1])["left"] <= 2
