"""``[mysql.NAME]``: a database's servers, and who moves the primary's role when it dies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from lbkit.config.decoder import Problems, key_path
from lbkit.config.etcd import EtcdConfig, check_addresses, check_etcd, resolve_etcd
from lbkit.config.values import Duration
from lbkit.server import Address

__all__ = ["MysqlConfig", "check_mysql", "resolve_mysql"]


@dataclass(frozen=True, slots=True)
class MysqlConfig:
    """``[mysql.NAME]``: the servers of one replication topology, MySQL or MariaDB.

    `user` may see and change replication (see `lbkit.mysql.failover`); its password is in the variable
    `password_env` or in the file `password_file`. Replicas log in at the primary with `replication_user`
    and its password, by default with `user`'s. Applications need an account of their own: to fence a server,
    which is how a former primary is kept from taking writes, cuts every session but those of `user`. ``lbkit
    mysql status`` and ``drill`` warn of others that use it.

    `tls` ``"on"`` secures the connections to servers, whose certificates must prove the host of their
    address; with ``"verify_ca"`` only that they are of one of the authorities in the file `tls_ca`, by
    default the system's. Replicas are then told to follow by TLS, too; what they ask of a certificate is set
    up at each of them.

    `failover` ``"auto"`` watches and acts; ``"off"`` only watches and tells. `on_possible_loss` is what to do
    where acknowledged writes might be lost: ``"abort"`` leaves it to people. After a failover no second one
    is begun for `recovery_block`. A server is looked at every `interval`, at most `timeout` long. `clone`
    replaces one with errant transactions by a copy of the primary (MySQL only). A replica more than `max_lag`
    behind is told of. `apply_timeout` bounds the wait for a replica's relay log before it is promoted.

    Of several processes that watch the same servers one acts: who holds a lock on more than half of the
    replicas (GET_LOCK), or with `etcd` a key there; then nobody acts while etcd cannot be reached.
    """

    user: str
    servers: tuple[Address, ...]
    password_env: str = ""
    password_file: Path | None = None
    replication_user: str = ""
    replication_password_env: str = ""
    replication_password_file: Path | None = None
    tls: Literal["off", "on", "verify_ca"] = "off"
    tls_ca: Path | None = None
    failover: Literal["auto", "off"] = "off"
    on_possible_loss: Literal["abort", "promote"] = "abort"
    recovery_block: Duration = Duration(60)
    interval: Duration = Duration(0.5)
    timeout: Duration = Duration(1)
    clone: bool = False
    max_lag: Duration = Duration(10)
    apply_timeout: Duration = Duration(60)
    etcd: EtcdConfig | None = None


def resolve_mysql(config: Mapping[str, MysqlConfig], folder: Path) -> dict[str, MysqlConfig]:
    """Files relative to *folder*."""
    found: dict[str, MysqlConfig] = {}
    for name, item in config.items():
        files: dict[str, Any] = {
            key: folder / value
            for key in ("password_file", "replication_password_file", "tls_ca")
            if (value := getattr(item, key)) is not None
        }
        if item.etcd is not None:
            files["etcd"] = resolve_etcd(item.etcd, folder)
        found[name] = replace(item, **files)
    return found


def check_mysql(config: Mapping[str, MysqlConfig], problems: Problems) -> None:
    """What only the whole table can tell."""
    for name, item in config.items():
        path = key_path("mysql", name)
        if not name:
            problems.add(path, "a name must not be empty")
        _check_servers(item, path, problems)
        for prefix in ("", "replication_"):
            env, file = f"{prefix}password_env", f"{prefix}password_file"
            if getattr(item, env) and getattr(item, file) is not None:
                problems.add(f"{path}.{file}", f'the password comes from "{env}" already')
        if (item.replication_password_env or item.replication_password_file) and not item.replication_user:
            problems.add(path, 'a replication password needs "replication_user", too')
        if item.tls_ca is not None and item.tls == "off":
            problems.add(f"{path}.tls_ca", 'has no effect without tls = "on" or "verify_ca"')
        for key in ("interval", "timeout", "max_lag", "apply_timeout"):
            if getattr(item, key) <= 0:
                problems.add(f"{path}.{key}", "must be more than 0")
        if item.etcd is not None:
            check_etcd(item.etcd, f"{path}.etcd", problems)


def _check_servers(item: MysqlConfig, path: str, problems: Problems) -> None:
    if not item.servers and not problems.has(f"{path}.servers"):
        problems.add(f"{path}.servers", "a database needs at least one server")
    needed = "other servers must reach it: a host and a port are needed"
    check_addresses(item.servers, f"{path}.servers", needed, problems)
