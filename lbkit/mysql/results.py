"""What statements give back: `Result`, `Rows` and `Row`; each knows which server answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Result", "Row", "Rows"]


@dataclass(frozen=True, slots=True)
class Result:
    """Outcome of `execute`: rows affected, the generated AUTO_INCREMENT value (0 when none), the server.

    `token` names the transaction it made, for reads that must show it (``after=result.token``), also in
    another process; "" where it made none, as within a transaction.
    """

    affected: int
    last_id: int
    server: str
    token: str = ""


class Row(dict[str, Any]):
    """One row as a dict of column name to value.

    A second column of the same name is called ``table.column``. `server` is the name of the server
    that answered.
    """

    __slots__ = ("server",)

    def __init__(self, items: Any = (), server: str = "") -> None:
        super().__init__(items)
        self.server = server


class Rows(list[Row]):
    """All rows of an answer; `server` is the name of the server that gave it, also for no rows."""

    __slots__ = ("server",)

    def __init__(self, rows: Any = (), server: str = "") -> None:
        super().__init__(rows)
        self.server = server
