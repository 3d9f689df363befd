"""A TOML file as `Config`: decoded, then checked for what only the whole can tell."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from lbkit.config.decoder import Problems, decode, key_path
from lbkit.config.mysql import check_mysql, resolve_mysql
from lbkit.config.pool_tls import check_pool_tls
from lbkit.config.schema import (
    Catalog,
    CertificateConfig,
    Config,
    FirewallConfig,
    HealthConfig,
    ListenerConfig,
    OutlierConfig,
    PoolConfig,
    PoolTlsConfig,
    TlsConfig,
)
from lbkit.config.values import TOKEN, is_name_pattern
from lbkit.config.web import RouteConfig
from lbkit.config.web_checks import check_listener, check_route
from lbkit.errors import ConfigError
from lbkit.firewall import Network, read_networks
from lbkit.firewall.rules import parse_header_pattern
from lbkit.registry import nearest
from lbkit.server import Address

__all__ = ["NO_NAME", "check_server", "load", "load_text", "loads", "read_text"]


_MISTAKES = 10
"""Wrong lines of one file that are told each."""


def load(path: Path, catalog: Catalog) -> Config:
    """Read and check a file; paths in it are relative to its folder.

    Raises ConfigError with every problem, each line starting with the file's name.
    """
    return load_text(read_text(path), path, catalog)


def load_text(text: str, path: Path, catalog: Catalog) -> Config:
    """As `load`, for who has read the *text* of the file already."""
    try:
        return loads(text, catalog, folder=path.parent)
    except ConfigError as error:
        raise ConfigError([f"{path}: {line}" for line in error.problems]) from None


def read_text(path: Path) -> str:
    """The text of a file; raises ConfigError where it cannot be read or is no UTF-8."""
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start})") from None


def loads(
    text: str, catalog: Catalog, folder: Path | None = None, lists: Mapping[str, str] | None = None
) -> Config:
    """Check TOML text. *folder* is what relative paths start from; None is the current one. *lists* are
    those of a `Config.lists`, which are then not read again.

    Raises ConfigError with one line per problem: the key path and what is wrong there.
    """
    try:
        raw = tomllib.loads(text)
    except RecursionError:
        raise ConfigError("not valid TOML: nested too deeply") from None
    except ValueError as error:  # not only TOMLDecodeError: int() raises its own for thousands of digits
        raise ConfigError(f"not valid TOML: {error}") from None
    problems = Problems()
    config = _resolve_paths(_decode(raw, catalog, problems), folder or Path())
    config = _read_lists(config, lists or {}, problems)
    _check_whole(config, catalog, problems)
    if problems.lines:
        raise ConfigError(problems.lines)
    return config


def _decode(raw: dict[str, Any], catalog: Catalog, problems: Problems) -> Config:
    pools = raw.pop("pools", {})
    if not isinstance(pools, dict):
        problems.add("pools", "expected tables [pools.NAME]")
        pools = {}
    config: Config = decode(Config, raw, "", problems, extra={"pools": None})
    decoded = {name: _decode_pool(name, table, catalog, problems) for name, table in pools.items()}
    return dataclasses.replace(config, pools=decoded)


def _decode_pool(name: str, table: Any, catalog: Catalog, problems: Problems) -> PoolConfig:
    path = key_path("pools", name)
    if not isinstance(table, dict):
        problems.add(path, "expected a table")
        return PoolConfig()
    table = dict(table)
    options, health = table.pop("options", {}), table.pop("health", None)
    pool: PoolConfig = decode(PoolConfig, table, path, problems, extra={"options": None, "health": None})
    algorithm = table.get("algorithm", "round_robin")
    return dataclasses.replace(
        pool,
        options=_decode_options(
            catalog.algorithms, "algorithm", algorithm, options, path, "options", problems
        ),
        health=None
        if health is None
        else _decode_health(health, key_path(path, "health"), catalog, problems),
    )


def _decode_health(table: Any, path: str, catalog: Catalog, problems: Problems) -> HealthConfig | None:
    if not isinstance(table, dict):
        problems.add(path, "expected a table")
        return None
    check = table.get("check")
    kind = catalog.checks.get(check) if isinstance(check, str) else None
    own = [field.name for field in dataclasses.fields(HealthConfig) if field.name != "options"]
    options = {key: value for key, value in table.items() if key not in own}
    # Where the check is unknown nobody can say which of its options are.
    known = list(options) if kind is None else [field.name for field in dataclasses.fields(kind)]
    health: HealthConfig = decode(HealthConfig, table, path, problems, extra=dict.fromkeys(known))
    ours = {key: value for key, value in options.items() if key in known}
    return dataclasses.replace(
        health, options=_decode_options(catalog.checks, "check", check, ours, path, "", problems)
    )


def _decode_options(
    parts: Mapping[str, type[Any]],
    kind: str,
    name: Any,
    options: Any,
    path: str,
    key: str,
    problems: Problems,
) -> Any:
    if not isinstance(name, str):
        return None
    if name not in parts:
        problems.add(
            key_path(path, kind), f'unknown {kind} "{name}"{nearest(name, list(parts), listed=True)}'
        )
        return None
    return decode(parts[name], options, key_path(path, key) if key else path, problems, listed=True)


def _check_pool_exists(name: object, pools: Mapping[str, Any], path: str, problems: Problems) -> None:
    if isinstance(name, str) and name not in pools and (pools or not problems.has("pools")):
        problems.add(path, f'there is no pool "{name}"{nearest(name, list(pools))}')


def _resolve_paths(config: Config, folder: Path) -> Config:
    def resolved(listener: ListenerConfig) -> ListenerConfig:
        routes = tuple(_resolve_route(route, folder) for route in listener.routes)
        log = listener.access_log
        if log is not None and log != "-":
            log = str(folder / log)
        pages = {status: folder / file for status, file in listener.error_pages.items()}
        return dataclasses.replace(
            listener,
            routes=routes,
            access_log=log,
            error_pages=pages,
            firewall=_resolve_lists(listener.firewall, folder),
            tls=None if listener.tls is None else _resolve_tls(listener.tls, folder),
        )

    return dataclasses.replace(
        config,
        listeners={name: resolved(listener) for name, listener in config.listeners.items()},
        pools={name: _resolve_options(pool, folder) for name, pool in config.pools.items()},
        mysql=resolve_mysql(config.mysql, folder),
    )


def _resolve_lists(firewall: FirewallConfig | None, folder: Path) -> FirewallConfig | None:
    if firewall is None:
        return None
    files = {
        key: str(folder / name)
        for key in ("allow_file", "deny_file")
        if (name := getattr(firewall, key)) is not None
    }
    return dataclasses.replace(firewall, **files)  # type: ignore[arg-type]  # keys of a table, checked above


def _read_lists(config: Config, given: Mapping[str, str], problems: Problems) -> Config:
    """*config* with the networks of the files that its firewalls name; what is in *given* is not read."""
    lists: dict[str, str] = {}

    def read(name: str | None, path: str) -> tuple[Network, ...]:
        if name is None:
            return ()
        try:
            lists[name] = given[name] if name in given else read_text(Path(name))
        except ConfigError as error:
            problems.add(path, str(error))
            return ()
        networks, mistakes = read_networks(lists[name])
        for mistake in mistakes[:_MISTAKES]:
            problems.add(path, f"{name}, {mistake}")
        if len(mistakes) > _MISTAKES:
            problems.add(path, f"{name}: {len(mistakes) - _MISTAKES} more lines are wrong")
        return tuple(networks)

    listeners = dict(config.listeners)
    for name, listener in config.listeners.items():
        if (firewall := listener.firewall) is not None:
            path = f"{key_path('listeners', name)}.firewall"
            whole = dataclasses.replace(
                firewall,
                allow=firewall.allow + read(firewall.allow_file, f"{path}.allow_file"),
                deny=firewall.deny + read(firewall.deny_file, f"{path}.deny_file"),
            )
            listeners[name] = dataclasses.replace(listener, firewall=whole)
    return dataclasses.replace(config, listeners=listeners, lists=lists)


def _resolve_tls(tls: TlsConfig, folder: Path) -> TlsConfig:
    certificates = tuple(_with_paths(item, folder) for item in tls.certificates)
    return dataclasses.replace(_with_paths(tls, folder), certificates=certificates)


T = TypeVar("T", TlsConfig, CertificateConfig, PoolTlsConfig)


def _with_paths(table: T, folder: Path) -> T:
    """*table* with its files named from *folder* on."""
    fields = ("certificate", "key", "client_ca", "ca")
    paths = {name: folder / path for name in fields if (path := getattr(table, name, None)) is not None}
    return dataclasses.replace(table, **paths)


def _resolve_route(route: RouteConfig, folder: Path) -> RouteConfig:
    if route.static is not None:
        route = dataclasses.replace(route, static=str(folder / route.static))
    if route.answer is not None and route.answer.file is not None:
        route = dataclasses.replace(
            route, answer=dataclasses.replace(route.answer, file=folder / route.answer.file)
        )
    return route


def _resolve_options(pool: PoolConfig, folder: Path) -> PoolConfig:
    """The paths of the pool's TLS, and among the options of its check."""
    if pool.tls is not None:
        pool = dataclasses.replace(pool, tls=_with_paths(pool.tls, folder))
    options = None if pool.health is None else pool.health.options
    if pool.health is None or not dataclasses.is_dataclass(options) or isinstance(options, type):
        return pool
    paths = {
        field.name: folder / value
        for field in dataclasses.fields(options)
        if isinstance(value := getattr(options, field.name), Path)
    }
    health = dataclasses.replace(pool.health, options=dataclasses.replace(options, **paths))
    return dataclasses.replace(pool, health=health)


def _check_whole(config: Config, catalog: Catalog, problems: Problems) -> None:
    nothing = not config.listeners and config.admin is None and not config.mysql
    if nothing and not problems.has("listeners") and not problems.has("mysql"):
        problems.add("listeners", "nothing to listen on: add a [listeners.NAME] table")
    check_mysql(config.mysql, problems)
    if config.global_.workers != "auto":
        _check_bounds(config.global_.workers, 1, 1024, "global.workers", problems)
    _check_addresses(config, problems)
    if "admin" in config.listeners:
        problems.add("listeners.admin", "the name is taken by [admin]; choose another one")
    for kind, names in (("listeners", config.listeners), ("pools", config.pools)):
        if "" in names:
            problems.add(key_path(kind, ""), "a name must not be empty")
    for name, listener in config.listeners.items():
        path = key_path("listeners", name)
        _check_listener(config, listener, path, problems)
        if listener.relay not in ("auto", *catalog.relays):
            known = nearest(listener.relay, ["auto", *catalog.relays], listed=True)
            problems.add(f"{path}.relay", f'unknown relay "{listener.relay}"{known}')
        elif listener.mode == "tcp" and listener.relay not in ("auto", "stream"):
            _check_relay_suits(config, listener, path, problems)
    for name, pool in config.pools.items():
        _check_pool(pool, key_path("pools", name), problems)


def _check_addresses(config: Config, problems: Problems) -> None:
    seen: dict[Address, str] = {}
    listening = [
        (f"{key_path('listeners', name)}.listen", item.listen) for name, item in config.listeners.items()
    ]
    if config.admin is not None:
        listening.append(("admin.listen", config.admin.listen))
    for path, address in listening:
        if address in seen and (address.port or address.path):
            problems.add(path, f"{address} is already taken by {seen[address]}")
        seen.setdefault(address, path)


def _check_listener(config: Config, listener: ListenerConfig, path: str, problems: Problems) -> None:
    _check_pool_exists(listener.pool, config.pools, f"{path}.pool", problems)
    if listener.tls is not None:
        _check_tls(listener, listener.tls, f"{path}.tls", problems)
    if listener.redirect_https:
        _check_redirect(listener, path, problems)
    if listener.mode == "tcp":
        if listener.pool is None and not listener.routes and not problems.has(f"{path}.routes"):
            problems.add(path, 'missing key "pool": a tcp listener sends everything to one pool')
        if not problems.has(f"{path}.mode"):
            _check_sni_routes(config, listener, path, problems)
        if listener.access_log is not None:
            problems.add(f"{path}.access_log", 'an access log needs mode = "http"')
        pool = config.pools.get(listener.pool or "")
        if pool is not None and pool.key.kind != "client":
            where = key_path("pools", str(listener.pool))
            problems.add(f"{where}.key", f'"{pool.key}" needs requests, and {path} has mode = "tcp"')
        if pool is not None and pool.sticky_cookie:
            where = key_path("pools", str(listener.pool))
            problems.add(f"{where}.sticky_cookie", f'needs requests, and {path} has mode = "tcp"')
    elif not (listener.pool or listener.routes or listener.redirect_https or problems.has(f"{path}.routes")):
        problems.add(path, 'missing key "pool", or [[routes]]: the listener would answer 404 to everything')
    _check_bounds(listener.max_connections, 1, 1_000_000, f"{path}.max_connections", problems)
    _check_bounds(listener.max_connecting, 1, 1_000_000, f"{path}.max_connecting", problems)
    if listener.proxy_protocol and not listener.proxy_protocol_from and not listener.listen.path:
        if not problems.has(f"{path}.proxy_protocol_from"):
            trusted = 'proxy_protocol_from = ["192.0.2.0/24"]'
            problems.add(path, f"proxy_protocol needs to know whom to believe: add {trusted}")
    elif listener.proxy_protocol_from and not listener.proxy_protocol:
        problems.add(f"{path}.proxy_protocol_from", "has no effect without proxy_protocol = true")
    if listener.firewall is not None:
        _check_firewall(listener.firewall, listener, f"{path}.firewall", problems)
    check_listener(listener, path, problems)
    for index, route in enumerate(listener.routes):
        here = key_path(f"{path}.routes", index)
        if listener.mode == "http":
            check_route(route, here, problems)
        if listener.mode == "http" and route.sni is not None:
            problems.add(f"{here}.sni", 'needs mode = "tcp"; in http mode routes go by "host"')
        _check_pool_exists(route.pool, config.pools, f"{here}.pool", problems)
        if route.static is not None and not _is_folder(route.static):
            problems.add(f"{here}.static", f'"{route.static}" is not a folder')


def _is_folder(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except OSError:  # a name too long, or a folder on the way that may not be looked into
        return False


def _check_firewall(
    firewall: FirewallConfig, listener: ListenerConfig, path: str, problems: Problems
) -> None:
    if listener.mode == "tcp":
        for key in ("request_rate", "rules"):
            if getattr(firewall, key):
                problems.add(f"{path}.{key}", 'there are no requests to look at: needs mode = "http"')
    limit = firewall.max_connections_per_client
    _check_bounds(limit, 0, 1_000_000, f"{path}.max_connections_per_client", problems)
    _check_bounds(firewall.ban_after, 0, 1_000_000, f"{path}.ban_after", problems)
    _check_bounds(firewall.ipv6_prefix, 1, 128, f"{path}.ipv6_prefix", problems)
    _check_bounds(firewall.max_clients, 1, 10_000_000, f"{path}.max_clients", problems)
    _check_positive(firewall, ("ban_window", "ban_time"), path, problems)
    limits = ("connection_rate", "request_rate", "max_connections_per_client")
    if firewall.ban_after and not any(
        getattr(firewall, key) or problems.has(f"{path}.{key}") for key in limits
    ):
        which = ", ".join(limits[:-1]) + f" or {limits[-1]}"
        problems.add(f"{path}.ban_after", f"there is no limit to offend against: set {which}, too")
    for index, rule in enumerate(firewall.rules):
        here = key_path(f"{path}.rules", index)
        if rule.method is None and rule.path is None and rule.header is None:
            problems.add(here, 'needs "method", "path" or "header"')
        if rule.method is not None and not TOKEN.fullmatch(rule.method):
            problems.add(f"{here}.method", f'"{rule.method}" is not a method')
        if rule.path is not None and not rule.path.startswith("/"):
            problems.add(f"{here}.path", f'"{rule.path}" must start with "/"')
        if rule.header is not None:
            try:
                parse_header_pattern(rule.header)
            except ValueError as error:
                problems.add(f"{here}.header", str(error))
        _check_bounds(rule.status, 400, 599, f"{here}.status", problems)


def _check_relay_suits(config: Config, listener: ListenerConfig, path: str, problems: Problems) -> None:
    """A relay that moves bytes as they are cannot open or close TLS."""
    pool = config.pools.get(listener.pool or "")
    if listener.tls is not None or (pool is not None and pool.tls is not None):
        where = f"{path}.tls" if listener.tls is not None else f"{key_path('pools', str(listener.pool))}.tls"
        text = f'"{listener.relay}" moves bytes as they are, and {where} opens them: say "stream" or "auto"'
        problems.add(f"{path}.relay", text)


def _check_sni_routes(config: Config, listener: ListenerConfig, path: str, problems: Problems) -> None:
    if listener.routes and listener.tls is not None:
        text = "routes by sni pass TLS on as it is, and [tls] ends it here: one of them must go"
        problems.add(f"{path}.routes", text)
    if listener.routes and not any(route.sni for route in listener.routes):
        problems.add(f"{path}.routes", 'routes need mode = "http", or "sni" in each')
        return
    if listener.routes and listener.listen.path:
        problems.add(f"{path}.listen", "routes by sni need a TCP address")
    default = config.pools.get(listener.pool or "")
    if listener.routes and default is not None and default.tls is not None:
        text = f"its sessions are TLS already, and {key_path('pools', str(listener.pool))} has [tls]"
        problems.add(f"{path}.pool", text)
    for index, route in enumerate(listener.routes):
        here = key_path(f"{path}.routes", index)
        if route.sni is None or route.static is not None or route.host is not None or route.path != "/":
            problems.add(here, 'a route in mode = "tcp" has "sni" and "pool"; others need mode = "http"')
        elif not is_name_pattern(route.sni):
            problems.add(f"{here}.sni", f'"{route.sni}" is neither a host name nor "*." and one')
        if route.pool is None and route.static is None:
            problems.add(here, 'missing key "pool"')
        pool = config.pools.get(route.pool or "")
        if pool is not None and pool.tls is not None:
            text = f"its sessions are TLS already, and {key_path('pools', str(route.pool))} has [tls]"
            problems.add(f"{here}.pool", text)


def _check_tls(listener: ListenerConfig, tls: TlsConfig, path: str, problems: Problems) -> None:
    _check_positive(tls, ("handshake_timeout",), path, problems)
    if tls.client_certificates != "off" and tls.client_ca is None and not problems.has(f"{path}.client_ca"):
        problems.add(path, 'missing key "client_ca": who has signed the certificates of clients?')
    if tls.client_certificates == "off" and tls.client_ca is not None:
        text = 'has no effect with client_certificates = "off"; say "optional" or "required"'
        problems.add(f"{path}.client_ca", text)
    for index, name in enumerate(tls.alpn or ()):
        if not name.isascii() or not 0 < len(name) < 256:
            problems.add(key_path(f"{path}.alpn", index), f'"{name}" is no protocol name of 1 to 255 letters')
        elif listener.mode == "http" and name not in ("h2", "http/1.1"):
            problems.add(key_path(f"{path}.alpn", index), f'"{name}": http mode speaks h2 and http/1.1')
    if tls.hsts and listener.mode == "tcp":
        problems.add(f"{path}.hsts", 'needs mode = "http"')


def _check_redirect(listener: ListenerConfig, path: str, problems: Problems) -> None:
    here = f"{path}.redirect_https"
    _check_bounds(listener.https_port, 1, 65535, f"{path}.https_port", problems)
    if listener.mode == "tcp":
        problems.add(here, 'needs mode = "http"')
    if listener.tls is not None:
        problems.add(here, "is for plain http, and the listener has [tls]: it would redirect to itself")
    if listener.pool is not None:
        problems.add(here, 'leaves nothing for "pool": leave one of them out, or use [[routes]]')


def _check_pool(pool: PoolConfig, path: str, problems: Problems) -> None:
    if pool.tls is not None:
        check_pool_tls(pool.tls, f"{path}.tls", problems)
    if not pool.servers and not problems.has(f"{path}.servers"):
        problems.add(f"{path}.servers", "a pool needs at least one server")
    _check_bounds(pool.retries, 0, 100, f"{path}.retries", problems)
    _check_bounds(pool.retry_percent, 0, 100, f"{path}.retry_percent", problems)
    _check_bounds(pool.retry_minimum, 0, 1_000_000, f"{path}.retry_minimum", problems)
    _check_bounds(pool.max_queue, 0, 1_000_000, f"{path}.max_queue", problems)
    _check_bounds(pool.panic_threshold, 0, 100, f"{path}.panic_threshold", problems)
    if pool.sticky_cookie and not TOKEN.fullmatch(pool.sticky_cookie):
        problems.add(f"{path}.sticky_cookie", f'"{pool.sticky_cookie}" is not a cookie name')
    names: dict[str, str] = {}
    for index, server in enumerate(pool.servers):
        here = key_path(f"{path}.servers", index)
        if not server.name:
            problems.add(f"{here}.name", NO_NAME)
        elif server.name in names:
            problems.add(f"{here}.name", f'"{server.name}" is already the name of {names[server.name]}')
        names.setdefault(server.name, here)
        check_server(server.weight, server.max_connections, server.address, here, problems)
    if pool.health is not None:
        _check_health(pool.health, f"{path}.health", problems)
    if pool.agent is not None:
        _check_bounds(pool.agent.port, 1, 65535, f"{path}.agent.port", problems)
        _check_positive(pool.agent, ("interval", "timeout"), f"{path}.agent", problems)
        for index, server in enumerate(pool.servers):
            if server.address.path:
                here = key_path(f"{path}.servers", index)
                problems.add(f"{here}.address", "an agent is asked over TCP, and this is a Unix socket")
    if pool.outlier is not None:
        _check_outlier(pool.outlier, f"{path}.outlier", problems)


NO_NAME = "a name must not be empty"


def check_server(
    weight: int | None, max_connections: int | None, address: Address | None, path: str, problems: Problems
) -> None:
    """Whether a server may have these; None is nothing said."""
    if weight is not None:
        _check_bounds(weight, 0, 256, key_path(path, "weight"), problems)
    if max_connections is not None:
        _check_bounds(max_connections, 0, 1_000_000, key_path(path, "max_connections"), problems)
    if address is not None and not address.path and address.port == 0:
        problems.add(key_path(path, "address"), "a server needs a port other than 0")


def _check_health(health: HealthConfig, path: str, problems: Problems) -> None:
    _check_bounds(health.rise, 1, 1000, f"{path}.rise", problems)
    _check_bounds(health.fall, 1, 1000, f"{path}.fall", problems)
    _check_bounds(health.jitter, 0, 0.5, f"{path}.jitter", problems)
    _check_bounds(health.error_limit, 1, 1_000_000, f"{path}.error_limit", problems)
    _check_positive(health, ("interval", "fast_interval", "down_interval", "timeout"), path, problems)


def _check_outlier(outlier: OutlierConfig, path: str, problems: Problems) -> None:
    _check_bounds(outlier.consecutive, 1, 1_000_000, f"{path}.consecutive", problems)
    _check_bounds(outlier.max_ejected_percent, 0, 100, f"{path}.max_ejected_percent", problems)
    _check_bounds(outlier.deviations, 0, 100, f"{path}.deviations", problems)
    _check_bounds(outlier.rate_servers, 2, 1_000_000, f"{path}.rate_servers", problems)
    _check_bounds(outlier.rate_requests, 1, 1_000_000, f"{path}.rate_requests", problems)
    _check_positive(outlier, ("interval", "base_ejection", "max_ejection"), path, problems)


def _check_positive(table: Any, keys: tuple[str, ...], path: str, problems: Problems) -> None:
    for key in keys:
        value = getattr(table, key)
        if value is not None and value <= 0:
            problems.add(f"{path}.{key}", "must be more than 0")


def _check_bounds(value: float, low: float, high: float, path: str, problems: Problems) -> None:
    if not low <= value <= high:
        problems.add(path, f"{value} is not from {low} to {high}")
