"""``[mysql.NAME]`` at work: a `Failover` for each, changed by reloads."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lbkit.config.etcd import EtcdConfig
from lbkit.config.mysql import MysqlConfig
from lbkit.errors import ConfigError
from lbkit.mysql import Dsn
from lbkit.mysql.etcd import Etcd
from lbkit.mysql.etcd_lock import EtcdLock
from lbkit.mysql.failover import Failover, FailoverOptions
from lbkit.mysql.performer import StepLimits
from lbkit.tls.certificates import authorities, read_file
from lbkit.tls.client import ClientTls

__all__ = ["Databases", "make_failover", "make_failovers"]


class Databases:
    """The running ones, by name."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[MysqlConfig, Failover, asyncio.Task[None]]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def change(self, configs: Mapping[str, MysqlConfig], made: Mapping[str, Failover]) -> None:
        """Run *configs*; *made* are those of `make_failovers`. One that is as it was goes on as it is.

        What is new begins when what it may be in place of has ended: a plan at work is undone then, and with
        another lock or name the two would not meet at one.
        """
        old, self._running = self._running, {}
        kept = {name for name, config in configs.items() if name in old and old[name][0] == config}
        for name, (_, _, task) in old.items():
            if name not in kept:
                self._end(task)
        ending = list(self._ending)
        for name, config in configs.items():
            if name in kept:
                self._running[name] = old[name]
            else:
                task = asyncio.get_running_loop().create_task(_watch(made[name], ending))
                self._running[name] = config, made[name], task

    def status(self) -> list[dict[str, Any]]:
        """Of each, for the administration."""
        return [failover.status() for _, failover, _ in self._running.values()]

    async def stop(self) -> None:
        """Stop watching; returns when all connections are closed."""
        running, self._running = self._running, {}
        for _, _, task in running.values():
            self._end(task)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        task.cancel()


async def _watch(failover: Failover, before: Sequence[asyncio.Task[None]]) -> None:
    if before:
        await asyncio.wait(before)
    async with failover:
        await asyncio.Event().wait()  # until it is cancelled


def make_failovers(configs: Mapping[str, MysqlConfig]) -> dict[str, Failover]:
    """One for each, not started. Raises ConfigError with every secret that cannot be had."""
    made: dict[str, Failover] = {}
    problems: list[str] = []
    for name, config in configs.items():
        try:
            made[name] = make_failover(name, config)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return made


def make_failover(name: str, config: MysqlConfig) -> Failover:
    """Of one table. Raises ConfigError where a password or a certificate cannot be had."""
    path = f"mysql.{name}"
    password = _password(config.password_env, config.password_file, f"{path}.password")
    ca = ""
    if config.tls_ca is not None:
        authorities(config.tls_ca, f"{path}.tls_ca", read_file)
        ca = str(config.tls_ca)
    dsns = [
        Dsn(server.host, server.port, config.user, password, tls=config.tls, tls_ca=ca)
        for server in config.servers
    ]
    replication = None
    if config.replication_user:
        where = f"{path}.replication_password"
        secret = _password(config.replication_password_env, config.replication_password_file, where)
        replication = config.replication_user, secret
    options = FailoverOptions(
        interval=config.interval,
        timeout=config.timeout,
        auto=config.failover == "auto",
        on_possible_loss=config.on_possible_loss,
        recovery_block=config.recovery_block,
        clone=config.clone,
        max_lag=config.max_lag,
        limits=StepLimits(apply=config.apply_timeout),
    )
    lock = None if config.etcd is None else _etcd_lock(config.etcd, name, config.timeout, f"{path}.etcd")
    return Failover(dsns, options, name=name, replication=replication, lock=lock)


def _etcd_lock(config: EtcdConfig, name: str, timeout: float, path: str) -> EtcdLock:
    password = _password(config.password_env, config.password_file, f"{path}.password")
    tls = None if config.tls is None else ClientTls(config.tls, f"{path}.tls")
    # A keep-alive is sent when a third of the lease is over. A silent server is waited for twice, by the
    # keep-alive and by the look at the key, and that must be over before four fifths are.
    timeout = min(timeout, config.ttl / 5)
    etcd = Etcd(config.servers, timeout, user=config.user, password=password, tls=tls)
    return EtcdLock(etcd, config.key or f"lbkit/failover/{name}", int(config.ttl))


def _password(env: str, file: Path | None, where: str) -> str:
    if env:
        if env not in os.environ:
            raise ConfigError(f"{where}_env: ${env} is not set")
        return os.environ[env]
    if file is None:
        return ""
    try:
        return file.read_text("utf-8").rstrip("\n")
    except OSError as error:
        raise ConfigError(f"{where}_file: {file}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{where}_file: {file}: is not UTF-8 text") from None
