from __future__ import annotations

import errno

import pymysql
import pytest

from lbkit.errors import DuplicateKey, LockConflict, QueryFailed, ReadOnlyServer
from lbkit.mysql.translate import connect_failed, query_failed


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (1062, "Duplicate entry", DuplicateKey),
        (1586, "Duplicate entry", DuplicateKey),
        (1205, "Lock wait timeout", LockConflict),
        (1213, "Deadlock", LockConflict),
        (3572, "NOWAIT is set", LockConflict),
        (1290, "running with the --super-read-only option", ReadOnlyServer),
        (1290, "running with the --read-only option", ReadOnlyServer),
        (1290, "running with the --secure-file-priv option", QueryFailed),
        (1792, "Cannot execute statement in a READ ONLY transaction", ReadOnlyServer),
        (1064, "You have an error in your SQL syntax", QueryFailed),
        (1317, "Query execution was interrupted", QueryFailed),
        (4025, "CONSTRAINT failed", QueryFailed),
    ],
)
def test_what_the_server_refused(code: int, text: str, kind: type[QueryFailed]) -> None:
    error = query_failed(pymysql.err.OperationalError(code, text))
    assert type(error) is kind
    assert (error.code, error.text) == (code, text)


@pytest.mark.parametrize("code", [0, 2006, 2013, 2014, 1053, 1927, 3032, 4031])
def test_what_means_that_the_connection_is_gone(code: int) -> None:
    assert query_failed(pymysql.err.OperationalError(code, "gone")) is None


def test_errors_without_a_number_are_no_refusals() -> None:
    assert query_failed(pymysql.err.InterfaceError("(0, 'Not connected')")) is None
    assert query_failed(pymysql.err.InternalError()) is None
    assert query_failed(ValueError("not the server's")) is None


def test_why_no_connection_came_about() -> None:
    refused = pymysql.err.OperationalError(2003, "Can't connect to MySQL server on 'db'")
    refused.__cause__ = ConnectionRefusedError(111, "Connection refused")
    assert str(connect_failed(refused, "db1")) == "db1: Connection refused"
    assert str(connect_failed(TimeoutError(), "db1")) == "db1: no answer in time"
    denied = pymysql.err.OperationalError(1045, "Access denied for user 'app'")
    assert str(connect_failed(denied, "db1")) == "db1: Access denied for user 'app'"
    assert str(connect_failed(EOFError(), "db1")) == "db1: EOFError"


def test_why_a_connect_failed_is_kept_as_numbers() -> None:
    """A refused connection proves that nobody listens; a server's own refusal that it lives."""
    refused = pymysql.err.OperationalError(2003, "Can't connect")
    refused.__cause__ = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    assert (connect_failed(refused, "db").code, connect_failed(refused, "db").errno) == (
        0,
        errno.ECONNREFUSED,
    )
    full = connect_failed(pymysql.err.OperationalError(1040, "Too many connections"), "db")
    assert (full.code, full.errno) == (1040, 0)
    assert (connect_failed(TimeoutError(), "db").code, connect_failed(TimeoutError(), "db").errno) == (0, 0)
