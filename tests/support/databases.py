"""Real database pairs for tests: one primary and one replica of each flavour, started when first asked for.

A pair lives in a thread with an event loop of its own, because it must outlive the loops of single
tests. It is supervised: a test may kill a server and it comes back. The servers are those of this
machine, or fetched as any user's would be.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lbkit.cluster.database import Flavour, find_server
from lbkit.cluster.pair import DatabaseCluster, RunningServer
from lbkit.cluster.report import LineReport
from lbkit.mysql import Dsn, PoolLimits, Router, RouterOptions
from lbkit.server import Address

T = TypeVar("T")
LIMIT = 120.0  # seconds for anything a pair does; a first start has to initialise a data directory

FLAVOURS = [pytest.param(name, marks=pytest.mark.xdist_group(name), id=name) for name in ("mysql", "mariadb")]


class LivePair:
    """A running pair; its cluster may be used only through `run`."""

    def __init__(self, folder: Path, flavour: Flavour, managed: bool = False) -> None:
        report = LineReport()
        self.flavour = flavour
        self.is_spoilt = False
        self.cluster = DatabaseCluster(
            folder,
            program=find_server(flavour, report),
            supervise=True,
            managed=managed,
            semi_sync=managed,
            report=report,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"{flavour} pair")
        self._thread.start()
        try:
            self.run(self.cluster.start())
        except BaseException:
            self._end_loop()
            raise

    def run(self, step: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of the cluster in its own loop."""
        return asyncio.run_coroutine_threadsafe(step, self._loop).result(LIMIT)

    def close(self) -> None:
        self.run(self.cluster.stop())
        self._end_loop()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LIMIT)
        self._loop.close()

    @property
    def primary(self) -> RunningServer:
        return self.cluster.primary

    @property
    def replica(self) -> RunningServer:
        return self.cluster.replicas[0]

    @property
    def admin_dsns(self) -> list[Dsn]:
        """By name, of the account that may give roles."""
        servers = sorted(self.cluster.servers, key=lambda server: server.name)
        return [Dsn.parse(server.admin_dsn).named(server.name) for server in servers]

    def server_address(self, name: str) -> Address:
        return Address.parse(next(one for one in self.cluster.servers if one.name == name).address)

    @property
    def dsns(self) -> dict[str, str]:
        """Primary first."""
        return {server.name: server.dsn for server in self.cluster.servers}

    async def kill(self, server: RunningServer) -> None:
        """kill -9; supervision starts it again about half a second later."""
        os.kill(server.pid, signal.SIGKILL)

    async def freeze(self, server: RunningServer) -> None:
        """SIGSTOP, and wait until it has taken hold: a thread on another core goes on for a moment."""
        assert server.pid, f"{server.name} does not run"
        os.kill(server.pid, signal.SIGSTOP)
        async with asyncio.timeout(LIMIT):
            while any(state not in "Tt" for state in thread_states(server.pid)):
                await asyncio.sleep(0.001)

    async def until_whole(self) -> None:
        """Wait until all servers run and replication works."""

        async def whole() -> bool:
            channels = (await self.cluster.status()).values()
            return all(channel is None or channel.running for channel in channels)

        async with asyncio.timeout(LIMIT):
            while True:
                try:
                    if await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(whole(), self._loop)):
                        return
                except Exception:  # noqa: BLE001 - whatever a server that is starting answers
                    pass
                await asyncio.sleep(0.05)


def thread_states(pid: int) -> list[str]:
    """The state of each thread of a process by its letter in proc(5); of the process where there is no /proc."""
    files = list(Path(f"/proc/{pid}/task").glob("*/stat"))
    if files:
        return [file.read_text().rpartition(")")[2].split()[0] for file in files]
    return [subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout[:1]]


_pairs: dict[tuple[Flavour, bool], LivePair] = {}


@pytest.fixture(scope="session")
def _pair_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., LivePair]]:
    def pair_of(flavour: Flavour, managed: bool = False) -> LivePair:
        key = flavour, managed
        if key not in _pairs:
            _pairs[key] = LivePair(tmp_path_factory.mktemp(flavour), flavour, managed)
        return _pairs[key]

    yield pair_of
    while _pairs:
        _pairs.popitem()[1].close()


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> Flavour:
    """Each test that asks for it runs on MySQL and on MariaDB."""
    name: Flavour = request.param
    return name


@pytest.fixture
def pair(_pair_of: Callable[..., LivePair], flavour: Flavour) -> LivePair:
    """The shared pair of a flavour; whoever breaks it waits until it is whole again."""
    return _pair_of(flavour)


@pytest.fixture
def managed_pair(_pair_of: Callable[..., LivePair], flavour: Flavour) -> Iterator[LivePair]:
    """A shared semi-synchronous pair whose roles the tests give; whoever cannot leave it healthy says so."""
    pair = _pair_of(flavour, managed=True)
    yield pair
    if pair.is_spoilt:
        del _pairs[flavour, True]
        pair.close()


@pytest.fixture
async def router(pair: LivePair) -> AsyncIterator[Router]:
    """A router on the shared pair, with a short queue so that starving tests fail soon."""
    options = RouterOptions(pool=PoolLimits(wait=3.0), monitor_interval=0.1)
    async with Router(pair.dsns, options) as router:
        yield router


@pytest.fixture
async def table(router: Router) -> AsyncIterator[str]:
    """A fresh table ``(id, text UNIQUE)`` that is on both servers; dropped afterwards."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    await router.execute(f"CREATE TABLE {name} (id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(99) UNIQUE)")
    assert await router.catch_up(20)
    yield name
    await router.execute(f"DROP TABLE IF EXISTS {name}")


@asynccontextmanager
async def stalled(pair: LivePair) -> AsyncIterator[None]:
    """The pair's replica carries out nothing while the block runs."""
    await _applier(pair, "STOP")
    try:
        yield
    finally:
        await _applier(pair, "START")
        await pair.until_whole()


async def _applier(pair: LivePair, verb: str) -> None:
    word = "SLAVE" if pair.flavour == "mariadb" else "REPLICA"
    async with pair.cluster._nodes[pair.replica.name].administration() as admin:
        await admin.run(f"{verb} {word} SQL_THREAD")
