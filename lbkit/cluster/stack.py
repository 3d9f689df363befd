"""`Stack`: the classic web infrastructure as local processes.

    balancer ─▶ web1, web2 ─▶ app1, app2 ─▶ mysql1 (primary), mysql2 (replica)

Every part is a process of its own, the way it would run on machines of its own: lbkit itself with a
configuration file for the balancer and each web server, ``lbkit app`` for each app server, real database
servers behind them. The files are left in the state directory, to be read, copied and changed.
Everything listens on loopback.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

from lbkit.cluster.child import Child, describe_exit
from lbkit.cluster.database import Flavour
from lbkit.cluster.ending import to_the_end
from lbkit.cluster.mysqld import free_port
from lbkit.cluster.pair import DatabaseCluster, RunningServer
from lbkit.cluster.report import Report, Silent
from lbkit.cluster.statedir import StateDir
from lbkit.cluster.supervisor import Supervisor
from lbkit.config.values import quoted
from lbkit.errors import ConfigError, ConnectFailed, StartFailed
from lbkit.server import Address
from lbkit.sockets import bind, connect

__all__ = ["Part", "Stack", "StackSettings", "guestbook_folder"]

START_TIMEOUT = 20.0
POLL = 0.05
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class StackSettings:
    """What `Stack` starts.

    `listen` is the balancer's address and `admin` where its dashboard is; port 0 is any free
    one, to be read from `Stack.settings` after the start. `algorithm`
    is the balancer's over the web servers. Without `mysql` the app runs without a database. From
    `first_port` on the web servers, the app servers and the databases get one port each; 0 is free ones.
    """

    directory: Path
    listen: Address = field(default_factory=lambda: Address(HOST, 8080))
    admin: Address = field(default_factory=lambda: Address(HOST, 8404))
    first_port: int = 0
    algorithm: str = "round_robin"
    web_servers: int = 2
    app_servers: int = 2
    replicas: int = 1
    mysql: bool = True
    flavour: Flavour | None = None

    @property
    def databases(self) -> Path:
        """The folder of the database servers."""
        return self.directory / "mysql"


@dataclass(frozen=True, slots=True)
class Part:
    """One running part of the stack, for people to read."""

    name: str
    what: str
    address: str
    pid: int


def guestbook_folder() -> Path:
    """Where the example app is: in the source tree, or beside this file in an installed package."""
    source = Path(__file__).resolve().parents[2] / "examples" / "guestbook"
    return source if source.is_dir() else Path(__file__).resolve().parent / "guestbook"


class Stack:
    """Starts all parts, keeps them running, stops them all.

    ``async with Stack(settings) as stack: await stack.wait()``.
    """

    def __init__(self, settings: StackSettings, report: Report | None = None) -> None:
        self.settings = settings
        self._report = report or Silent()
        self._state = StateDir(settings.directory)
        self._supervisor = Supervisor(self._report)
        self._database: DatabaseCluster | None = None
        self._children: dict[str, tuple[Child, str, Address]] = {}

    async def __aenter__(self) -> Stack:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start all parts, database first; nothing is left running when that fails.

        Raises StartFailed in one line, and ConfigError where `listen` and `admin` are the same.
        """
        self._state.lock()
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        for child in await asyncio.to_thread(self._state.end_leftovers):
            self._report.say(f"ended {child.name} (process {child.pid}), left by a run that was killed")
        self._choose_ports()
        if self.settings.mysql:
            await self._start_database()
        webs = self._addresses("web", self.settings.web_servers, 0)
        apps = self._addresses("app", self.settings.app_servers, self.settings.web_servers)
        await self._start_group([self._app(name, address) for name, address in apps.items()])
        await self._start_group([self._web(name, address, apps) for name, address in webs.items()])
        await self._start_group([self._balancer(webs)])

    def _choose_ports(self) -> None:
        """Find a taken port now, not after the database was started; port 0 becomes a free one."""
        listen, admin = self.settings.listen, self.settings.admin
        if listen == admin and (listen.port or listen.path):
            raise ConfigError(f"the balancer and its /metrics cannot both listen on {listen}")
        with bind(listen) as one, bind(admin) as two:
            self.settings = replace(self.settings, listen=_real(listen, one), admin=_real(admin, two))
        for port in self._inner_ports():
            bind(Address(HOST, port)).close()

    def _inner_ports(self) -> range:
        """The ports behind the balancer, where they were asked for: web servers, app servers, databases."""
        settings = self.settings
        first, databases = settings.first_port, settings.replicas + 1 if settings.mysql else 0
        return (
            range(first, first + settings.web_servers + settings.app_servers + databases)
            if first
            else range(0)
        )

    def _addresses(self, prefix: str, count: int, offset: int) -> dict[str, Address]:
        asked = self._inner_ports()[offset : offset + count]
        ports = asked or [free_port() for _ in range(count)]
        return {f"{prefix}{number}": Address(HOST, port) for number, port in enumerate(ports, 1)}

    async def _start_database(self) -> None:
        settings = self.settings
        self._database = DatabaseCluster(
            settings.databases,
            replicas=settings.replicas,
            flavour=settings.flavour,
            ports=self._inner_ports()[settings.web_servers + settings.app_servers :] or None,
            supervise=True,
            report=self._report,
        )
        await self._database.start()

    def _app(self, name: str, address: Address) -> tuple[Child, str, Address]:
        databases = self._database.servers if self._database else []
        env = {
            "GUESTBOOK_NAME": name,
            "GUESTBOOK_MYSQL": " ".join(server.dsn for server in databases),
            "GUESTBOOK_MYSQL_NAMES": " ".join(f"{server.address}={server.name}" for server in databases),
        }
        command = ["app", "app:app", "--app-dir", str(guestbook_folder()), "--listen", str(address)]
        return self._child(name, command, env), "app server", address

    def _web(self, name: str, address: Address, apps: dict[str, Address]) -> tuple[Child, str, Address]:
        text = _WEB.format(name=name, listen=address, static=quoted(str(guestbook_folder() / "static")))
        file = self._write(name, text + _pool("app", "round_robin", "/health", apps))
        return self._child(name, ["run", str(file)], {}), "web server", address

    def _balancer(self, webs: dict[str, Address]) -> tuple[Child, str, Address]:
        settings = self.settings
        text = _BALANCER.format(listen=settings.listen, admin=settings.admin)
        file = self._write("balancer", text + _pool("web", settings.algorithm, "/static/alive.txt", webs))
        return self._child("balancer", ["run", str(file)], {}), "balancer", settings.listen

    def _write(self, name: str, text: str) -> Path:
        file = self.settings.directory / f"{name}.toml"
        try:
            file.write_text(text, "utf-8")
        except OSError as error:
            raise StartFailed(f"cannot write {file}: {error.strerror}") from None
        return file

    def _child(self, name: str, arguments: Sequence[str], env: dict[str, str]) -> Child:
        command = [sys.executable, "-m", "lbkit", *arguments]
        log = self.settings.directory / f"{name}.log"
        return Child(self._state, name, command, log, env={**os.environ, **env})

    async def _start_group(self, parts: Iterable[tuple[Child, str, Address]]) -> None:
        parts = list(parts)
        for child, what, address in parts:
            self._children[child.name] = child, what, address
            await child.start()
        for child, _, address in parts:
            await _answers(child, address)
            self._supervisor.watch(child)
            self._report.say(f"{child.name} listens on {address}")

    async def stop(self) -> None:
        """Stop all parts, from the balancer inwards, also when cancelled meanwhile.

        Harmless when nothing runs.
        """
        await to_the_end(self._stop())

    async def _stop(self) -> None:
        try:
            await self._supervisor.stop([child for child, _, _ in reversed(self._children.values())])
            if self._database is not None:
                await self._database.stop()
        finally:
            self._state.unlock()

    async def wait(self) -> None:
        """Return when the stack was stopped, which it is by cancelling this."""
        await asyncio.Event().wait()

    def parts(self) -> list[Part]:
        """What runs now, from the clients' side inwards."""
        ours = [Part(c.name, what, str(address), c.pid) for c, what, address in self._children.values()]
        return [*reversed(ours), *(_database_part(server) for server in self.databases)]

    @property
    def databases(self) -> list[RunningServer]:
        """The database servers, primary first; none without MySQL."""
        return self._database.servers if self._database else []


def _database_part(server: RunningServer) -> Part:
    return Part(server.name, f"database {server.role}", server.address, server.pid)


def _real(address: Address, bound: socket.socket) -> Address:
    return address if address.path else replace(address, port=bound.getsockname()[1])


async def _answers(child: Child, address: Address) -> None:
    """Wait until *child* accepts connections; StartFailed with its last line when it ends before."""
    try:
        async with asyncio.timeout(START_TIMEOUT):
            while True:
                if not child.pid:
                    raise StartFailed(f"{child.name} did not start: {await _last_words(child)}")
                try:
                    (await connect(address, timeout=1)).close()
                    return
                except ConnectFailed:
                    await asyncio.sleep(POLL)
    except TimeoutError:
        raise StartFailed(f"{child.name} did not listen on {address} within {START_TIMEOUT:g} s") from None


async def _last_words(child: Child) -> str:
    lines = [line for line in child.new_log() if line.strip()]
    return lines[-1] if lines else describe_exit(await child.wait())


def _pool(name: str, algorithm: str, path: str, servers: dict[str, Address]) -> str:
    head = _POOL.format(name=name, algorithm=algorithm, path=path)
    return head + "".join(_SERVER.format(pool=name, name=n, address=a) for n, a in servers.items())


_BALANCER = """\
# Written at each start of the stack.
[global]
drain_timeout = "3s"

[admin]
listen = "{admin}"

[listeners.balancer]
listen = "{listen}"
mode = "http"
pool = "web"
"""

_WEB = """\
# Written at each start of the stack.
[global]
drain_timeout = "3s"

[listeners.{name}]
listen = "{listen}"
mode = "http"
pool = "app"

[[listeners.{name}.routes]]
path = "/static/"
static = {static}
"""

_POOL = """
[pools.{name}]
algorithm = "{algorithm}"

[pools.{name}.health]
check = "http"
path = "{path}"
interval = "1s"
"""

_SERVER = """
[[pools.{pool}.servers]]
name = "{name}"
address = "{address}"
"""
