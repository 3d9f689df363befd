"""What a configuration may say: frozen dataclasses, one for each table of the TOML file.

A field without a default is required. A field of type `Any` named ``options`` holds the options
dataclass of the part that another field names; which parts exist comes in as a `Catalog`, because
this package knows the shape of a configuration and not what is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lbkit.config.values import Duration
from lbkit.server import Address

__all__ = [
    "AdminConfig",
    "Catalog",
    "Config",
    "GlobalConfig",
    "HealthConfig",
    "ListenerConfig",
    "PoolConfig",
    "RouteConfig",
    "ServerConfig",
    "Timeouts",
]

Mode = Literal["tcp", "http"]


@dataclass(frozen=True, slots=True)
class Catalog:
    """The parts that can be named: name → dataclass of its options."""

    algorithms: Mapping[str, type[Any]]
    checks: Mapping[str, type[Any]]
    relays: Mapping[str, type[Any]]


@dataclass(frozen=True, slots=True)
class GlobalConfig:
    """``[global]``: `seed` makes picks reproducible; `drain_timeout` bounds a graceful stop."""

    seed: int | None = None
    drain_timeout: Duration = Duration(30)


@dataclass(frozen=True, slots=True)
class AdminConfig:
    """``[admin]``: where /metrics and /status are served. Bind it to loopback: it asks no password."""

    listen: Address


@dataclass(frozen=True, slots=True)
class Timeouts:
    """``[listeners.NAME.timeouts]``; zero means no limit.

    `connect` bounds one attempt to reach a server. `client` and `server` bound the time without
    progress on that side: in tcp mode 10 minutes by default (nginx `proxy_timeout`), in http mode
    60 seconds (nginx `client_body_timeout` and `proxy_read_timeout`). `request_head` bounds the
    arrival of a request's head and `keep_alive` the pause between requests (nginx 75 s).
    """

    connect: Duration = Duration(5)
    client: Duration | None = None
    server: Duration | None = None
    request_head: Duration = Duration(10)
    keep_alive: Duration = Duration(75)

    def client_in(self, mode: Mode) -> float:
        """`client`, or the default of *mode*."""
        return (600.0 if mode == "tcp" else 60.0) if self.client is None else self.client

    def server_in(self, mode: Mode) -> float:
        """`server`, or the default of *mode*."""
        return (600.0 if mode == "tcp" else 60.0) if self.server is None else self.server


@dataclass(frozen=True, slots=True)
class RouteConfig:
    """``[[listeners.NAME.routes]]``: what matches goes to `pool` or to the files under `static`."""

    path: str = "/"
    host: str | None = None
    pool: str | None = None
    static: str | None = None


@dataclass(frozen=True, slots=True)
class ListenerConfig:
    """``[listeners.NAME]``: a bound address and where its sessions go."""

    listen: Address
    mode: Mode = "tcp"
    pool: str | None = None
    relay: str = "auto"
    max_connections: int = 20_000
    timeouts: Timeouts = field(default_factory=Timeouts)
    routes: tuple[RouteConfig, ...] = ()


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """``[pools.NAME.health]``: HAProxy's `inter 2s rise 2 fall 3`; the check's own options follow.

    `jitter` is the largest part of the interval, 0 to 0.5, by which a check is moved.
    """

    check: str
    interval: Duration = Duration(2)
    timeout: Duration = Duration(1)
    rise: int = 2
    fall: int = 3
    jitter: float = 0.1
    options: Any = None


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """``[[pools.NAME.servers]]``."""

    name: str
    address: Address
    weight: int = 1
    backup: bool = False
    max_connections: int = 0


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """``[pools.NAME]``: servers, how one is picked, and how their health is known."""

    servers: tuple[ServerConfig, ...] = ()
    algorithm: str = "round_robin"
    retries: int = 3
    options: Any = None
    health: HealthConfig | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """A whole file."""

    global_: GlobalConfig = field(default_factory=GlobalConfig)
    admin: AdminConfig | None = None
    listeners: Mapping[str, ListenerConfig] = field(default_factory=dict)
    pools: Mapping[str, PoolConfig] = field(default_factory=dict)
