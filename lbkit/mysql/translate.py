"""Errors of PyMySQL and of the socket become lbkit's here, and nowhere else.

Numbers 2000–2999 are the client library's, all others came in an error packet from the server, after
which the connection is still in step.
"""

from __future__ import annotations

import os
import ssl

import pymysql

from lbkit.errors import (
    ConnectFailed,
    DuplicateKey,
    LockConflict,
    QueryFailed,
    ReadOnlyServer,
)

__all__ = ["connect_failed", "query_failed"]

DUPLICATES = frozenset({1062, 1586})
LOCK_CONFLICTS = frozenset({1205, 1213, 3572})
READ_ONLY = frozenset({1792, 1836})
OPTION_FORBIDS = 1290  # one number for every start-up option; only its text tells which

# Errors that the server sends just before it closes: shutdown, killed connection, idle for too long,
# offline mode, and MariaDB's killed connection.
GOODBYES = frozenset({1053, 1077, 1927, 3032, 3169, 4031})


def query_failed(error: BaseException) -> QueryFailed | None:
    """The server's refusal as a typed error; None when *error* means that the connection is lost."""
    if not isinstance(error, pymysql.MySQLError):
        return None
    code = error.args[0] if error.args else 0
    if not isinstance(code, int) or not (1000 <= code < 2000 or code >= 3000) or code in GOODBYES:
        return None
    text = str(error.args[1]) if len(error.args) > 1 else ""
    # PyMySQL has the attribute only since 1.2; older ones leave the state in no place at all.
    return _kind(code, text)(code, text, getattr(error, "sqlstate", None) or "")


def connect_failed(error: BaseException, server: str) -> ConnectFailed:
    """Why no connection to *server* came about: the text without a password or a traceback."""
    cause = error.__cause__
    if isinstance(error, TimeoutError):
        reason = "no answer in time"
    elif isinstance(cause, ssl.SSLCertVerificationError):
        reason = f"its certificate is not accepted: {cause.verify_message}"
    elif isinstance(cause, ssl.SSLError):
        reason = f"TLS: {cause.reason or cause}"
    elif isinstance(cause, OSError) and cause.strerror:
        # asyncio writes its own text over the system's, but keeps the number (name look-ups have one < 0).
        reason = os.strerror(cause.errno) if cause.errno and cause.errno > 0 else cause.strerror
    elif error.args:
        reason = str(error.args[-1])
    else:
        reason = type(error).__name__
    code = error.args[0] if isinstance(error, pymysql.MySQLError) and error.args else 0
    # 2000 to 2999 are the client library's own numbers.
    said = code if isinstance(code, int) and not 2000 <= code < 3000 else 0
    errno = cause.errno if isinstance(cause, OSError) else None
    return ConnectFailed(f"{server}: {reason}", said, errno or 0)


def _kind(code: int, text: str) -> type[QueryFailed]:
    if code in DUPLICATES:
        return DuplicateKey
    if code in LOCK_CONFLICTS:
        return LockConflict
    if code in READ_ONLY or (code == OPTION_FORBIDS and "read-only" in text.replace("_", "-")):
        return ReadOnlyServer
    return QueryFailed
