from __future__ import annotations

import os

from lbkit.cluster.serverlog import first_error, port_is_taken, running_as

MYSQL = """2026-01-01T00:00:00.0Z 0 [System] [MY-010116] [Server] starting
2026-01-01T00:00:00.0Z 0 [ERROR] [MY-010262] [Server] Can't start server: Bind on TCP/IP port: Address already in use
2026-01-01T00:00:00.0Z 0 [ERROR] [MY-010119] [Server] Aborting"""
MARIADB = """2026-01-01  0:00:00 0 [Note] Starting
2026-01-01  0:00:00 0 [ERROR] InnoDB: Unable to lock ./ibdata1 error: 11
2026-01-01  0:00:00 0 [ERROR] Aborting"""


def test_the_first_error_is_the_cause() -> None:
    assert first_error(MYSQL.splitlines()).startswith("Can't start server: Bind on TCP/IP port")
    assert first_error(MARIADB.splitlines()) == "InnoDB: Unable to lock ./ibdata1 error: 11"
    assert first_error(["all is well"]) == ""
    assert first_error(["2026-01-01 0 [Note] InnoDB: Cannot open '/x': not found"]) == ""
    missing = "mysqld: error while loading shared libraries: libaio.so.1: cannot open shared object file"
    assert first_error(["x", missing]) == missing


def test_a_taken_port() -> None:
    assert port_is_taken(MYSQL.splitlines())
    assert not port_is_taken(MARIADB.splitlines())


def test_root_has_to_be_named() -> None:
    assert running_as() == (["--user=root"] if os.geteuid() == 0 else [])
