"""Changes of servers at run time, as the administration asks for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from lbkit.admin.changes import ServerChange
from lbkit.config import ServerConfig
from lbkit.errors import ConfigError
from lbkit.pool import AdminState
from lbkit.runtime.pools import RunningPool, make_server
from lbkit.server import Server

__all__ = ["PoolControl"]

logger = logging.getLogger("lbkit.admin")


class PoolControl:
    """Carries out what `Control` says. *pools* gives those that run now; *forget* is told of each server that
    is used no more, *changed* of the name of each pool that is another one now."""

    def __init__(
        self,
        pools: Callable[[], Mapping[str, RunningPool]],
        forget: Callable[[Server], None],
        changed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._pools = pools
        self._forget = forget
        self._changed = changed

    def change_server(self, pool: str, server: str, change: ServerChange) -> None:
        """Change one server; sessions in progress go on. Raises KeyError where there is none."""
        running, now = self._running(pool), asyncio.get_running_loop().time()
        known = self._server(running, server)
        if change.address is not None and change.address != known.address:
            self._move(running, known, change)
        if change.state is not None:
            running.pool.set_state(server, AdminState(change.state), now)
        if change.weight is not None:
            running.pool.set_weight(server, change.weight, now)
        if change.max_connections is not None:
            running.pool.set_limit(server, change.max_connections, now)
        self._changed(pool)
        logger.info("pool %s: server %s changed: %s", pool, server, change)

    def _move(self, running: RunningPool, known: Server, change: ServerChange) -> None:
        """Another server under the same name: checked anew, in the state that the operator chose."""
        assert change.address is not None
        moved = Server(
            known.name,
            change.address,
            weight=known.weight,
            backup=known.backup,
            max_connections=known.max_connections,
            slow_start=known.slow_start,
        )
        servers = [moved if server is known else server for server in running.pool]
        running.pool.change(servers, asyncio.get_running_loop().time())
        running.refresh()
        self._forget(known)

    def add_server(self, pool: str, server: ServerConfig) -> None:
        """Add a server, which is checked at once. Raises ConfigError where the name is taken."""
        running = self._running(pool)
        if server.name in running.pool:
            raise ConfigError(f'name: pool "{pool}" has a server "{server.name}" already')
        running.pool.change([*running.pool, make_server(server)], asyncio.get_running_loop().time())
        running.refresh()
        self._changed(pool)
        logger.info("pool %s: server %s added: %s", pool, server.name, server.address)

    def remove_server(self, pool: str, server: str) -> None:
        """It gets no new sessions; those in progress go on."""
        running = self._running(pool)
        known = self._server(running, server)
        left = [one for one in running.pool if one is not known]
        running.pool.change(left, asyncio.get_running_loop().time())
        running.refresh()
        self._forget(known)
        self._changed(pool)
        logger.info("pool %s: server %s removed", pool, server)

    def _running(self, pool: str) -> RunningPool:
        running = self._pools().get(pool)
        if running is None:
            raise KeyError(f'pool "{pool}"')
        return running

    def _server(self, running: RunningPool, name: str) -> Server:
        if name not in running.pool:
            raise KeyError(f'server "{name}" in pool "{running.pool.name}"')
        return running.pool[name]
