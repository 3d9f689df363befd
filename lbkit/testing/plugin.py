"""Fixtures for pytest: ``pytest_plugins = ["lbkit.testing.plugin"]`` in a conftest.py.

    def test_orders_survive(mysql_pair):
        shop = Shop(mysql_pair.dsns)
        mysql_pair.kill_primary()
        ...

`mysql_pair` is a MySQL (else MariaDB) primary with a replica, `mariadb_pair` the same of MariaDB. Both start
once for a test run, when they are first asked for, and are healed and whole again before the next test. The
data stays from test to test: use a database or tables of your own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lbkit.cluster.report import LineReport
from lbkit.testing.databases import Databases

__all__ = ["mariadb_pair", "mysql_pair"]


@pytest.fixture(scope="session")
def _lbkit_mysql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    with Databases(tmp_path_factory.mktemp("mysql"), report=LineReport()) as servers:
        yield servers


@pytest.fixture(scope="session")
def _lbkit_mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    folder = tmp_path_factory.mktemp("mariadb")
    with Databases(folder, flavour="mariadb", report=LineReport()) as servers:
        yield servers


@pytest.fixture
def mysql_pair(_lbkit_mysql: Databases) -> Iterator[Databases]:
    """A primary and a replica, whole at the begin of each test."""
    yield _lbkit_mysql
    _lbkit_mysql.heal()
    _lbkit_mysql.wait_until_whole()


@pytest.fixture
def mariadb_pair(_lbkit_mariadb: Databases) -> Iterator[Databases]:
    """The same of MariaDB."""
    yield _lbkit_mariadb
    _lbkit_mariadb.heal()
    _lbkit_mariadb.wait_until_whole()
