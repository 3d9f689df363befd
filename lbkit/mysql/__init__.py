"""A read/write-splitting router for MySQL and MariaDB: `Router`.

Pure: `dsn`, `statements`, `words`, `topology`, `results` and `options`. Doing I/O: `driver` (one
connection) with `translate` (foreign errors become lbkit's), `connection_pool` (those to one server),
`monitor` (who is up, who is primary), `connections` (those to all servers, and the rules for using
them), `transaction`, `session`, `catch_up` and `router`, which is what programs use.
"""

from __future__ import annotations

from lbkit.mysql.dsn import Dsn
from lbkit.mysql.options import PoolLimits, RouterOptions
from lbkit.mysql.results import Result, Row, Rows
from lbkit.mysql.router import Router
from lbkit.mysql.session import Session
from lbkit.mysql.transaction import Transaction

__all__ = ["Dsn", "PoolLimits", "Result", "Router", "RouterOptions", "Row", "Rows", "Session", "Transaction"]
