"""Configuration: TOML text in, a frozen `Config` or every problem at once out."""

from __future__ import annotations

from lbkit.config.loader import load, load_text, loads, read_text
from lbkit.config.schema import (
    AdminConfig,
    AgentConfig,
    Catalog,
    CertificateConfig,
    Config,
    FirewallConfig,
    FirewallRuleConfig,
    GlobalConfig,
    HealthConfig,
    ListenerConfig,
    OutlierConfig,
    PoolConfig,
    PoolTlsConfig,
    RouteConfig,
    ServerConfig,
    Timeouts,
    TlsConfig,
)

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
    "RouteConfig",
    "ServerConfig",
    "Timeouts",
    "TlsConfig",
    "load",
    "load_text",
    "loads",
    "read_text",
]
