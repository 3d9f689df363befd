"""`Mysqld`: one database server as a child process, from data directory to ready."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from dataclasses import replace

from lbkit.cluster.child import Child, describe_exit
from lbkit.cluster.database import ServerProgram
from lbkit.cluster.flavours import HOST, Accounts, Channel, flavour_of
from lbkit.cluster.report import Report
from lbkit.cluster.serverlog import first_error, port_is_taken, running_as
from lbkit.cluster.sql import Administration
from lbkit.cluster.statedir import StateDir
from lbkit.cluster.template import new_data_directory
from lbkit.errors import ConnectFailed, StartFailed
from lbkit.server import Address

__all__ = ["Mysqld", "PortTaken", "free_port", "is_free"]

READY_TIMEOUT = 90.0  # seconds; 0.3 to 2 on an idle machine, more after a crash with much to recover
READY_POLL = 0.05
STOP_GRACE = 20.0  # seconds; about 2 on an idle machine
LOG_LIMIT = 8 << 20  # bytes; a longer log is put aside at the next start


class PortTaken(StartFailed):
    """Another program listens on the port: another port may be tried."""


class Mysqld:
    """The server *name* in *folder* (data/, log, accounts.sql), listening on 127.0.0.1:*port*.

    It starts closed for writing; `open_for_writing` or `follow` give it a role. *extra* are further
    arguments. After it has ended
    by itself, `start` starts it again on the same data.
    """

    def __init__(
        self,
        program: ServerProgram,
        state: StateDir,
        name: str,
        *,
        port: int,
        server_id: int,
        accounts: Accounts,
        database: str,
        extra: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.port = port
        self.folder = state.path / name
        self._program = program
        self._flavour = flavour_of(program)
        self._state = state
        self._server_id = server_id
        self._accounts = accounts
        self._database = database
        self._extra = tuple(extra)
        self._child: Child | None = None

    @property
    def pid(self) -> int:
        """Process id, 0 when not running."""
        return self._child.pid if self._child else 0

    async def prepare(self, report: Report) -> None:
        """Make the data directory where there is none yet."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        data = self.folder / "data"
        if not data.is_dir():
            await new_data_directory(self._program, data, self._state, report)

    async def start(self) -> None:
        """Start and wait until it answers.

        Raises StartFailed with the reason from its log; `PortTaken` when that is the port.
        """
        self._put_log_aside()
        self._write_accounts()
        data = str(self.folder / "data")
        command = [
            str(self._program.path),
            *self._program.options,
            *running_as(),
            *self._flavour.options(data, self.port, self._server_id),
            *self._extra,
            f"--init-file={self.folder / 'accounts.sql'}",
        ]
        self._child = Child(self._state, self.name, command, self.folder / "log")
        await self._child.start()
        try:
            await self._wait_until_ready(self._child)
        except BaseException:
            await self.stop()
            raise

    async def wait(self) -> str:
        """How it ended, in words, when it does."""
        if self._child is None:
            return "never started"
        status = await self._child.wait()
        reason = first_error(self._child.new_log()) if status else ""
        return f"{describe_exit(status)}{f': {reason}' if reason else ''}"

    async def stop(self) -> None:
        """Stop it in order, or after 20 seconds by force."""
        if self._child:
            await self._child.stop(STOP_GRACE)

    def administration(self, timeout: float = 20.0) -> Administration:
        """A connection with all rights, to be used with ``async with``."""
        return Administration(self.port, self._accounts.admin, timeout)

    async def open_for_writing(self) -> None:
        """Make it a primary: it takes writes from now on."""
        async with self.administration() as admin:
            for statement in self._flavour.open_statements:
                await admin.run(statement)
            # Not IF NOT EXISTS, which is a transaction in any case, and so may wait for a replica.
            if not await admin.run(f"SHOW DATABASES LIKE '{self._database}'"):
                await admin.run(f"CREATE DATABASE `{self._database}`")

    async def join(self, found: bool) -> None:
        """Be a member of its group, which it founds with *found*; the first one takes writes."""
        async with self.administration(60) as admin:
            if found:
                await admin.run("SET GLOBAL group_replication_bootstrap_group=ON")
            else:
                await admin.run(
                    "CHANGE REPLICATION SOURCE TO SOURCE_USER='lbkit_replication', "
                    f"SOURCE_PASSWORD='{self._accounts.replication}' FOR CHANNEL 'group_replication_recovery'"
                )
            await admin.run("START GROUP_REPLICATION")
            if found:
                await admin.run("SET GLOBAL group_replication_bootstrap_group=OFF")

    async def has_all_of(self, other: Mysqld) -> bool:
        """Whether it has every transaction that *other* has (MySQL)."""
        async with other.administration() as admin:
            theirs = (await admin.run("SELECT @@global.gtid_executed AS found"))[0]["found"]
        async with self.administration() as admin:
            rows = await admin.run(f"SELECT GTID_SUBSET('{theirs}', @@global.gtid_executed) AS has")
        return bool(rows[0]["has"])

    async def wait_for_replicas(self) -> None:
        """Let commits wait until a replica has received them, from now on."""
        async with self.administration() as admin:
            await admin.run(self._flavour.semi_sync_on)

    async def is_writable(self) -> bool:
        """Whether it takes writes. Raises ConnectFailed."""
        async with self.administration(5) as admin:
            return not int((await admin.run("SELECT @@global.read_only AS closed"))[0]["closed"])

    async def follow(self, primary: Address) -> None:
        """Make it a replica of *primary*, from where it was."""
        async with self.administration() as admin:
            for statement in self._flavour.stop_replication:
                await admin.run(statement)
            await admin.run(self._flavour.follow_sql(primary.host, primary.port, self._accounts.replication))
            await admin.run(self._flavour.start_replication)

    async def channel(self) -> Channel | None:
        """How its replication is doing; None on a server that follows nobody."""
        async with self.administration() as admin:
            rows = await admin.run(self._flavour.show_replication)
            if not rows:
                return None
            channel = self._flavour.channel(rows[0])
            if channel.error and self._flavour.show_worker_errors:
                details = await admin.run(self._flavour.show_worker_errors)
                errors = [channel.error, *(str(row["error"]) for row in details)]
                channel = replace(channel, error="; ".join(errors))
        return channel

    async def _wait_until_ready(self, child: Child) -> None:
        ended = asyncio.create_task(child.wait())
        ready = asyncio.create_task(self._until_it_answers())
        try:
            await asyncio.wait({ended, ready}, timeout=READY_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.cancel()
            ready.cancel()
            await asyncio.wait({ended, ready})
        if not ended.cancelled():
            lines = child.new_log()
            reason = first_error(lines) or describe_exit(ended.result())
            kind = PortTaken if port_is_taken(lines) else StartFailed
            raise kind(f"{self.name} does not start: {reason} (log: {child.log})")
        if ready.cancelled():
            raise StartFailed(f"{self.name} does not answer after {READY_TIMEOUT:.0f} s (log: {child.log})")
        ready.result()

    async def _until_it_answers(self) -> None:
        while True:
            try:
                async with self.administration(5):
                    return
            except ConnectFailed:
                await asyncio.sleep(READY_POLL)

    def _write_accounts(self) -> None:
        file = self.folder / "accounts.sql"
        file.unlink(missing_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as output:
            output.write(self._flavour.accounts_sql(self._accounts, self._database))

    def _put_log_aside(self) -> None:
        log = self.folder / "log"
        if log.exists() and log.stat().st_size > LOG_LIMIT:
            log.replace(self.folder / "log.1")


def is_free(port: int) -> bool:
    """Whether nobody listens on 127.0.0.1:*port* now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port nobody listens on now; another program may take it before a server does."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
