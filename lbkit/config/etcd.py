"""``[mysql.NAME.etcd]``: the lock of a failover is a lease in etcd."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lbkit.config.decoder import Problems, key_path
from lbkit.config.pool_tls import PoolTlsConfig, check_pool_tls
from lbkit.config.values import Duration
from lbkit.server import Address

__all__ = ["EtcdConfig", "check_addresses", "check_etcd", "resolve_etcd"]

SHORTEST, LONGEST = 2, 60  # seconds; etcd itself grants no less than one and a half of its election timeouts


@dataclass(frozen=True, slots=True)
class EtcdConfig:
    """``[mysql.NAME.etcd]``: who changes the primary holds a key in etcd (3.4 or later), and not GET_LOCK on
    the database servers (see `lbkit.mysql.etcd_lock`).

    `servers` are those of one etcd cluster: the next is asked where one does not answer. The lock is `key`,
    by default ``lbkit/failover/NAME``: every process that watches the same servers must name the same, and
    other databases others. One that dies keeps it for `ttl` at most, in whole seconds. `user` may read and
    write that key; its password is in the variable `password_env` or in the file `password_file`. `tls`
    secures the connections, as to the servers of a pool.
    """

    servers: tuple[Address, ...]
    key: str = ""
    ttl: Duration = Duration(5)
    user: str = ""
    password_env: str = ""
    password_file: Path | None = None
    tls: PoolTlsConfig | None = None


def resolve_etcd(config: EtcdConfig, folder: Path) -> EtcdConfig:
    """Files relative to *folder*."""
    if config.password_file is not None:
        config = replace(config, password_file=folder / config.password_file)
    if config.tls is not None:
        given = {key: getattr(config.tls, key) for key in ("ca", "certificate", "key")}
        files = {key: folder / value for key, value in given.items() if value is not None}
        config = replace(config, tls=replace(config.tls, **files))
    return config


def check_etcd(config: EtcdConfig, path: str, problems: Problems) -> None:
    """What only the whole table can tell."""
    if not config.servers and not problems.has(f"{path}.servers"):
        problems.add(f"{path}.servers", "etcd has at least one server: its client addresses, port 2379")
    check_addresses(
        config.servers, f"{path}.servers", "a host and the client port, 2379, are needed", problems
    )
    if not config.key.isprintable() or config.key != config.key.strip():
        problems.add(f"{path}.key", "must be printable and have no blanks around it")
    if not SHORTEST <= config.ttl <= LONGEST or config.ttl % 1:
        problems.add(f"{path}.ttl", f'must be whole seconds, from "{SHORTEST}s" to "{LONGEST}s"')
    if config.password_env and config.password_file is not None:
        problems.add(f"{path}.password_file", 'the password comes from "password_env" already')
    has_password = bool(config.password_env) or config.password_file is not None
    if has_password and not config.user:
        problems.add(path, 'a password needs "user", too')
    if config.user and not has_password:
        problems.add(f"{path}.user", 'needs a password: "password_env" or "password_file"')
    if config.tls is not None:
        check_pool_tls(config.tls, f"{path}.tls", problems)


def check_addresses(servers: Sequence[Address], path: str, needed: str, problems: Problems) -> None:
    """Each has a host and a port, as *needed* says, and is there once."""
    seen: dict[Address, str] = {}
    for index, address in enumerate(servers):
        here = key_path(path, index)
        if address.path or not address.port:
            problems.add(here, f'"{address}": {needed}')
        elif address in seen:
            problems.add(here, f"{address} is {seen[address]} already")
        seen.setdefault(address, here)
