"""What MySQL and MariaDB call the same things: the statements of looks and steps, and how answers are read.

Pure. `dialect_of` gives the one for a connection. A look is a few statements on a held connection; the
first one on a connection also finds what the server has at all, because to ask for a variable of a plugin
that is not loaded is an error.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from lbkit.mysql.gtid import GtidSet
from lbkit.mysql.observation import GroupMember, Link, Observation, SemiSync
from lbkit.server import Address

__all__ = ["Dialect", "Statement", "dialect_of"]

Row = Mapping[str, Any]
Statement = tuple[str, tuple[Any, ...] | None]
"""A text and what takes the place of its %s, where it has any."""

ENDLESS = 3_600_000
"""Milliseconds of a semi-synchronous wait that count as without an end: an hour; 10 s is the default."""


class Dialect(ABC):
    """One flavour's words."""

    is_mariadb: bool
    features: str
    """Rows (Variable_name) of the optional variables that there are."""
    look: str
    link: str
    semi_sync: str
    semi_sync_clients: str
    group: str
    """A query for the members of the server's group; "" where there are no groups."""
    stop_receiving: str
    start_receiving: str
    start_replication: str
    detach: str
    forget: str
    close: str
    """Ends only when commits in progress have, those that wait for a replica too."""
    open: tuple[str, ...]
    shut_out: str
    """Lets no application in any more, and cuts those that are in; "" where there is no such thing."""
    sessions = (
        "SELECT id AS id, state AS state FROM information_schema.processlist WHERE id <> CONNECTION_ID() "
        "AND user NOT IN ('system user', 'event_scheduler') AND command NOT IN ('Daemon') "
        "AND command NOT LIKE 'Binlog Dump%' AND user <> SUBSTRING_INDEX(CURRENT_USER(), '@', 1)"
    )
    """A query for the `id` and `state` of each session but lbkit's own and those of replicas."""

    strangers = (
        "SELECT COUNT(*) AS sessions FROM information_schema.processlist WHERE db IS NOT NULL "
        "AND command NOT LIKE 'Binlog Dump%' AND user = SUBSTRING_INDEX(CURRENT_USER(), '@', 1)"
    )
    """A query for how many `sessions` of lbkit's account have a database: its own have none."""

    _io: str
    _sql: str
    _lag: str
    _host: str
    _port: str
    _received: str
    _waits_variable: str
    _group_variable = ""

    def has_semi_sync(self, features: Sequence[Row]) -> bool:
        """Whether commits can be made to wait for replicas."""
        return any(row["Variable_name"] == self._waits_variable for row in features)

    def has_group(self, features: Sequence[Row]) -> bool:
        """Whether the server may be a member of a group."""
        return any(row["Variable_name"] == self._group_variable for row in features)

    def protect(self, on: bool) -> str:
        """Let commits wait for a replica, or not."""
        return f"SET GLOBAL {self._waits_variable}={'ON' if on else 'OFF'}"

    start: tuple[str, ...]
    """Statements that start replication as prepared, from where the server is."""

    @abstractmethod
    def prepare(self, source: Address, user: str, password: str, secured: bool = False) -> Statement:
        """Say whom to replicate from, without beginning to; *secured*: by TLS, else as it was before.

        What the source has to prove is the replica's own affair: it has the files of authorities.
        """

    def follow(self, source: Address, user: str, password: str, secured: bool = False) -> list[Statement]:
        """Replicate from *source*, from where it is; closed for writing first."""
        return [
            (self.detach, None),
            (self.close, None),
            self.prepare(source, user, password, secured),
            *((statement, None) for statement in self.start),
        ]

    @abstractmethod
    def clone(self, source: Address, user: str, password: str, secured: bool = False) -> list[Statement]:
        """Replace all data by that of *source*. Raises ValueError where the flavour cannot."""

    def observe(
        self,
        name: str,
        look: Row,
        links: Sequence[Row],
        semi_sync: Sequence[Row],
        clients: Sequence[Row],
        group: Sequence[Row],
    ) -> Observation:
        """Read the answers to a look. Raises ValueError for a set of transactions that is none."""
        executed = GtidSet.parse(str(look["executed"] or ""))
        row = links[0] if links else None
        received = executed | GtidSet.parse(str(row.get(self._received) or "")) if row else executed
        return Observation(
            name,
            is_mariadb=self.is_mariadb,
            uuid=str(look["uuid"]).lower(),
            writable=str(look["closed"]) in ("0", "OFF"),
            offline=bool(int(look["offline"])),
            executed=executed,
            received=received,
            link=self.read_link(row),
            semi_sync=_semi_sync(semi_sync, clients),
            group=tuple(
                GroupMember(str(member["uuid"]).lower(), str(member["state"]), str(member["role"]))
                for member in group
                if member["uuid"]
            ),
            group_lag=_group_lag(str(look["uuid"]).lower(), group),
        )

    def read_link(self, row: Row | None) -> Link | None:
        """One row of `link`; None for a server that follows nobody."""
        if row is None or not row.get(self._host):
            return None
        errors = [str(row.get(key) or "") for key in ("Last_IO_Error", "Last_SQL_Error")]
        lag = row.get(self._lag)
        return Link(
            Address(str(row[self._host]), int(row[self._port])),
            row.get(self._io) == "Yes",
            row.get(self._sql) == "Yes",
            "; ".join(error for error in errors if error),
            None if lag is None else float(lag),
            at_work=not row.get(self._io) == row.get(self._sql) == "No",
        )


def _semi_sync(rows: Sequence[Row], clients: Sequence[Row]) -> SemiSync:
    if not rows:
        return SemiSync()
    row = rows[0]
    return SemiSync(
        waits=str(row["waits"]) in ("1", "ON"),
        acknowledges=str(row["acknowledges"]) in ("1", "ON"),
        replicas=int(row["replicas"]),
        clients=int(clients[0]["Value"]) if clients else 0,
        endless=int(row["timeout"]) >= ENDLESS,
    )


def _group_lag(uuid: str, group: Sequence[Row]) -> float | None:
    """Seconds that a member is behind: none with an empty queue, else since the commit of what it is at."""
    for member in group:
        if str(member["uuid"]).lower() == uuid and member.get("queued") is not None:
            if not int(member["queued"]):
                return 0.0
            since = member.get("since")
            return None if since is None else int(since) / 1e6
    return None


class _MySQL(Dialect):
    is_mariadb = False
    features = (
        "SHOW GLOBAL VARIABLES WHERE Variable_name IN "
        "('rpl_semi_sync_source_enabled', 'rpl_semi_sync_replica_enabled', 'group_replication_group_name')"
    )
    look = (
        "SELECT @@global.read_only AS closed, @@global.offline_mode AS offline, "
        "@@global.server_uuid AS uuid, @@global.gtid_executed AS executed"
    )
    link = "SHOW REPLICA STATUS"
    semi_sync = (
        "SELECT @@global.rpl_semi_sync_source_enabled AS waits, "
        "@@global.rpl_semi_sync_replica_enabled AS acknowledges, "
        "@@global.rpl_semi_sync_source_wait_for_replica_count AS replicas, "
        "@@global.rpl_semi_sync_source_timeout AS timeout"
    )
    semi_sync_clients = "SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_source_clients'"
    # The applier's queue is counted by each member; what is being applied has the time of its commit.
    group = (
        "SELECT m.member_id AS uuid, m.member_state AS state, m.member_role AS role, "
        "s.count_transactions_remote_in_applier_queue AS queued, "
        "(SELECT MAX(TIMESTAMPDIFF(MICROSECOND, applying_transaction_original_commit_timestamp, NOW(6))) "
        "FROM performance_schema.replication_applier_status_by_worker "
        "WHERE channel_name = 'group_replication_applier' AND applying_transaction <> '') AS since "
        "FROM performance_schema.replication_group_members m "
        "LEFT JOIN performance_schema.replication_group_member_stats s ON s.member_id = m.member_id"
    )
    stop_receiving = "STOP REPLICA IO_THREAD"
    start_receiving = "START REPLICA IO_THREAD"
    start_replication = "START REPLICA"
    detach = "STOP REPLICA"
    forget = "RESET REPLICA ALL"
    # The second alone does nothing where an opening came in between and left it on, and the first one off.
    close = "SET GLOBAL read_only=ON, GLOBAL super_read_only=ON"
    open = ("SET GLOBAL offline_mode=OFF", "SET GLOBAL super_read_only=OFF", "SET GLOBAL read_only=OFF")
    shut_out = "SET GLOBAL offline_mode=ON"
    _io, _sql, _lag = "Replica_IO_Running", "Replica_SQL_Running", "Seconds_Behind_Source"
    _host, _port, _received = "Source_Host", "Source_Port", "Retrieved_Gtid_Set"
    _waits_variable = "rpl_semi_sync_source_enabled"
    _group_variable = "group_replication_group_name"

    start = ("START REPLICA", "SET GLOBAL offline_mode=OFF")

    def prepare(self, source: Address, user: str, password: str, secured: bool = False) -> Statement:
        return (
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST=%s, SOURCE_PORT=%s, SOURCE_USER=%s, "
            "SOURCE_PASSWORD=%s, SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1, "
            "SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=86400, SOURCE_HEARTBEAT_PERIOD=0.25"
            + (", SOURCE_SSL=1" if secured else ""),
            (source.host, source.port, user, password),
        )

    def clone(self, source: Address, user: str, password: str, secured: bool = False) -> list[Statement]:
        return [
            ("STOP REPLICA", None),
            # A clone is refused under super_read_only; read_only stays, and nobody is let in meanwhile.
            ("SET GLOBAL offline_mode=ON", None),
            ("SET GLOBAL super_read_only=OFF", None),
            ("SET GLOBAL clone_valid_donor_list=%s", (f"{source.host}:{source.port}",)),
            (
                f"CLONE INSTANCE FROM %s@%s:{source.port} IDENTIFIED BY %s"
                + (" REQUIRE SSL" if secured else ""),
                (user, source.host, password),
            ),
        ]


class _MariaDB(Dialect):
    is_mariadb = True
    features = "SHOW GLOBAL VARIABLES WHERE Variable_name = 'rpl_semi_sync_master_enabled'"
    # The binary log's state names every server that ever wrote; a position only the last of each domain.
    look = (
        "SELECT @@global.read_only AS closed, 0 AS offline, @@global.server_id AS uuid, "
        "CONCAT_WS(',', @@global.gtid_binlog_state, @@global.gtid_slave_pos) AS executed"
    )
    link = "SHOW SLAVE STATUS"
    semi_sync = (
        "SELECT @@global.rpl_semi_sync_master_enabled AS waits, "
        "@@global.rpl_semi_sync_slave_enabled AS acknowledges, 1 AS replicas, "
        "@@global.rpl_semi_sync_master_timeout AS timeout"
    )
    semi_sync_clients = "SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_master_clients'"
    group = ""
    stop_receiving = "STOP SLAVE IO_THREAD"
    start_receiving = "START SLAVE IO_THREAD"
    start_replication = "START SLAVE"
    detach = "STOP SLAVE"
    forget = "RESET SLAVE ALL"
    close = "SET GLOBAL read_only=ON"
    open = ("SET GLOBAL read_only=OFF",)
    shut_out = ""
    _io, _sql, _lag = "Slave_IO_Running", "Slave_SQL_Running", "Seconds_Behind_Master"
    _host, _port, _received = "Master_Host", "Master_Port", "Gtid_IO_Pos"
    _waits_variable = "rpl_semi_sync_master_enabled"

    # What it wrote itself as a primary is not in its position as a replica; what it was made from, such as a
    # backup, is in no binary log.
    start = (
        "SET GLOBAL gtid_slave_pos="
        "IF(@@global.gtid_binlog_pos = '', @@global.gtid_slave_pos, @@global.gtid_binlog_pos)",
        "START SLAVE",
    )

    def prepare(self, source: Address, user: str, password: str, secured: bool = False) -> Statement:
        return (
            "CHANGE MASTER TO MASTER_HOST=%s, MASTER_PORT=%s, MASTER_USER=%s, MASTER_PASSWORD=%s, "
            "MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1, MASTER_HEARTBEAT_PERIOD=1"
            + (", MASTER_SSL=1" if secured else ""),
            (source.host, source.port, user, password),
        )

    def clone(self, source: Address, user: str, password: str, secured: bool = False) -> list[Statement]:
        raise ValueError("MariaDB cannot clone: make the server anew from a backup of the primary")


_MYSQL, _MARIADB = _MySQL(), _MariaDB()


def dialect_of(is_mariadb: bool) -> Dialect:
    """The words of a flavour."""
    return _MARIADB if is_mariadb else _MYSQL
