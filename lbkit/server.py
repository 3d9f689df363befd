"""`Address` and `Server`: where traffic may go, and what is counted about it.

The counters are plain integers on the server itself: the hot path adds to them, and only a scrape
reads them, so counting costs one attribute update and no lock.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

__all__ = ["Address", "Outcome", "Server", "ServerCounters"]

_PORT = re.compile(r"[0-9]{1,5}")
_HOST_NAME = re.compile(
    r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\.?"
)
_DOTTED_NUMBERS = re.compile(r"[0-9.]+")


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP or Unix socket address.

    `host` is an IP address or a name and `port` 0–65535; for a Unix socket `path` is set, `host` is
    empty and `port` is 0.
    """

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``host:port``, ``[v6]:port`` or ``unix:/path``.

        Raises ValueError with a message that says what is wrong with *text*.
        """
        if text.startswith("unix:"):
            return cls._parse_unix(text)
        if text.startswith("["):
            host, closed, port = text[1:].partition("]:")
            if not closed:
                raise ValueError(f'"{text}" is not an address: expected "[v6]:port"')
            try:
                ipaddress.IPv6Address(host)
            except ValueError:
                raise ValueError(f'"{text}" is not an address: "{host}" is no IPv6 address') from None
        else:
            if "://" in text:
                raise ValueError(f'"{text}" is not an address: expected "host:port", and no URL')
            host, colon, port = text.rpartition(":")
            if not colon:
                raise ValueError(f'"{text}" is not an address: expected "host:port"')
            if ":" in host:
                raise ValueError(f'"{text}" is not an address: write IPv6 as "[{host}]:{port}"')
            if not _is_host(host):
                raise ValueError(
                    f'"{text}" is not an address: "{host}" is neither a host name nor an IP address'
                )
        if not _PORT.fullmatch(port) or int(port) > 65535:
            raise ValueError(f'"{text}" is not an address: port "{port}" is not a number from 0 to 65535')
        return cls(host, int(port))

    @classmethod
    def _parse_unix(cls, text: str) -> Address:
        path = text[5:]
        if not path.startswith("/") or "\0" in path:
            raise ValueError(f'"{text}" is not an address: expected "unix:/absolute/path"')
        # sockaddr_un.sun_path holds 108 bytes on Linux and 104 on macOS, with the ending NUL (unix(7)).
        if len(path.encode()) > 103:
            raise ValueError(f'"{text}" is not an address: a Unix socket path may have 103 bytes')
        return cls(path=path)

    @property
    def is_numeric(self) -> bool:
        """Whether it can be dialled without resolving a name."""
        return bool(self.path) or _is_ip(self.host)

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@lru_cache(4096)  # asked for each connection, and always the same few
def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_host(host: str) -> bool:
    if _DOTTED_NUMBERS.fullmatch(host):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            return False
        return True
    return len(host) <= 253 and _HOST_NAME.fullmatch(host) is not None


class Outcome(Enum):
    """How a session or request on a server ended. CANCELLED, by the client or by us, is not its fault."""

    DONE = "done"
    CONNECT_FAILED = "connect failed"
    ERROR = "error"
    """An answer of 5xx, a broken one, or a reset."""
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"

    @property
    def is_failure(self) -> bool:
        """Whether it speaks against the server."""
        return self is not Outcome.DONE and self is not Outcome.CANCELLED


class ServerCounters:
    """What happened with one server since it was added; plain integers, read at scrape.

    `bytes_in` came from clients towards the server, `bytes_out` from the server towards clients.
    """

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "checks_failed",
        "checks_passed",
        "connect_errors",
        "picks",
        "requests",
        "response_errors",
        "retries",
        "sessions",
        "timeouts",
    )

    def __init__(self) -> None:
        self.picks = 0
        self.sessions = 0
        self.requests = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.connect_errors = 0
        self.response_errors = 0
        self.timeouts = 0
        self.retries = 0
        self.checks_passed = 0
        self.checks_failed = 0


class Server:
    """One address that may receive traffic.

    `weight` is its share relative to the others, 0–256, where 0 takes no new traffic (as in
    HAProxy). A `backup` server is picked only when no other one is available. `max_connections` of 0
    is no limit. `open_sessions` is kept by `Pool.acquire` and `Pool.release`.

    `effective_weight` is what balancers go by: the weight with what slow start and an agent leave of it, a
    multiple of 1/16 (HAProxy's scale), kept by the pool. In the same way `limit` is what of
    `max_connections` is allowed now.
    """

    __slots__ = (
        "address",
        "backup",
        "counters",
        "effective_weight",
        "limit",
        "max_connections",
        "name",
        "open_sessions",
        "slow_start",
        "weight",
    )

    def __init__(
        self,
        name: str,
        address: Address | str,
        *,
        weight: int = 1,
        backup: bool = False,
        max_connections: int = 0,
        slow_start: float = 0.0,
    ) -> None:
        """`slow_start`: seconds in which its share grows from little to all after it became ready.

        Raises ValueError for a number out of range or a malformed address.
        """
        if not 0 <= weight <= 256:
            raise ValueError(f"weight {weight} is not from 0 to 256")
        if max_connections < 0:
            raise ValueError(f"max_connections {max_connections} is negative")
        if slow_start < 0:
            raise ValueError(f"slow_start {slow_start} is negative")
        self.name = name
        self.address = Address.parse(address) if isinstance(address, str) else address
        self.weight = weight
        self.backup = backup
        self.max_connections = max_connections
        self.slow_start = slow_start
        self.effective_weight = float(weight)
        self.limit = max_connections
        self.open_sessions = 0
        self.counters = ServerCounters()

    @property
    def is_full(self) -> bool:
        """Whether its connection limit is reached."""
        return 0 < self.limit <= self.open_sessions

    def __repr__(self) -> str:
        return f"Server({self.name!r}, {str(self.address)!r}, weight={self.weight})"
