"""What stands at a listener's edge, as configured: its gate and firewall, kept and changed in place by a
reload."""

from __future__ import annotations

import asyncio
import math
import random

from lbkit.config import FirewallConfig, FirewallRuleConfig, ListenerConfig
from lbkit.exchange import Handler
from lbkit.firewall import Firewall, FirewallSettings, NetworkTable, Rule
from lbkit.firewall.rules import parse_header_pattern
from lbkit.proxy.clients import ClientReader
from lbkit.proxy.gate import EdgeGate
from lbkit.proxy.listener import Listener
from lbkit.proxy.request_guard import RequestGuard
from lbkit.proxy.ticker import Ticker

__all__ = ["Edge", "firewall_settings"]


class Edge:
    """The edge of one listener."""

    def __init__(self, listener: Listener, loop: asyncio.AbstractEventLoop, ticker: Ticker) -> None:
        self._listener = listener
        self._loop = loop
        self._ticker = ticker
        self._firewall: Firewall | None = None
        self._gate: EdgeGate | None = None

    def change(self, config: ListenerConfig) -> None:
        """Become what *config* says; what is known of clients stays."""
        self._change_firewall(config.firewall)
        if self._gate is None and (self._firewall is not None or config.proxy_protocol):
            self._gate = EdgeGate(self._listener, loop=self._loop, ticker=self._ticker)
        if self._gate is not None:
            self._change_gate(self._gate, config)
        self._listener.gate = self._gate

    def _change_gate(self, gate: EdgeGate, config: ListenerConfig) -> None:
        gate.firewall = self._firewall
        gate.trusted = NetworkTable(config.proxy_protocol_from) if config.proxy_protocol else None
        gate.header_timeout = config.timeouts.request_head or math.inf
        # One that somebody waits in stays, and lets everybody else through.
        if gate.firewall is None and gate.trusted is None and not gate.waiting:
            self._gate = None

    def _change_firewall(self, config: FirewallConfig | None) -> None:
        if config is None:
            self._firewall = None
            return
        settings = firewall_settings(config)
        if self._firewall is None:
            self._firewall = Firewall(settings, random.Random())
        else:
            self._firewall.change(settings, self._loop.time())

    def guarded(self, handler: Handler, client_of: ClientReader | None = None) -> Handler:
        """*handler* behind the firewall, where that looks at requests; *client_of* tells whose they are."""
        if self._firewall is None or not self._firewall.settings.judges_requests:
            return handler
        return RequestGuard(self._firewall, handler, clock=self._loop.time, client_of=client_of)

    @property
    def counters(self) -> dict[str, int]:
        """Totals by name; none where nothing is configured."""
        return {} if self._gate is None else self._gate.counters


def firewall_settings(config: FirewallConfig) -> FirewallSettings:
    """What *config* says, as a `Firewall` takes it."""
    return FirewallSettings(
        networks=NetworkTable(config.allow, config.deny),
        connection_rate=config.connection_rate,
        request_rate=config.request_rate,
        max_connections=config.max_connections_per_client,
        ban_after=config.ban_after,
        ban_window=config.ban_window,
        ban_time=config.ban_time,
        ipv6_prefix=config.ipv6_prefix,
        max_clients=config.max_clients,
        rules=tuple(_rule(rule) for rule in config.rules),
    )


def _rule(config: FirewallRuleConfig) -> Rule:
    return Rule(
        config.method or "",
        (config.path or "").encode(),
        None if config.header is None else parse_header_pattern(config.header),
        0 if config.action == "allow" else config.status,
    )
