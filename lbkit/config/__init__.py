"""Configuration: TOML text in, a frozen `Config` or every problem at once out."""

from __future__ import annotations

from lbkit.config.loader import load, load_text, loads, read_text
from lbkit.config.schema import (
    AdminConfig,
    AgentConfig,
    Catalog,
    Config,
    FirewallConfig,
    FirewallRuleConfig,
    GlobalConfig,
    HealthConfig,
    ListenerConfig,
    OutlierConfig,
    PoolConfig,
    RouteConfig,
    ServerConfig,
    Timeouts,
)

__all__ = [
    "AdminConfig",
    "AgentConfig",
    "Catalog",
    "Config",
    "FirewallConfig",
    "FirewallRuleConfig",
    "GlobalConfig",
    "HealthConfig",
    "ListenerConfig",
    "OutlierConfig",
    "PoolConfig",
    "RouteConfig",
    "ServerConfig",
    "Timeouts",
    "load",
    "load_text",
    "loads",
    "read_text",
]
