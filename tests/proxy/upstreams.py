"""Servers that behave as a test says, and a proxy in front of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from lbkit.exchange import HttpSettings
from lbkit.http.routes import RouteTable
from lbkit.pool import Pool
from lbkit.proxy.forward import Forwarder, ForwardSettings
from lbkit.proxy.routing import RouteHandler
from lbkit.proxy.ticker import Ticker
from lbkit.server import Server
from tests.exchange.wire import Client, Site, site
from tests.support.servers import make_pool

__all__ = ["Behaviour", "Proxy", "Upstream", "proxy", "refusing", "upstream"]

Behaviour = Callable[[Client], Awaitable[None]]


class Upstream:
    """A listening server: `server` for a pool, and what happened on it."""

    def __init__(self, name: str, port: int) -> None:
        self.server = Server(name, f"127.0.0.1:{port}")
        self.connections = 0
        self.open = 0
        self.errors: list[BaseException] = []


@contextlib.asynccontextmanager
async def upstream(behaviour: Behaviour, name: str = "a") -> AsyncIterator[Upstream]:
    """A server that runs *behaviour* on each connection and closes it afterwards."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        self.connections += 1
        self.open += 1
        client = Client(reader, writer)
        try:
            await behaviour(client)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError) as error:
            self.errors.append(error)
        finally:
            self.open -= 1
            tasks.discard(task)
            await client.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    self = Upstream(name, listening.sockets[0].getsockname()[1])
    try:
        yield self
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def refusing(name: str) -> Server:
    """A server at an address where nobody listens (port 1 needs root and has no common use)."""
    return Server(name, "127.0.0.1:1")


class Proxy:
    """A site whose handler is a forwarder."""

    def __init__(self, where: Site, forwarder: Forwarder) -> None:
        self.site = where
        self.forwarder = forwarder
        self.pool: Pool = forwarder.pool


@contextlib.asynccontextmanager
async def proxy(
    *servers: Server, settings: ForwardSettings | None = None, http: HttpSettings | None = None
) -> AsyncIterator[Proxy]:
    """A proxy in front of *servers* under round robin, as a listener has it: with the express way."""
    loop = asyncio.get_running_loop()
    ticker = Ticker(loop)
    forwarder = Forwarder(make_pool(*servers), "lb", settings, ticker=ticker, clock=loop.time)
    try:
        async with site(RouteHandler(RouteTable(), forwarder), http) as where:
            yield Proxy(where, forwarder)
    finally:
        forwarder.close()
        ticker.close()
        await asyncio.sleep(0)  # closed connections end in the loop's next round
        await asyncio.sleep(0)
