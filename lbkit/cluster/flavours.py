"""What differs between MySQL and MariaDB when a server is run: arguments, SQL words, result columns.

Pure. `flavour_of` gives the one for a program; everything else in this package is the same for both.

The options keep a server small (158 MB resident for MySQL, 83 MB for MariaDB, instead of about 480) and
private to this machine: TCP on loopback only, no Unix socket (its path would be limited to 107 bytes,
and any local user could connect as root). Durability is that of a process, not of a machine:
a kill -9 loses nothing, a power failure may lose the last second.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lbkit.cluster.database import ServerProgram

__all__ = ["Accounts", "Channel", "ServerFlavour", "flavour_of"]

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Accounts:
    """The passwords of a cluster: `application` is what DSNs carry, the others stay inside."""

    root: str
    admin: str
    replication: str
    application: str


@dataclass(frozen=True, slots=True)
class Channel:
    """How replication on one replica is doing; `error` is the server's text, "" when all is well."""

    connected: bool
    applying: bool
    error: str
    lag: float | None
    """Seconds behind the primary as the server estimates it; None when it does not know."""

    @property
    def running(self) -> bool:
        return self.connected and self.applying


class ServerFlavour(ABC):
    """One flavour's arguments and statements."""

    own_options: tuple[str, ...]
    open_statements: tuple[str, ...]
    stop_replication: tuple[str, ...]
    start_replication: str
    show_replication: str
    show_worker_errors: str
    """A query for the errors behind a vague one of `show_replication`; "" where that one tells all."""
    semi_sync_options: tuple[str, ...]
    """Arguments that make every server acknowledge what it has received, and wait for that as a primary."""
    semi_sync_on: str
    """Makes a primary wait. For the primary only: on a replica its own applier would wait."""
    managed_options: tuple[str, ...]
    """Further arguments of servers whose roles somebody else gives."""
    application_rights: str
    """Global rights of the application account: to see roles, lag and other sessions."""

    def group_options(self, name: str, own: int, all_: Sequence[int]) -> list[str]:
        """Arguments for a member of the group *name*, which speaks to the others on the ports *all_*.

        Raises ValueError where the flavour has no groups.
        """
        raise ValueError("group replication is MySQL's: MariaDB has none")

    def options(self, data: str, port: int, server_id: int) -> list[str]:
        """Arguments after the program's own, for a server that starts closed for writing.

        It is opened only after its role is known, so that one that comes back from a crash can't
        take a write that belongs to another.
        """
        return [
            f"--datadir={data}",
            f"--pid-file={data}/server.pid",
            f"--bind-address={HOST}",
            f"--port={port}",
            "--socket=",
            f"--server-id={server_id}",
            "--skip-name-resolve",
            "--log-bin=binlog",
            "--sync-binlog=0",
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-buffer-pool-size=16M",
            "--performance-schema=OFF",
            "--relay-log=relay",
            "--max-connections=300",
            *self.own_options,
        ]

    def accounts_sql(self, accounts: Accounts, database: str) -> str:
        """One statement a line, run at every start on each server by itself.

        Not replicated, so it makes no transaction of its own; repeated, so that a password file
        that was lost and made anew works again.
        """
        lines = ["SET sql_log_bin=0;"]
        for name, password, grants in (
            ("lbkit_admin", accounts.admin, ["ALL PRIVILEGES ON *.*"]),
            ("lbkit_replication", accounts.replication, ["REPLICATION SLAVE ON *.*"]),
            (
                "lbkit",
                accounts.application,
                [f"ALL PRIVILEGES ON `{database}`.*", f"{self.application_rights} ON *.*"],
            ),
        ):
            account = f"'{name}'@'{HOST}'"
            lines.append(f"CREATE USER IF NOT EXISTS {account} IDENTIFIED BY '{password}';")
            lines.append(f"ALTER USER {account} IDENTIFIED BY '{password}';")
            lines += [f"GRANT {grant} TO {account};" for grant in grants]
        lines.append(f"ALTER USER IF EXISTS 'root'@'localhost' IDENTIFIED BY '{accounts.root}';")
        return "\n".join(lines) + "\n"

    @abstractmethod
    def initialise_options(self, data: str) -> list[str]:
        """Arguments that make the server fill an empty data directory and end."""

    @abstractmethod
    def initialise_scripts(self) -> Sequence[str]:
        """SQL files of the share folder to feed it on standard input; none where it needs none."""

    @abstractmethod
    def follow_sql(self, host: str, port: int, password: str) -> str:
        """Point replication at the primary at *host* and *port*, by global transaction ids."""

    @abstractmethod
    def channel(self, row: Mapping[str, Any]) -> Channel:
        """Read one row of `show_replication`."""


def _channel(row: Mapping[str, Any], io: str, sql: str, lag: str) -> Channel:
    errors = [row.get("Last_IO_Error") or "", row.get("Last_SQL_Error") or ""]
    behind = row.get(lag)
    return Channel(
        row.get(io) == "Yes",
        row.get(sql) == "Yes",
        "; ".join(error for error in errors if error),
        None if behind is None else float(behind),
    )


class _MySQL(ServerFlavour):
    own_options = (
        "--mysqlx=OFF",
        "--loose-innodb-redo-log-capacity=16M",
        "--gtid-mode=ON",
        "--enforce-gtid-consistency=ON",
        "--log-replica-updates=ON",
        "--skip-replica-start=ON",
        "--relay-log-recovery=ON",
        "--super-read-only=ON",
        # A replica that is added later replays everything, so nothing is purged.
        "--binlog-expire-logs-seconds=0",
    )
    open_statements = ("SET GLOBAL super_read_only=OFF", "SET GLOBAL read_only=OFF")
    stop_replication = ("STOP REPLICA",)
    start_replication = "START REPLICA"
    show_replication = "SHOW REPLICA STATUS"
    show_worker_errors = (
        "SELECT last_error_message AS error FROM performance_schema.replication_applier_status_by_worker "
        "WHERE last_error_number <> 0"
    )
    semi_sync_options = (
        "--plugin-load-add=semisync_source.so",
        "--plugin-load-add=semisync_replica.so",
        "--rpl-semi-sync-replica-enabled=ON",
        # Without an end: a wait that ends would acknowledge what only the primary has.
        "--rpl-semi-sync-source-timeout=4294967295",
        "--rpl-semi-sync-source-wait-point=AFTER_SYNC",
    )
    semi_sync_on = "SET GLOBAL rpl_semi_sync_source_enabled=ON"
    managed_options = ("--plugin-load-add=mysql_clone.so",)

    def group_options(self, name: str, own: int, all_: Sequence[int]) -> list[str]:
        return [
            "--plugin-load-add=group_replication.so",
            f"--group-replication-group-name={name}",
            f"--group-replication-local-address={HOST}:{own}",
            f"--group-replication-group-seeds={','.join(f'{HOST}:{port}' for port in all_)}",
            "--group-replication-start-on-boot=OFF",
            "--group-replication-ip-allowlist=127.0.0.0/8",
            "--group-replication-recovery-get-public-key=ON",
            # One that is gone is expelled 5 s after it is suspected, and not 5 s later still.
            "--group-replication-member-expel-timeout=0",
            f"--report-host={HOST}",
        ]

    application_rights = "PROCESS, REPLICATION CLIENT"

    def initialise_options(self, data: str) -> list[str]:
        # Nothing here need survive a crash: a template that was not finished is thrown away.
        return [
            "--initialize-insecure",
            f"--datadir={data}",
            "--innodb-flush-method=nosync",
            "--innodb-doublewrite=OFF",
            "--innodb-flush-log-at-trx-commit=0",
            "--loose-innodb-redo-log-capacity=16M",
            "--performance-schema=OFF",
        ]

    def initialise_scripts(self) -> Sequence[str]:
        return ()

    def follow_sql(self, host: str, port: int, password: str) -> str:
        # A primary that is told to stop waits up to 2 s for the thread that feeds a replica, and that
        # thread looks up only between heartbeats; so they are frequent.
        return (
            f"CHANGE REPLICATION SOURCE TO SOURCE_HOST='{host}', SOURCE_PORT={port}, "
            f"SOURCE_USER='lbkit_replication', SOURCE_PASSWORD='{password}', SOURCE_AUTO_POSITION=1, "
            "GET_SOURCE_PUBLIC_KEY=1, SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=86400, "
            "SOURCE_HEARTBEAT_PERIOD=0.25"
        )

    def channel(self, row: Mapping[str, Any]) -> Channel:
        return _channel(row, "Replica_IO_Running", "Replica_SQL_Running", "Seconds_Behind_Source")


class _MariaDB(ServerFlavour):
    own_options = (
        "--log-slave-updates=ON",
        "--binlog-format=ROW",
        "--skip-slave-start=ON",
        "--relay-log-recovery=ON",
        "--gtid-strict-mode=ON",
        "--read-only=ON",
    )
    open_statements = ("SET GLOBAL read_only=OFF",)
    stop_replication = ("STOP SLAVE",)
    start_replication = "START SLAVE"
    show_replication = "SHOW SLAVE STATUS"
    show_worker_errors = ""
    semi_sync_options = (
        "--rpl-semi-sync-slave-enabled=ON",
        "--rpl-semi-sync-master-timeout=4294967295",
        "--rpl-semi-sync-master-wait-point=AFTER_SYNC",
        # What no replica has acknowledged is taken out of the binary log after a crash: nobody was told that
        # it is kept, and with it the server could not follow the next primary.
        "--init-rpl-role=SLAVE",
    )
    semi_sync_on = "SET GLOBAL rpl_semi_sync_master_enabled=ON"
    managed_options = ()
    application_rights = "PROCESS, BINLOG MONITOR, SLAVE MONITOR"

    def initialise_options(self, data: str) -> list[str]:
        return ["--bootstrap", f"--datadir={data}", "--innodb-flush-log-at-trx-commit=0"]

    def initialise_scripts(self) -> Sequence[str]:
        # What mariadb-install-db feeds to --bootstrap, less the help texts and the test database;
        # the names changed from mysql_ to mariadb_ in 11.
        return (
            "{}_system_tables.sql",
            "{}_performance_tables.sql",
            "{}_system_tables_data.sql",
            "maria_add_gis_sp_bootstrap.sql",
            "{}_sys_schema.sql",
        )

    def follow_sql(self, host: str, port: int, password: str) -> str:
        return (
            f"CHANGE MASTER TO MASTER_HOST='{host}', MASTER_PORT={port}, "
            f"MASTER_USER='lbkit_replication', MASTER_PASSWORD='{password}', "
            "MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1, MASTER_HEARTBEAT_PERIOD=1"
        )

    def channel(self, row: Mapping[str, Any]) -> Channel:
        return _channel(row, "Slave_IO_Running", "Slave_SQL_Running", "Seconds_Behind_Master")


_FLAVOURS: dict[str, ServerFlavour] = {"mysql": _MySQL(), "mariadb": _MariaDB()}


def flavour_of(program: ServerProgram) -> ServerFlavour:
    """The words for *program*."""
    return _FLAVOURS[program.flavour]
