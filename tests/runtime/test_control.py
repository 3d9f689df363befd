from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from lbkit.admin import ServerChange
from lbkit.config import ServerConfig
from lbkit.errors import ConfigError
from lbkit.pool import AdminState, Standing
from lbkit.runtime.control import PoolControl
from lbkit.runtime.pools import RunningPool, make_pool
from lbkit.server import Address, Server
from tests.runtime.test_pools import config_of, until
from tests.support.backends import Backend, hold
from tests.support.loops import on_both_loops

CHECKED = """
[listeners.l]
listen = "127.0.0.1:0"
pool = "p"
[pools.p.health]
check = "tcp"
interval = "20ms"
[[pools.p.servers]]
name = "a"
address = "ADDRESS"
"""


class Controlled:
    def __init__(self, running: RunningPool) -> None:
        self.running = running
        self.pool = running.pool
        self.forgotten: list[Server] = []
        self.changed: list[str] = []
        self.control = PoolControl(lambda: {"p": running}, self.forgotten.append, self.changed.append)


@asynccontextmanager
async def controlled(address: str) -> AsyncIterator[Controlled]:
    config = config_of(CHECKED, address)
    running = RunningPool(config, make_pool("p", config), 7)
    try:
        await until(lambda: running.pool.member("a").standing is Standing.UP)
        yield Controlled(running)
    finally:
        for prober in running.probers():
            await prober.stop()


@on_both_loops
async def test_state_weight_and_limit() -> None:
    async with Backend(hold) as one, controlled(one) as it:
        it.control.change_server("p", "a", ServerChange("drain", 9, 3))
        server = it.pool["a"]
        assert it.pool.member("a").standing is Standing.DRAIN
        assert (server.weight, server.max_connections) == (9, 3)
        it.control.change_server("p", "a", ServerChange("ready"))
        assert it.pool.member("a").standing is Standing.UP
        assert (server.weight, server.max_connections) == (9, 3)
        assert it.forgotten == []
        assert it.changed == ["p", "p"]


@on_both_loops
async def test_another_address_is_another_server_and_checked_anew() -> None:
    async with Backend(hold) as one, Backend(hold) as two, controlled(one) as it:
        old = it.pool["a"]
        it.control.change_server("p", "a", ServerChange("maint"))
        it.control.change_server("p", "a", ServerChange(address=Address.parse(two)))
        new = it.pool["a"]
        assert new is not old
        assert it.forgotten == [old]
        assert it.pool.member("a").admin is AdminState.MAINT
        it.control.change_server("p", "a", ServerChange("ready", address=Address.parse(two)))
        assert it.pool["a"] is new, "the same address is no change"
        await until(lambda: it.pool.member("a").standing is Standing.UP)


@on_both_loops
async def test_servers_come_and_go() -> None:
    async with Backend(hold) as one, Backend(hold) as two, controlled(one) as it:
        it.control.add_server("p", ServerConfig("b", Address.parse(two), weight=4))
        assert it.pool.member("b").standing is Standing.UNKNOWN
        await until(lambda: it.pool.member("b").standing is Standing.UP)
        with pytest.raises(ConfigError, match='has a server "b" already'):
            it.control.add_server("p", ServerConfig("b", Address.parse(one)))
        it.control.remove_server("p", "a")
        assert [server.name for server in it.pool] == ["b"]
        assert [server.name for server in it.forgotten] == ["a"]
        await asyncio.sleep(0.05)  # a check of it may have been in progress
        it.control.remove_server("p", "b")
        assert len(it.pool) == 0
        assert it.changed == ["p", "p", "p"]


@on_both_loops
async def test_what_is_not_there() -> None:
    async with Backend(hold) as one, controlled(one) as it:
        with pytest.raises(KeyError, match='pool "x"'):
            it.control.remove_server("x", "a")
        with pytest.raises(KeyError, match='server "x" in pool "p"'):
            it.control.change_server("p", "x", ServerChange())
