"""How far a server is, and waiting until another one is as far, by global transaction ids."""

from __future__ import annotations

from lbkit.mysql.driver import Connection

__all__ = ["position_of", "wait_for"]

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
