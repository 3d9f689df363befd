"""The whole exception tree: whose fault an error is decides what happens next.

::

    LbkitError
     ├── ConfigError           the operator's: one line per problem, exit code 2
     ├── StartFailed           the machine's: port in use, no database server, …; one line, exit code 1
 │    └── AppFailed        an application did not start, by its own account or in time; exit code 3
     ├── ClientError           the downstream's: answered with a 4xx status, or the session is closed
     ├── ServerError           an upstream's: try another server, count it against health
     │    ├── ConnectFailed    refused, unreachable, or not connected in time
     │    │    └── ConnectionsInUse  all connections that one may have to a database server stayed in use
     │    ├── CheckFailed      a health check's verdict
     │    ├── BadResponse      the server broke the protocol or left in mid-answer (HTTP 502)
     │    ├── ServerTimeout    the server was silent for too long (HTTP 504)
     │    └── ConnectionLost   a database connection died under a read or before a statement was sent
     ├── DeadlineExceeded      the time that a request may take is over (HTTP 504): nobody waits any more
 ├── Exhausted             this process's own: no descriptors or memory left; try again in a moment
     ├── OutcomeUnknown        a write was sent and its answer never came: it may or may not have happened
     ├── QueryFailed           a database server refused a statement; the connection stays usable
     │    ├── DuplicateKey     1062, 1586: the row is already there
     │    ├── LockConflict     1205, 1213, 3572: run the transaction again
     │    └── ReadOnlyServer   1290, 1792, 1836: a write reached a server that takes none
     ├── NoServerAvailable     nothing in the pool may be picked: HTTP 503, or the session is closed
     │    └── PoolFull         somebody may, but is at the connection limit: wait in the queue
     ├── PromotionRefused      a failover that would not be safe
     └── KernelUnsupported     the kernel lacks a facility: the next relay is taken

OSErrors become one of these at the edge where they happen and nowhere else. A bug is not an
`LbkitError` and is never swallowed.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "AppFailed",
    "BadResponse",
    "CheckFailed",
    "ClientError",
    "ConfigError",
    "ConnectFailed",
    "ConnectionLost",
    "ConnectionsInUse",
    "DeadlineExceeded",
    "DuplicateKey",
    "Exhausted",
    "KernelUnsupported",
    "LbkitError",
    "LockConflict",
    "NoServerAvailable",
    "OutcomeUnknown",
    "PoolFull",
    "PromotionRefused",
    "QueryFailed",
    "ReadOnlyServer",
    "ServerError",
    "ServerTimeout",
    "StartFailed",
]


class LbkitError(Exception):
    """Base of every error that lbkit raises on purpose."""


class ConfigError(LbkitError):
    """Wrong usage or configuration.

    `problems` holds one printable line each, all that were found, in the order of the file.
    """

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class StartFailed(LbkitError):
    """Something could not be started; the message says what to do about it."""


class AppFailed(StartFailed):
    """An application did not start: its lifespan said so, or took too long."""


class ClientError(LbkitError):
    """The downstream broke the rules or left.

    `status` is the HTTP status to answer with; 0 means that nobody is there to read one.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class ServerError(LbkitError):
    """An upstream server failed; another one may be tried."""


class ConnectFailed(ServerError):
    """No connection to a server: refused, unreachable, or not in time.

    `code` is the number of a database server's own refusal, such as 1040 (too many connections), and `errno`
    that of the system's; 0 where there is none.
    """

    def __init__(self, message: str, code: int = 0, errno: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.errno = errno


class ConnectionsInUse(ConnectFailed):
    """All connections that a pool may have to a server stayed in use for longer than one waits."""


class CheckFailed(ServerError):
    """A health check did not pass; the message is the reason shown to people."""


class BadResponse(ServerError):
    """The server broke the protocol or closed in the middle of its answer."""


class ServerTimeout(ServerError):
    """The server was silent for longer than its timeout."""


class ConnectionLost(ServerError):
    """A database connection died; nothing was changed by the statement that saw it."""


class DeadlineExceeded(LbkitError):
    """A request was not answered by its deadline; no server is to blame for how much was left."""


class Exhausted(LbkitError):
    """This process has no descriptor or memory left for what was asked; no server is to blame."""


class OutcomeUnknown(LbkitError):
    """A write was sent but not answered: it may or may not have been carried out.

    Never retried by lbkit. The caller must look before writing again. What is known: the `server`'s name,
    its number of the connection (`connection_id`, as in its logs), the `statement`'s first word, COMMIT for a
    whole transaction, and `position`, the transactions that the server was last seen to have before it
    ("" where that is not known): what is in a server now and not in there has happened since.
    """

    def __init__(
        self, message: str, server: str = "", connection_id: int = 0, statement: str = "", position: str = ""
    ) -> None:
        super().__init__(message)
        self.server = server
        self.connection_id = connection_id
        self.statement = statement
        self.position = position


class QueryFailed(LbkitError):
    """A database server refused a statement.

    `code` is the server's error number, `sqlstate` its five characters (may be empty) and `text`
    its message. The connection, and any transaction the server kept open, stay usable.
    """

    def __init__(self, code: int, text: str, sqlstate: str = "") -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
        self.sqlstate = sqlstate


class DuplicateKey(QueryFailed):
    """A unique key already holds this value."""


class LockConflict(QueryFailed):
    """Deadlock or lock wait timeout: the transaction can be run again from its start."""


class ReadOnlyServer(QueryFailed):
    """A write reached a server that is read-only, such as a replica or a demoted primary."""


class NoServerAvailable(LbkitError):
    """No server of the pool may be picked now; the message says why for each."""


class PoolFull(NoServerAvailable):
    """Every server that may be picked is at its connection limit, or the queue for one is full."""


class PromotionRefused(LbkitError):
    """A promotion that could lose acknowledged writes or make two primaries."""


class KernelUnsupported(LbkitError):
    """The running kernel, or this process's rights, lack what was asked for."""
