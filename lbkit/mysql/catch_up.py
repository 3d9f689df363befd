"""How far a server is, and waiting until another one is as far, by global transaction ids."""

from __future__ import annotations

from lbkit.errors import QueryFailed
from lbkit.mysql.driver import Connection
from lbkit.mysql.gtid import GtidSet
from lbkit.mysql.tokens import PRIMARY_ONLY

__all__ = ["has", "position_of", "primary_has", "wait_for"]

SHORTEST = 0.001  # seconds; 0 would wait for ever on MySQL


async def position_of(primary: Connection) -> str:
    """The primary's transactions so far, as its flavour writes them; "" when there are none."""
    variable = "gtid_current_pos" if primary.is_mariadb else "gtid_executed"
    rows = await primary.fetch(f"SELECT @@GLOBAL.{variable} AS position")
    return str(rows[0]["position"] or "").replace("\n", "")


async def wait_for(replica: Connection, position: str, timeout: float) -> bool:
    """Wait until *replica* has carried out *position*; False after *timeout* seconds."""
    if not position:
        return True
    function = "MASTER_GTID_WAIT" if replica.is_mariadb else "WAIT_FOR_EXECUTED_GTID_SET"
    rows = await replica.fetch(
        f"SELECT {function}(%s, %s) AS outcome", (position, round(max(timeout, SHORTEST), 3))
    )
    return bool(rows[0]["outcome"] == 0)


async def has(replica: Connection, token: str, timeout: float) -> bool:
    """Whether *replica* has all that *token* stands for, now or within *timeout* seconds.

    A server that can't tell, because it keeps no global transaction ids or those of another flavour, has it
    not. What a connection was told is kept, for as long as that lives: a server that comes back from a backup
    with less closes all of them.
    """
    if replica.reached == token:
        return True
    if token == PRIMARY_ONLY:
        return False
    try:
        if replica.is_mariadb:
            reached = await _mariadb_has(replica, token, timeout)
        else:
            reached = await wait_for(replica, token, timeout)
    except QueryFailed:
        return False
    if reached:
        replica.reached = token
    return reached


async def _mariadb_has(replica: Connection, token: str, timeout: float) -> bool:
    """Its wait compares numbers alone, and these run through all servers of a domain: a replica that still
    follows a former primary, which goes on, comes to the same ones. So whose they are is looked at, too."""
    rows = await replica.fetch(
        "SELECT MASTER_GTID_WAIT(%s, %s) AS outcome, @@GLOBAL.gtid_slave_pos AS got",
        (token, round(max(timeout, SHORTEST), 3)),
    )
    if rows[0]["outcome"] != 0:
        return False
    wanted, got = GtidSet.parse(token), GtidSet.parse(str(rows[0]["got"] or ""))
    return wanted.sources.keys() <= got.sources.keys() or wanted <= await _mariadb_held(replica)


async def _mariadb_held(server: Connection) -> GtidSet:
    """The last number of each server that ever wrote, its own and what it got as a replica."""
    rows = await server.fetch("SELECT @@GLOBAL.gtid_binlog_state AS own, @@GLOBAL.gtid_slave_pos AS got")
    return GtidSet.parse(str(rows[0]["own"] or "")) | GtidSet.parse(str(rows[0]["got"] or ""))


async def primary_has(primary: Connection, token: str) -> bool:
    """Whether a server that takes writes has all that *token* stands for; True where it cannot tell.

    It has not where it is the primary no more and does not know that: it stood still, another one was
    promoted, and now it goes on.
    """
    if primary.is_mariadb:
        # To wait for a position looks at what it got as a replica only, and at the numbers alone.
        wanted = GtidSet.parse(token)
        return not wanted.is_mariadb or wanted <= await _mariadb_held(primary)
    try:
        rows = await primary.fetch("SELECT GTID_SUBSET(%s, @@GLOBAL.gtid_executed) AS has", (token,))
    except QueryFailed:
        return True  # ids of another flavour
    return bool(rows[0]["has"] == 1)
