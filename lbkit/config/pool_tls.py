"""``[pools.NAME.tls]`` and ``[mysql.NAME.etcd.tls]``: how connections to servers are secured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lbkit.config.decoder import Problems
from lbkit.config.values import is_name_pattern

__all__ = ["PoolTlsConfig", "check_pool_tls"]


@dataclass(frozen=True, slots=True)
class PoolTlsConfig:
    """``[pools.NAME.tls]``: connections to the servers are secured.

    A server must have a certificate that is signed by one of `ca`, by default by one of the system's
    authorities, for `server_name`, by default the host of its address; with `verify` false any will do.
    `certificate` and `key` are what is shown to servers that ask for one.
    """

    ca: Path | None = None
    server_name: str = ""
    verify: bool = True
    minimum_version: Literal["1.2", "1.3"] = "1.2"
    certificate: Path | None = None
    key: Path | None = None


def check_pool_tls(tls: PoolTlsConfig, path: str, problems: Problems) -> None:
    """What only the whole table can tell."""
    if not tls.verify and tls.ca is not None:
        problems.add(f"{path}.ca", "has no effect with verify = false")
    if tls.key is not None and tls.certificate is None:
        problems.add(f"{path}.key", 'has no effect without "certificate"')
    if tls.server_name and (not is_name_pattern(tls.server_name) or tls.server_name.startswith("*")):
        problems.add(f"{path}.server_name", f'"{tls.server_name}" is not a host name')
