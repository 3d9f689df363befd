"""What a configuration may say: frozen dataclasses, one for each table of the TOML file.

A field without a default is required. A field of type `Any` named ``options`` holds the options
dataclass of the part that another field names; which parts exist comes in as a `Catalog`, because
this package knows the shape of a configuration and not what is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lbkit.config.mysql import MysqlConfig
from lbkit.config.pool_tls import PoolTlsConfig
from lbkit.config.values import Duration, KeySource
from lbkit.config.web import RewriteConfig, RouteConfig
from lbkit.firewall import Network, Rate
from lbkit.server import Address

__all__ = [
    "AdminConfig",
    "AgentConfig",
    "Catalog",
    "CertificateConfig",
    "Config",
    "FirewallConfig",
    "FirewallRuleConfig",
    "GlobalConfig",
    "HealthConfig",
    "ListenerConfig",
    "OutlierConfig",
    "PoolConfig",
    "PoolTlsConfig",
    "ServerConfig",
    "Timeouts",
    "TlsConfig",
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
    """``[global]``: `seed` makes picks reproducible; `drain_timeout` bounds a graceful stop.

    `workers` is how many processes `lbkit run` shares the traffic among; ``"auto"`` is one for each core
    that it may use. Limits such as `max_connections` are of the whole: each worker gets its share.
    """

    workers: int | Literal["auto"] = 1
    seed: int | None = None
    drain_timeout: Duration = Duration(30)


@dataclass(frozen=True, slots=True)
class AdminConfig:
    """``[admin]``: where dashboard, /metrics and /status are served.

    Bind it to loopback: it asks no password, and servers can be drained, added and removed there.
    """

    listen: Address


@dataclass(frozen=True, slots=True)
class Timeouts:
    """``[listeners.NAME.timeouts]``; zero means no limit.

    `connect` bounds one attempt to reach a server. `client` and `server` bound the time without
    progress on that side: in tcp mode 10 minutes by default (nginx `proxy_timeout`), in http mode
    60 seconds (nginx `client_body_timeout` and `proxy_read_timeout`). `request_head` bounds the
    arrival of a request's head and `keep_alive` the pause between requests (nginx 75 s). `queue` bounds the
    wait for a server under its connection limit. `tunnel`, where set, takes the place of `client` and
    `server` in tcp mode once both sides have sent something: then it bounds the silence of both (HAProxy
    `timeout tunnel`). In http mode it is that of a WebSocket, 1 hour by default (as in HAProxy's manual).
    `request` bounds in http mode the whole of a request, from its head to the end of the answer (Envoy's
    `timeout` of a route); no limit by default.
    """

    connect: Duration = Duration(5)
    client: Duration | None = None
    server: Duration | None = None
    queue: Duration = Duration(5)
    request_head: Duration = Duration(10)
    keep_alive: Duration = Duration(75)
    tunnel: Duration | None = None
    request: Duration = Duration(0)

    def client_in(self, mode: Mode) -> float:
        """`client`, or the default of *mode*."""
        return (600.0 if mode == "tcp" else 60.0) if self.client is None else self.client

    @property
    def upgraded(self) -> float:
        """`tunnel` in http mode."""
        return 3600.0 if self.tunnel is None else self.tunnel

    def server_in(self, mode: Mode) -> float:
        """`server`, or the default of *mode*."""
        return (600.0 if mode == "tcp" else 60.0) if self.server is None else self.server


@dataclass(frozen=True, slots=True)
class FirewallRuleConfig:
    """``[[listeners.NAME.firewall.rules]]``: http requests that match all that is given; the first rule
    counts.

    `path` is a beginning, as a route's. `header` is ``"Name: expression"``, a regular expression that is
    searched for in the field's value. `action` ``"allow"`` lets the request pass the rules that follow;
    ``"deny"`` answers with `status`.
    """

    method: str | None = None
    path: str | None = None
    header: str | None = None
    action: Literal["deny", "allow"] = "deny"
    status: int = 403


@dataclass(frozen=True, slots=True)
class FirewallConfig:
    """``[listeners.NAME.firewall]``: who may come in, before TLS and before a session begins.

    Of the networks in `allow` and `deny` the most specific one that holds a client's address decides; who is
    in none is let in, unless there is an allowed one. The files hold one network a line, with # comments, and
    are read again at each reload.

    `connection_rate`, `request_rate` (http mode, answered with 429) and `max_connections_per_client` are for
    each client: an IPv4 address, or the first `ipv6_prefix` bits of an IPv6 one. `ban_after` denials by these
    limits within `ban_window` shut a client out for `ban_time`; 0 is never. At most `max_clients` are
    remembered for each limit; further ones share theirs.
    """

    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()
    allow_file: str | None = None
    deny_file: str | None = None
    connection_rate: Rate | None = None
    request_rate: Rate | None = None
    max_connections_per_client: int = 0
    ban_after: int = 0
    ban_window: Duration = Duration(60)
    ban_time: Duration = Duration(600)
    ipv6_prefix: int = 64
    max_clients: int = 65_536
    rules: tuple[FirewallRuleConfig, ...] = ()


@dataclass(frozen=True, slots=True)
class CertificateConfig:
    """``[[listeners.NAME.tls.certificates]]``: a PEM file with a certificate and its chain, the leaf first.

    `key` is the file with its key; the same one where left out. Clients get it that ask for one of the names
    in it; `names` are such that it must have, or the configuration is refused.
    """

    certificate: Path
    key: Path | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """``[listeners.NAME.tls]``: TLS ends here. `certificate`, `key` and `names` as in `CertificateConfig`.

    It stands for clients that ask for no name or an unknown one, `certificates` for the names in them;
    `strict_sni` refuses such clients instead. `ciphers` is OpenSSL's list for TLS 1.2. `alpn` are the
    protocols that are offered: in http mode HTTP/2 and HTTP/1.1. `client_certificates` asks clients for a
    certificate that one of `client_ca` has signed. `hsts` is how long browsers are to come back by https only
    (RFC 6797).
    """

    certificate: Path
    key: Path | None = None
    names: tuple[str, ...] = ()
    certificates: tuple[CertificateConfig, ...] = ()
    strict_sni: bool = False
    minimum_version: Literal["1.2", "1.3"] = "1.2"
    ciphers: str = ""
    alpn: tuple[str, ...] | None = None
    client_ca: Path | None = None
    client_certificates: Literal["off", "optional", "required"] = "off"
    handshake_timeout: Duration = Duration(10)
    hsts: Duration = Duration(0)

    def alpn_in(self, mode: Mode) -> tuple[str, ...]:
        """`alpn`, or the default of *mode*."""
        if self.alpn is None:
            return ("h2", "http/1.1") if mode == "http" else ()
        return self.alpn


@dataclass(frozen=True, slots=True)
class ListenerConfig:
    """``[listeners.NAME]``: a bound address and where its sessions go.

    `access_log` is a file that gets one line for each http request; ``"-"`` is standard output. Its format is
    JSON, the ``combined`` one of Apache and nginx, or that with times, server and request id behind.
    At `max_connections` new clients wait in the kernel's backlog, or with `when_full` ``"refuse"`` get a
    reset.
    At most `max_connecting` sessions may be in their TLS handshake or, in tcp mode, without a server, so that
    a flood towards servers that do not answer stays bounded. `redirect_https` answers what no route takes
    with a redirect to the same at `https_port` (308).

    With `proxy_protocol` every connection must begin with a PROXY header, version 1 or 2, within
    `timeouts.request_head`; the client that it tells is the one that firewall, hashing keys, logs and headers
    go by. It is believed only from the networks in `proxy_protocol_from`; others are turned away. On a Unix
    socket whoever may connect is believed.

    The following are for http mode. `rewrite` is for all its requests. `upgrades` are the protocols to which
    clients and servers may change a connection; it is a tunnel then.

    `forwarded` is how servers are told of the client: by X-Forwarded-*, by Forwarded (RFC 7239), or by both.
    What `trusted_proxies` (networks, addresses, ``"unix"``) say of it is believed, by X-Forwarded-For or with
    ``"rfc7239"`` by Forwarded. `request_id` true is a field X-Request-Id, a text another one: each request
    gets an id, which server, client and access log are told; a trusted proxy's is kept. `tracing` passes W3C
    Trace Context on with this hop in it. `deadlines` true is a field X-Envoy-Expected-Rq-Timeout-Ms, a text
    another one: servers are told how many milliseconds of `timeouts.request` are left, and what
    `trusted_proxies` say is left to them counts, too; that of others is dropped.

    `error_pages` are files for errors that are found here (no server, no answer in time, a bad request, …),
    by status: ``503 = "sorry.html"``. They are read at the start and at each reload. What a server answers
    passes.
    """

    listen: Address
    mode: Mode = "tcp"
    pool: str | None = None
    relay: str = "auto"
    max_connections: int = 20_000
    when_full: Literal["queue", "refuse"] = "queue"
    max_connecting: int = 4096
    access_log: str | None = None
    access_log_format: Literal["json", "combined", "combined_timed"] = "json"
    proxy_protocol: bool = False
    proxy_protocol_from: tuple[Network, ...] = ()
    redirect_https: bool = False
    https_port: int = 443
    tls: TlsConfig | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    firewall: FirewallConfig | None = None
    routes: tuple[RouteConfig, ...] = ()
    rewrite: RewriteConfig | None = None
    upgrades: tuple[str, ...] = ("websocket",)
    forwarded: Literal["x-forwarded", "rfc7239", "both"] = "x-forwarded"
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1", "unix")
    error_pages: Mapping[str, Path] = field(default_factory=dict)
    request_id: bool | str = False
    tracing: bool = False
    deadlines: bool | str = False


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """``[pools.NAME.health]``: HAProxy's `inter 2s rise 2 fall 3`; the check's own options follow.

    `fast_interval` holds while a server's state is changing and `down_interval` while it is down (HAProxy
    `fastinter`, `downinter`); both are `interval` where left out. `jitter` is the largest part of the
    interval, 0 to 0.5, by which a check is moved.

    `observe` counts errors of live traffic, too: at ``"layer4"`` failed connects, at ``"layer7"`` also
    failed answers. After `error_limit` in a row `on_error` happens: ``"fail_check"`` counts as one
    failed check and hurries the next, ``"fast_check"`` only hurries it, ``"mark_down"`` takes the server out.
    """

    check: str
    interval: Duration = Duration(2)
    fast_interval: Duration | None = None
    down_interval: Duration | None = None
    timeout: Duration = Duration(1)
    rise: int = 2
    fall: int = 3
    jitter: float = 0.1
    observe: Literal["off", "layer4", "layer7"] = "off"
    error_limit: int = 10
    on_error: Literal["fail_check", "fast_check", "mark_down"] = "fail_check"
    options: Any = None


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """``[pools.NAME.agent]``: each server's agent is asked for weight and state (HAProxy `agent-check`).

    It listens on `port` of the server's own address. An agent that does not answer changes nothing.
    """

    port: int
    interval: Duration = Duration(2)
    timeout: Duration = Duration(1)


@dataclass(frozen=True, slots=True)
class OutlierConfig:
    """``[pools.NAME.outlier]``: servers that fail more than the others are left out for a while.

    `consecutive` failures eject at once. Each `interval` those are ejected whose success rate is more
    than `deviations` standard deviations under the mean, among at least `rate_servers` servers with
    `rate_requests` requests each. An ejection lasts `base_ejection` × the number of them, at most
    `max_ejection`; at most `max_ejected_percent` of the servers are out. The defaults are Envoy's.
    """

    consecutive: int = 5
    interval: Duration = Duration(10)
    base_ejection: Duration = Duration(30)
    max_ejection: Duration = Duration(300)
    max_ejected_percent: float = 10.0
    deviations: float = 1.9
    rate_servers: int = 5
    rate_requests: int = 100


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """``[[pools.NAME.servers]]``.

    `max_connections` of 0 is no limit; over it sessions wait in the pool's queue. Within `slow_start` after
    it became ready a server's weight and limit grow from a sixteenth to the whole.
    """

    name: str
    address: Address
    weight: int = 1
    backup: bool = False
    max_connections: int = 0
    slow_start: Duration = Duration(0)


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """``[pools.NAME]``: servers, how one is picked, and how their health is known.

    `key` is what hashing algorithms map to a server: ``"client"`` (its address), ``"path"``,
    ``"header:NAME"``, ``"cookie:NAME"`` or ``"query:NAME"``. At most `retries` other servers are tried; at a
    time `retry_percent` of the open sessions may be retries, and `retry_minimum` always. `max_queue` may wait
    for servers at their limit. Where fewer than `panic_threshold` percent are up health is ignored; 0 is off.
    `sticky_cookie` names a cookie that keeps a client at the server it began with (http mode).

    `send_proxy` ``"v1"`` or ``"v2"``: every connection to a server begins with a PROXY header that tells the
    client; those of checks (tcp, tls, http, mysql) with one that says they are the balancer's own. It is the
    pool's and not a server's, because servers that take turns must all expect it. In http mode a kept
    connection is used again only for the client connection that it was introduced with.

    With `on_down` ``"cut"`` tcp sessions with a server end when it goes down, else they are left to end by
    themselves (HAProxy's `on-marked-down shutdown-sessions`). Left out it is ``"cut"`` for the mysql check
    with `role` ``"primary"``, else ``"keep"``.
    """

    servers: tuple[ServerConfig, ...] = ()
    algorithm: str = "round_robin"
    key: KeySource = field(default_factory=KeySource)
    retries: int = 3
    retry_percent: float = 20.0
    retry_minimum: int = 3
    max_queue: int = 1024
    panic_threshold: float = 0.0
    sticky_cookie: str = ""
    send_proxy: Literal["off", "v1", "v2"] = "off"
    on_down: Literal["keep", "cut"] | None = None
    options: Any = None
    health: HealthConfig | None = None
    agent: AgentConfig | None = None
    outlier: OutlierConfig | None = None
    tls: PoolTlsConfig | None = None

    @property
    def cuts(self) -> bool:
        """Whether tcp sessions end with the server's going down: by `on_down`, else as the check has it."""
        if self.on_down is None:
            return self.health is not None and bool(getattr(self.health.options, "cuts", False))
        return self.on_down == "cut"


@dataclass(frozen=True, slots=True)
class Config:
    """A whole file. `lists` is no table of it: by path the text of the files that firewalls name, as read
    with it."""

    global_: GlobalConfig = field(default_factory=GlobalConfig)
    admin: AdminConfig | None = None
    listeners: Mapping[str, ListenerConfig] = field(default_factory=dict)
    pools: Mapping[str, PoolConfig] = field(default_factory=dict)
    mysql: Mapping[str, MysqlConfig] = field(default_factory=dict)
    lists: Any = field(default_factory=dict)
