"""`DatabaseCluster`: a primary and its replicas, real servers as child processes of this one.

    async with DatabaseCluster("state/mysql", replicas=1) as cluster:
        print(cluster.primary.dsn, cluster.replicas[0].dsn)

The directory is owned by one run at a time and keeps the data, the ports and the passwords for the next
one. Replication is by global transaction ids, so a server that comes back continues where it was.
There is no failover here: a primary that dies is started again and opened for writing again. With
*managed* it is not, because that belongs to whoever moves the role, such as `lbkit.mysql.failover`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from lbkit.cluster.backoff import Backoff
from lbkit.cluster.database import Flavour, ServerProgram, find_server
from lbkit.cluster.ending import to_the_end
from lbkit.cluster.flavours import HOST, Channel, flavour_of
from lbkit.cluster.identity import Identity
from lbkit.cluster.mysqld import Mysqld, PortTaken, free_port, is_free
from lbkit.cluster.report import Report, Silent
from lbkit.cluster.statedir import StateDir
from lbkit.errors import LbkitError, QueryFailed, ServerError, StartFailed
from lbkit.server import Address

__all__ = ["DatabaseCluster", "RunningServer", "find_server_for"]

REPLICATION_TIMEOUT = 30.0  # seconds for a replica to connect to its primary
POLL = 0.05
WATCH_INTERVAL = 2.0  # seconds between two looks at replication
FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0  # seconds before a server that died is started again
STEADY = 30.0  # seconds after which a restart counts as a success
PORT_TRIES = 5


@dataclass(frozen=True, slots=True)
class RunningServer:
    """One server of the cluster; `dsn` carries the application account and its password.

    `admin_dsn` is the account with all rights, for who gives roles and takes them. `port` is the server's
    own; the DSNs name the address that was given for it, where one was.
    """

    name: str
    role: Literal["primary", "replica"]
    host: str
    port: int
    dsn: str = field(repr=False)
    pid: int
    admin_dsn: str = field(repr=False)

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"{self.host}:{self.port}"


class DatabaseCluster:
    """A primary and *replicas* replicas in *directory*, on *program* or whatever `find_server_for` gives.

    Ports: those given (primary first), else those of the last run where still free, else free ones.
    With *supervise* a server that dies is started again, after 0.5 to 30 seconds; without it `wait`
    raises. What happens is told to *report*.

    With *semi_sync* a commit is answered when a replica has received it. It is off unless asked for: a
    primary whose replicas are gone then waits for them for as long as it takes, and without somebody who
    decides otherwise that is worse for most than losing the last moment of a machine that has burnt down.

    With *managed* the servers get roles when they are new, and never again: one that comes back is
    read-only and follows nobody until somebody gives it a role. `primary` is then who was found to take
    writes last; `find_primary` looks.

    With *group* the servers are a group (MySQL Group Replication), of three at least: it elects its primary
    by itself, and a server that comes back joins it again. `find_primary` says who that is.

    *addresses* says by name where servers are reached instead of at their own ports, such as at a proxy
    that can cut them off: replicas follow, and DSNs name, what it holds at that moment.

    A command line calls `find_server_for` itself before it starts its event loop: a download can then be
    interrupted at once.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        replicas: int = 1,
        program: ServerProgram | None = None,
        flavour: Flavour | None = None,
        ports: Sequence[int] | None = None,
        database: str = "app",
        supervise: bool = False,
        managed: bool = False,
        semi_sync: bool = False,
        group: bool = False,
        addresses: Mapping[str, Address] | None = None,
        report: Report | None = None,
    ) -> None:
        if replicas < 0:
            raise ValueError(f"replicas must be at least 0, not {replicas}")
        if not database.replace("_", "").isalnum():
            raise ValueError(f"database {database!r}: letters, digits and underscores only")
        if ports is not None and len(ports) != replicas + 1:
            raise ValueError(f"{len(ports)} ports given for {replicas + 1} servers")
        if ports is not None and len(set(ports)) != len(ports):
            raise ValueError("two servers cannot have the same port")
        if group and (replicas < 2 or managed or semi_sync):
            raise ValueError("a group has at least 3 servers, waits and elects by itself")
        self._state = StateDir(directory)
        self._count = replicas + 1
        self._program = program
        self._flavour = flavour
        self._asked_ports = ports
        self._database = database
        self._supervise = supervise
        self._managed = managed
        self._semi_sync = semi_sync and replicas > 0
        self._group = group
        self._group_ports: dict[str, int] = {}
        self._addresses = {} if addresses is None else addresses
        self._report = report or Silent()
        self._identity: Identity | None = None
        self._nodes: dict[str, Mysqld] = {}
        self._taken: set[int] = set()
        self._new: list[Mysqld] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._over: asyncio.Future[None] | None = None

    @property
    def directory(self) -> Path:
        """Where the state is kept, absolute."""
        return self._state.path

    @property
    def program(self) -> ServerProgram:
        """The server program in use; RuntimeError before `start`."""
        if self._program is None:
            raise RuntimeError("the cluster was not started")
        return self._program

    @property
    def servers(self) -> list[RunningServer]:
        """All servers, the primary first."""
        found = [self._describe(node) for node in self._nodes.values()]
        return sorted(found, key=lambda server: (server.role != "primary", server.name))

    @property
    def primary(self) -> RunningServer:
        """The server that takes writes."""
        return self.servers[0]

    @property
    def replicas(self) -> list[RunningServer]:
        """The servers that follow the primary."""
        return self.servers[1:]

    def _describe(self, node: Mysqld) -> RunningServer:
        known = self._known
        role: Literal["primary", "replica"] = "primary" if node.name == known.primary else "replica"
        where = f"{self._address(node)}/{known.database}"
        dsn = f"mysql://lbkit:{known.accounts.application}@{where}"
        admin = f"mysql://lbkit_admin:{known.accounts.admin}@{where}"
        return RunningServer(node.name, role, HOST, node.port, dsn, node.pid, admin)

    def _address(self, node: Mysqld) -> Address:
        return self._addresses.get(node.name) or Address(HOST, node.port)

    @property
    def _known(self) -> Identity:
        if self._identity is None:
            raise RuntimeError("the cluster was not started")
        return self._identity

    async def __aenter__(self) -> DatabaseCluster:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start all servers and replication; nothing is left running when that fails.

        Raises StartFailed, in one line: the directory is in use, no database server, a port taken, or
        what a server's log says.
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
        await self._identify()
        if self._group:
            self._group_ports = {name: self._free_port() for name in self._names()}
        await _all(self._start_node(name, index) for index, name in enumerate(self._names()))
        self._known.save(self.directory)
        await self._give_roles()
        self._over = asyncio.get_running_loop().create_future()
        self._tasks = [asyncio.create_task(self._watch(node)) for node in self._nodes.values()]
        self._tasks.append(asyncio.create_task(self._watch_replication()))

    async def _give_roles(self) -> None:
        if self._group:
            await self._form_group()
            return
        known = self._known
        primary = self._nodes[known.primary]
        if self._managed and known.has_roles:
            await _all(self._take_role(node) for node in self._new if node is not primary)
            return
        await self._take_role(primary)
        await _all(self._take_role(node) for node in self._nodes.values() if node is not primary)
        if self._semi_sync:
            # Last: what opened it for writing would wait for replicas that did not follow yet.
            await primary.wait_for_replicas()
        known.has_roles = True
        known.save(self.directory)

    async def _form_group(self) -> None:
        """The most advanced one founds it, the others join."""
        nodes = list(self._nodes.values())
        founder = await _most_advanced(nodes)
        self._known.primary = founder.name
        try:
            await founder.join(True)
            await founder.open_for_writing()
            for node in nodes:
                if node is not founder:
                    await node.join(False)
        except (ServerError, QueryFailed) as error:
            raise StartFailed(f"the group did not form: {error}") from None
        self._known.save(self.directory)

    async def find_primary(self) -> RunningServer | None:
        """Ask all servers who takes writes, and remember it; None where nobody does, or several do."""
        nodes = list(self._nodes.values())
        writable = await asyncio.gather(*(_is_writable(node) for node in nodes))
        found = [node for node, open_ in zip(nodes, writable, strict=True) if open_]
        if len(found) != 1:
            return None
        if found[0].name != self._known.primary:
            self._known.primary = found[0].name
            self._known.save(self.directory)
        return self._describe(found[0])

    async def stop(self) -> None:
        """Stop all servers and give the directory up, also when cancelled meanwhile.

        Harmless when nothing runs.
        """
        await to_the_end(self._stop())

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        try:
            await asyncio.gather(*(node.stop() for node in self._nodes.values()))
        finally:
            if self._over and not self._over.done():
                self._over.set_result(None)
            self._state.unlock()

    async def wait(self) -> None:
        """Return when the cluster was stopped; without supervision ServerError when a server died."""
        if self._over is None:
            raise RuntimeError("the cluster was not started")
        await asyncio.shield(self._over)

    async def status(self) -> dict[str, Channel | None]:
        """Replication of each server by name; None for the primary. Raises ConnectFailed."""
        return {name: await node.channel() for name, node in self._nodes.items()}

    async def _identify(self) -> None:
        wanted = self._flavour or (self._program.flavour if self._program else None)
        known = _remembered(self.directory, wanted)
        if self._program is None:
            self._program = await asyncio.to_thread(find_server_for, self.directory, wanted, self._report)
        self._identity = known or Identity(self._program.flavour)
        self._identity.database = self._database
        self._identity.save(self.directory)  # before any server is made with its passwords

    def _names(self) -> list[str]:
        """The primary and enough others, so that fewer replicas than last time never drop it."""
        first = self._known.primary
        others = (f"mysql{number}" for number in range(1, self._count + 1))
        return [first, *[name for name in others if name != first][: self._count - 1]]

    def _is_primary(self, node: Mysqld) -> bool:
        return node.name == self._known.primary

    async def _start_node(self, name: str, index: int) -> None:
        asked = self._asked_ports[index] if self._asked_ports else 0
        if asked and not is_free(asked):
            raise StartFailed(f"port {asked} for {name} is in use")
        remembered = self._known.ports.get(name, 0)
        port = asked or (remembered if remembered and is_free(remembered) else self._free_port())
        self._taken.add(port)
        for attempt in range(PORT_TRIES):
            node = self._nodes[name] = self._make(name, port)
            if not (node.folder / "data").is_dir():
                self._new.append(node)
            await node.prepare(self._report)
            try:
                await node.start()
                break
            except PortTaken:
                if asked or attempt == PORT_TRIES - 1:
                    raise
                port = self._free_port()
        self._known.ports[name] = node.port

    def _free_port(self) -> int:
        """None that another server of this cluster is about to use: it would answer in this one's place."""
        while (port := free_port()) in self._taken:
            pass
        self._taken.add(port)
        return port

    def _make(self, name: str, port: int) -> Mysqld:
        return Mysqld(
            self.program,
            self._state,
            name,
            port=port,
            server_id=int(name.removeprefix("mysql")),
            accounts=self._known.accounts,
            database=self._database,
            extra=self._extra(name),
        )

    def _extra(self, name: str) -> tuple[str, ...]:
        flavour = flavour_of(self.program)
        if self._group:
            ports = self._group_ports
            try:
                return tuple(flavour.group_options(self._known.group, ports[name], list(ports.values())))
            except ValueError as error:
                raise StartFailed(str(error)) from None
        managed = flavour.managed_options if self._managed else ()
        return (*managed, *(flavour.semi_sync_options if self._semi_sync else ()))

    async def _take_role(self, node: Mysqld) -> None:
        try:
            if self._is_primary(node):
                await node.open_for_writing()
            else:
                await node.follow(self._address(self._nodes[self._known.primary]))
                await self._wait_until_following(node)
        except ServerError as error:
            raise StartFailed(f"{node.name}: {error}") from None

    async def _wait_until_following(self, node: Mysqld) -> None:
        channel: Channel | None = None
        try:
            async with asyncio.timeout(REPLICATION_TIMEOUT):
                while not (channel and channel.running):
                    channel = await node.channel()
                    await asyncio.sleep(POLL)
        except TimeoutError:
            reason = channel.error if channel and channel.error else "its primary does not answer"
            cure = f"remove {node.folder} to make it anew from its primary"
            raise StartFailed(f"{node.name} does not replicate: {reason}; {cure}") from None

    async def _watch(self, node: Mysqld) -> None:
        """Notice that a server ended, and under supervision start it again for as long as it takes."""
        loop = asyncio.get_running_loop()
        backoff = Backoff(FIRST_DELAY, LONGEST_DELAY, STEADY)
        while True:
            since = loop.time()
            how = await node.wait()
            if not self._supervise:
                self._fail(ServerError(f"{node.name} ended: {how}"))
                return
            delay = backoff.after(loop.time() - since)
            self._report.say(f"{node.name} ended ({how}); starting it again in {delay:g} s")
            await self._start_again(node, delay, backoff)

    async def _start_again(self, node: Mysqld, delay: float, backoff: Backoff) -> None:
        """Start until it works."""
        while True:
            await asyncio.sleep(delay)
            try:
                await node.start()
                if self._group:
                    await node.join(False)
                elif not self._managed:
                    if self._semi_sync and self._is_primary(node):
                        await node.wait_for_replicas()
                    await self._take_role(node)
            except LbkitError as error:
                delay = backoff.after(0.0)
                self._report.say(f"{node.name} did not come back: {error}; trying again in {delay:g} s")
                await node.stop()
            else:
                self._report.say(f"{node.name} is back{', in no role' if self._managed else ''}")
                return

    def _fail(self, error: ServerError) -> None:
        if self._over and not self._over.done():
            self._over.set_exception(error)
            self._over.exception()  # seen, so that asyncio does not complain when nobody waits
        self._report.say(str(error))

    async def _watch_replication(self) -> None:
        """Tell when replication on a server breaks or recovers."""
        told: dict[str, str] = {}
        while True:
            await asyncio.sleep(WATCH_INTERVAL)
            if self._managed or self._group:
                await self.find_primary()
            if self._group:
                continue
            for node in self._nodes.values():
                with contextlib.suppress(LbkitError):  # a server that is down is told by `_watch`
                    if not self._is_primary(node):
                        self._tell(node.name, await node.channel(), told)

    def _tell(self, name: str, channel: Channel | None, told: dict[str, str]) -> None:
        error = channel.error if channel else "it follows nobody"
        if error != told.get(name, ""):
            told[name] = error
            self._report.say(f"{name} does not replicate: {error}" if error else f"{name} replicates again")


async def _most_advanced(nodes: Sequence[Mysqld]) -> Mysqld:
    """The first that has every transaction of all. Raises StartFailed where none has."""
    for node in nodes:
        if all([await node.has_all_of(other) for other in nodes]):
            return node
    raise StartFailed("no server has all transactions that the others have: they were no group before")


async def _is_writable(node: Mysqld) -> bool:
    try:
        return bool(node.pid) and await node.is_writable()
    except LbkitError:
        return False  # one that cannot be asked takes no writes either


def find_server_for(
    directory: Path, flavour: Flavour | None = None, report: Report | None = None
) -> ServerProgram:
    """`find_server`, but of the flavour of the data that *directory* already holds, where it holds any.

    Raises StartFailed also when *flavour* is asked for and the data is the other one's.
    """
    known = _remembered(directory, flavour)
    return find_server(known.flavour if known else flavour, report)


def _remembered(directory: Path, wanted: Flavour | None) -> Identity | None:
    known = Identity.load(directory)
    if known and wanted and known.flavour != wanted:
        raise StartFailed(f"{directory} holds {known.flavour} data, not {wanted}")
    return known


async def _all(steps: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all steps at the same time and wait for all; raise the first failure only when none runs on."""
    tasks = [asyncio.ensure_future(step) for step in steps]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
