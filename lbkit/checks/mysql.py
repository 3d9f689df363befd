"""Health check of a MySQL or MariaDB server.

With a user it logs in and runs a statement, which is the only proof that queries work. Without one
it reads the greeting that a server sends first: that tells "up" from "too many connections" or
"shutting down", as HAProxy's `mysql-check` does, but MySQL counts each such visit as an aborted
connection, so a user is better.

With `role` only the primary passes, or only replicas, so that the listeners of two pools with the same
servers are a read-write and a read-only port for any client in any language. A server is what it says itself:
writable is the primary. In a group (MySQL Group Replication) it is what the group says, and a member passes
only while it sees more than half of the group: one that is cut off goes on calling itself the online primary.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import aiomysql
import pymysql

from lbkit.checks.base import CHECKS, HealthCheck
from lbkit.checks.one_primary import OnePrimary
from lbkit.config.values import Duration
from lbkit.errors import CheckFailed
from lbkit.server import Address

__all__ = ["GroupView", "MysqlCheck", "MysqlCheckOptions", "Role", "judge_role"]

Role = Literal["any", "primary", "replica"]

_PROTOCOL_10 = 0x0A
_ERROR = 0xFF
_MAX_GREETING = 4096
_DENIED = frozenset({1142, 1227})


DEFAULT_MAX_LAG = Duration(10)


@dataclass(frozen=True, slots=True)
class GroupView:
    """What a member of a group sees: its own state and role, how many members there are, and are online."""

    state: str
    role: str
    members: int
    online: int


@dataclass(frozen=True, slots=True)
class MysqlCheckOptions:
    """`user` logs in and runs ``SELECT 1``; its password comes from `password_env` or `password_file`.

    With `role` ``"primary"`` only a server that takes writes passes, with ``"replica"`` only one that takes
    none and is at most `max_lag` behind; one that does not know, or may not say, how far does not pass. Of
    several that take writes one passes, the first one, until it takes none or is gone: a replica that was
    opened by mistake gets no sessions, nor does a former primary that was replaced while it stood still.
    Where they take writes before the first check, nobody knows which one is meant, and the one passes that
    answers first; and two lbkit may choose differently. To close the other one is `lbkit.mysql.failover`'s.
    For that the user needs REPLICATION CLIENT (MariaDB: SLAVE MONITOR), and in a group SELECT on
    performance_schema.replication_group_members.
    """

    user: str = ""
    password_env: str = ""
    password_file: Path | None = None
    role: Role = "any"
    max_lag: Duration = DEFAULT_MAX_LAG

    @property
    def cuts(self) -> bool:
        """Whether sessions to a server that goes down are better cut: a client that stays with a former
        primary can't write any more and would not find the new one."""
        return self.role == "primary"

    def __post_init__(self) -> None:
        if self.role != "any" and not self.user:
            raise ValueError('role: to ask a server for its role needs "user", too')
        if self.max_lag != DEFAULT_MAX_LAG and self.role != "replica":
            raise ValueError('max_lag: is for role = "replica"')
        if self.password_env and self.password_file is not None:
            raise ValueError('password_file: the password comes from "password_env" already')
        for key in ("password_env", "password_file"):
            if getattr(self, key) and not self.user:
                raise ValueError(f'{key}: a password needs "user", too')

    def password(self) -> str:
        """The password, read anew each time; raises CheckFailed where there is none."""
        if self.password_env:
            try:
                return os.environ[self.password_env]
            except KeyError:
                raise CheckFailed(f"${self.password_env} is not set") from None
        if self.password_file is not None:
            try:
                return self.password_file.read_text("utf-8").rstrip("\n")
            except OSError as error:
                raise CheckFailed(f"{self.password_file}: {error.strerror}") from None
            except UnicodeDecodeError:
                raise CheckFailed(f"{self.password_file}: is not UTF-8 text") from None
        return ""


class _Login(aiomysql.Connection):  # type: ignore[misc]  # aiomysql has no type information
    """A connection that says something before the server greets."""

    def __init__(self, introduction: bytes, user: str, password: str, where: dict[str, Any]) -> None:
        # aiomysql has a text go as Latin-1; servers know passwords as UTF-8.
        super().__init__(user=user, password=password.encode().decode("latin-1"), **where)
        self._introduction = introduction

    async def _get_server_information(self) -> None:
        if self._introduction:
            self._writer.write(self._introduction)
        await super()._get_server_information()


@CHECKS.register("mysql", MysqlCheckOptions)
class MysqlCheck(HealthCheck):
    """A MySQL or MariaDB server greets, and with `user` answers a query."""

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._one = OnePrimary()

    def members_are(self, addresses: Collection[Address]) -> None:
        self._one.keep(addresses)

    def passed_before(self, address: Address) -> None:
        if self.options.role == "primary":
            self._one.admits(address)

    async def probe(self, address: Address) -> str:
        if not self.options.user:
            return await self._greeting(address)
        answered = False
        try:
            connection = await self._connected(address)
            try:
                if self.options.role == "any":
                    await _rows(connection, "SELECT 1")
                    return f"answered, version {connection.get_server_info()}"
                writable, group, lag = await self._role(connection)
            finally:
                connection.close()
            answered = True
        except Exception as error:  # noqa: BLE001 - see _verdict
            if isinstance(error.__cause__, ConnectionRefusedError):
                self._one.takes_none(address)  # its process is gone, and would start anew read-only
            raise _verdict(error) from None
        finally:
            if not answered:
                self._one.silent(address)
        return self._judged(address, writable, group, lag)

    def _judged(self, address: Address, writable: bool, group: GroupView | None, lag: float | None) -> str:
        try:
            text = judge_role(self.options.role, writable, group, lag, float(self.options.max_lag))
        except CheckFailed:
            self._one.takes_none(address)
            raise
        # A group knows by itself who is its primary, or that all are.
        if self.options.role == "primary" and group is None and (other := self._one.admits(address)):
            raise CheckFailed(f"takes writes, but so does {other}, which was there first: somebody's mistake")
        return text

    async def _connected(self, address: Address) -> _Login:
        where: dict[str, Any] = (
            {"unix_socket": address.path} if address.path else {"host": address.host, "port": address.port}
        )
        connection = _Login(self.introduction, self.options.user, self.options.password(), where)
        try:
            await connection._connect()
        except BaseException:
            connection.close()  # aiomysql does not after a cancellation
            raise
        return connection

    async def _role(self, connection: Any) -> tuple[bool, GroupView | None, float | None]:
        """Whether it takes writes, the group as it sees it, and how far it is behind where that matters."""
        (server,) = await _rows(connection, "SELECT @@global.read_only AS read_only, VERSION() AS version")
        is_mariadb = "mariadb" in str(server["version"]).lower()
        writable = not int(server["read_only"])
        group = None if is_mariadb else await _group(connection)
        lag = None
        if self.options.role == "replica" and not writable:
            lag = await _lag(connection, is_mariadb, group)
        return writable, group, lag

    async def _greeting(self, address: Address) -> str:
        sock = await self.connect(address)
        reader, writer = await asyncio.open_connection(sock=sock)
        try:
            head = await reader.readexactly(4)
            length = int.from_bytes(head[:3], "little")
            if not 1 < length <= _MAX_GREETING:
                raise CheckFailed("the greeting is not MySQL's")
            return _read_greeting(await reader.readexactly(length))
        except (asyncio.IncompleteReadError, OSError):
            raise CheckFailed("closed before its greeting was complete") from None
        finally:
            writer.transport.abort()


def judge_role(role: Role, writable: bool, group: GroupView | None, lag: float | None, max_lag: float) -> str:
    """What a server of *role* is, in words; raises CheckFailed where it is not of that role or too late."""
    if group is not None:
        if group.state != "ONLINE":
            raise CheckFailed(f"is {group.state.lower()} in its group")
        if group.online * 2 <= group.members:
            raise CheckFailed(
                f"its group has no majority: {group.online} of {group.members} members are online"
            )
        # A primary that its group has just elected works off what it has not applied yet, read-only.
        writable = writable and group.role == "PRIMARY"
    if role == "primary":
        if not writable:
            raise CheckFailed("is a replica: it takes no writes")
        return "is the primary"
    if writable:
        raise CheckFailed("is a primary: it takes writes")
    if lag is None:
        raise CheckFailed("is a replica that does not know, or may not say, how far it is behind")
    if lag > max_lag:
        raise CheckFailed(f"is {lag:g} s behind, more than {max_lag:g} s")
    return f"is a replica, {lag:g} s behind"


async def _rows(connection: Any, sql: str) -> Sequence[dict[str, Any]]:
    cursor = await connection.cursor(aiomysql.DictCursor)
    await cursor.execute(sql)
    rows: Sequence[dict[str, Any]] = await cursor.fetchall()
    return rows


async def _group(connection: Any) -> GroupView | None:
    """The group that a MySQL server is in; None for none."""
    (named,) = await _rows(
        connection,
        "SELECT COUNT(*) AS plugins FROM information_schema.plugins "
        "WHERE plugin_name = 'group_replication' AND plugin_status = 'ACTIVE'",
    )
    if not named["plugins"]:
        return None
    rows = await _rows(
        connection,
        "SELECT member_state AS state, member_role AS role, member_id = @@server_uuid AS own "
        "FROM performance_schema.replication_group_members WHERE member_id <> ''",
    )
    own = next((row for row in rows if row["own"]), None)
    if own is None or (len(rows) == 1 and own["state"] == "OFFLINE"):
        return None  # the plugin is there, and it has joined nobody
    online = sum(row["state"] == "ONLINE" for row in rows)
    return GroupView(str(own["state"]), str(own["role"]), len(rows), online)


async def _lag(connection: Any, is_mariadb: bool, group: GroupView | None) -> float | None:
    """Seconds behind; None where the server does not know, or the user may not ask."""
    try:
        if group is not None:
            # The age of what it applies just now; it is not behind where it has nothing to apply. LAG is a
            # reserved word there.
            (row,) = await _rows(
                connection,
                "SELECT MAX(TIMESTAMPDIFF(MICROSECOND, "
                "applying_transaction_original_commit_timestamp, NOW(6))) AS since "
                "FROM performance_schema.replication_applier_status_by_worker "
                "WHERE applying_transaction <> ''",
            )
            return max(0.0, float(row["since"] or 0) / 1e6)
        rows = await _rows(connection, "SHOW ALL SLAVES STATUS" if is_mariadb else "SHOW REPLICA STATUS")
    except pymysql.MySQLError as error:
        if error.args and error.args[0] in _DENIED:
            return None
        raise
    column = "Seconds_Behind_Master" if is_mariadb else "Seconds_Behind_Source"
    lags = [row[column] for row in rows]
    return None if not lags or None in lags else float(max(lags))


def _verdict(error: Exception) -> CheckFailed:
    """A driver's error as ``code: text``.

    The driver does not expect packets that are no MySQL: it then raises whatever its parser stumbles
    over, IndexError or struct.error among others, which are the server's fault and no bug of ours.
    """
    if isinstance(error, CheckFailed):
        return error
    if isinstance(error, (pymysql.err.Error, OSError)):
        return CheckFailed(": ".join(str(arg) for arg in error.args) or type(error).__name__)
    return CheckFailed(f"the answer is not MySQL's ({type(error).__name__}: {error})")


def _read_greeting(packet: bytes) -> str:
    """The version in a server's first packet (protocol 10), or its refusal as CheckFailed."""
    if packet[0] == _ERROR:
        code = int.from_bytes(packet[1:3], "little")
        raise CheckFailed(f"{code}: {packet[3:].decode('utf-8', 'replace')}")
    version, end, _ = packet[1:].partition(b"\0")
    if packet[0] != _PROTOCOL_10 or not end:
        raise CheckFailed("the greeting is not MySQL's")
    return f"greeted, version {version.decode('ascii', 'replace')}"
