"""`Databases`: a real primary and its replicas for a test, and what may happen to them.

The servers are those of this machine, or fetched as `lbkit mysql up` does. Each is reached through a
`FaultyProxy`, by clients and by those who replicate from it, so that it can be cut off without its knowledge.
They live in a thread with an event loop of its own, because they outlive the loops of single tests; every
method here may be called from any thread and any loop, and is quick enough not to hold one up for long.

A server that dies is started again half a second later. Without *managed* a primary is primary again then;
with it nobody has a role until somebody gives it one (`lbkit.mysql` with failover, or the test).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from lbkit.cluster.database import Flavour, ServerProgram
from lbkit.cluster.mysqld import free_port
from lbkit.cluster.pair import DatabaseCluster, RunningServer
from lbkit.cluster.report import Report
from lbkit.errors import LbkitError
from lbkit.mysql.driver import connect
from lbkit.mysql.dsn import Dsn
from lbkit.server import Address
from lbkit.testing.faulty_proxy import FaultyProxy

__all__ = ["Databases"]

T = TypeVar("T")

_LIMIT = 120.0
"""Seconds for anything the servers do; a first start has to fill a data directory."""
_STATEMENT = 10.0


class Databases:
    """A primary and *replicas* replicas in *directory*. Use: ``with Databases(folder) as servers``.

    Servers are called mysql1, mysql2 and so on. With *semi_sync* a commit is answered when a replica has
    it. Raises StartFailed, in one line, where the servers cannot be had or started.
    """

    def __init__(
        self,
        directory: Path,
        *,
        replicas: int = 1,
        flavour: Flavour | None = None,
        program: ServerProgram | None = None,
        managed: bool = False,
        semi_sync: bool = False,
        report: Report | None = None,
    ) -> None:
        ports = [free_port() for _ in range(replicas + 1)]
        self._addresses: dict[str, Address] = {}
        self._proxies = {
            f"mysql{number}": FaultyProxy(Address("127.0.0.1", port)) for number, port in enumerate(ports, 1)
        }
        self._cluster = DatabaseCluster(
            directory,
            replicas=replicas,
            program=program,
            flavour=flavour,
            ports=ports,
            supervise=True,
            managed=managed,
            semi_sync=semi_sync,
            addresses=self._addresses,
            report=report,
        )
        self._managed = managed
        self._stopped: set[int] = set()
        self._stalled: set[str] = set()
        self._starting: asyncio.Task[None] | None = None

    def __enter__(self) -> Databases:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start all; raises StartFailed."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="databases", daemon=True)
        self._thread.start()
        try:
            self._run(self._start())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop all."""
        self._go_on()
        try:
            self._run(self._stop())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_LIMIT)
            self._loop.close()

    async def _start(self) -> None:
        self._starting = asyncio.current_task()
        for name, proxy in self._proxies.items():
            await proxy.start()
            self._addresses[name] = proxy.address
        await self._cluster.start()

    async def _stop(self) -> None:
        if self._starting is not None and not self._starting.done():
            # Given up, and cancelled: what it has begun to start would be left running.
            await asyncio.wait([self._starting])
        await self._cluster.stop()
        for proxy in self._proxies.values():
            await proxy.close()

    def _run(self, step: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(step, self._loop)
        try:
            return future.result(_LIMIT)
        except BaseException:
            future.cancel()  # nobody waits for it any more
            raise

    # ---- who there is

    @property
    def dsns(self) -> dict[str, str]:
        """The application account at each server by name, for `lbkit.mysql.Router`; the primary first."""
        return {server.name: server.dsn for server in self._cluster.servers}

    @property
    def admin_dsns(self) -> dict[str, str]:
        """The account with all rights at each server."""
        return {server.name: server.admin_dsn for server in self._cluster.servers}

    @property
    def primary(self) -> str:
        """The name of the server that takes writes; with *managed* they are asked. Raises LbkitError where
        that is not exactly one."""
        if not self._managed:
            return self._cluster.primary.name
        found = self._run(self._cluster.find_primary())
        if found is None:
            raise LbkitError("not exactly one server takes writes")
        return found.name

    @property
    def replicas(self) -> list[str]:
        """The names of the others."""
        primary = self.primary
        return [name for name in sorted(self._proxies) if name != primary]

    def server(self, name: str) -> RunningServer:
        """What is known of the process; KeyError where there is no server *name*."""
        return {server.name: server for server in self._cluster.servers}[name]

    # ---- what may happen to them

    def kill(self, name: str) -> None:
        """End the server's process at once, as kill -9 does. It is started again half a second later.

        Raises LbkitError where it does not run just now.
        """
        os.kill(self._pid(name), signal.SIGKILL)

    def kill_primary(self) -> str:
        """`kill` the primary; its name."""
        name = self.primary
        self.kill(name)
        return name

    def freeze(self, name: str) -> None:
        """The process stands still, as under SIGSTOP or on a machine that hangs, until `heal`.

        Raises LbkitError where it does not run just now.
        """
        pid = self._pid(name)
        self._stopped.add(pid)
        os.kill(pid, signal.SIGSTOP)

    def _pid(self, name: str) -> int:
        """0 would be this process and all of its group."""
        pid = self.server(name).pid
        if not pid:
            raise LbkitError(f"{name} does not run just now")
        return pid

    def partition(self, name: str = "") -> str:
        """Nobody reaches the server *name*, by default the primary, or hears from it, until `heal`.

        Connections hang; they are not closed. What the server asks of others still gets there. Its name.
        """
        name = name or self.primary
        self._loop.call_soon_threadsafe(self._proxies[name].hang)
        return name

    def cut(self, name: str = "") -> str:
        """As `partition`, but connections are reset, and refused."""
        name = name or self.primary
        self._loop.call_soon_threadsafe(self._proxies[name].cut)
        return name

    def slow(self, name: str, seconds: float) -> None:
        """Everything to and from the server takes *seconds* longer in each direction, until `heal`."""
        self._loop.call_soon_threadsafe(self._proxies[name].delay, seconds)

    def stall_replication(self, *names: str) -> None:
        """The replicas *names*, by default all, receive and do not carry out, until `heal`."""
        for name in names or self.replicas:
            self._stalled.add(name)
            self.run_on(name, "STOP SLAVE SQL_THREAD" if self._is_mariadb else "STOP REPLICA SQL_THREAD")

    def heal(self) -> None:
        """Undo `freeze`, `partition`, `cut`, `slow` and `stall_replication`."""
        self._go_on()
        for proxy in self._proxies.values():
            self._loop.call_soon_threadsafe(proxy.delay, 0.0)
            self._loop.call_soon_threadsafe(proxy.heal)
        stalled, self._stalled = self._stalled, set()
        for name in stalled:
            with contextlib.suppress(LbkitError):  # it has died, and applies when it comes back
                self.run_on(
                    name, "START SLAVE SQL_THREAD" if self._is_mariadb else "START REPLICA SQL_THREAD"
                )

    def _go_on(self) -> None:
        stopped, self._stopped = self._stopped, set()
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    @property
    def _is_mariadb(self) -> bool:
        return self._cluster.program.flavour == "mariadb"

    def run_on(self, name: str, sql: str) -> list[Mapping[str, Any]]:
        """The rows of a statement that the account with all rights runs on one server, past its proxy. Raises
        LbkitError."""
        return self._run(self._run_on(self.server(name), sql))

    async def _run_on(self, server: RunningServer, sql: str) -> list[Mapping[str, Any]]:
        dsn = Dsn.parse(server.admin_dsn.replace(str(self._addresses[server.name]), server.address))
        connection = await connect(dsn, _STATEMENT)
        try:
            async with asyncio.timeout(_STATEMENT):
                return list(await connection.fetch(sql))
        finally:
            connection.drop()

    def wait_until_whole(self, timeout: float = _LIMIT) -> None:
        """Wait until every server runs and replicates; TimeoutError after *timeout* seconds."""
        deadline = time.monotonic() + timeout
        while not self._is_whole():
            if time.monotonic() >= deadline:
                raise TimeoutError(f"the servers are not whole after {timeout:g} s")
            time.sleep(0.05)

    def _is_whole(self) -> bool:
        try:
            channels = self._run(self._cluster.status())
        except LbkitError:
            return False
        followers = [channel for channel in channels.values() if channel is not None]
        return len(followers) == len(self._proxies) - 1 and all(channel.running for channel in followers)
