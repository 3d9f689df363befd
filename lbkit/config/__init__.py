"""Configuration: TOML text in, a frozen `Config` or every problem at once out."""

from __future__ import annotations

from lbkit.config.etcd import EtcdConfig
from lbkit.config.loader import load, load_text, loads, read_text
from lbkit.config.mysql import MysqlConfig
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
    ServerConfig,
    Timeouts,
    TlsConfig,
)
from lbkit.config.web import (
    AnswerConfig,
    FieldRulesConfig,
    FilesConfig,
    RedirectConfig,
    RewriteConfig,
    RouteConfig,
)

__all__ = [
    "AdminConfig",
    "AgentConfig",
    "AnswerConfig",
    "Catalog",
    "CertificateConfig",
    "Config",
    "EtcdConfig",
    "FieldRulesConfig",
    "FilesConfig",
    "FirewallConfig",
    "FirewallRuleConfig",
    "GlobalConfig",
    "HealthConfig",
    "ListenerConfig",
    "MysqlConfig",
    "OutlierConfig",
    "PoolConfig",
    "PoolTlsConfig",
    "RedirectConfig",
    "RewriteConfig",
    "RouteConfig",
    "ServerConfig",
    "Timeouts",
    "TlsConfig",
    "load",
    "load_text",
    "loads",
    "read_text",
]
