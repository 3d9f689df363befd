"""What runs, as the administration shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from lbkit.admin import ListenerView
from lbkit.config import AdminConfig, ListenerConfig
from lbkit.proxy.access_log import AccessLog
from lbkit.proxy.forward import Forwarder
from lbkit.proxy.http_session import HttpService
from lbkit.proxy.listener import Listener
from lbkit.proxy.tcp_session import TcpService
from lbkit.runtime.edge import Edge
from lbkit.server import Address

__all__ = ["RunningListener", "Service", "leads_to", "view_of"]

Service: TypeAlias = TcpService | HttpService


@dataclass(slots=True)
class RunningListener:
    """`wanted` is the address as configured: port 0 there, a real one on the listener."""

    wanted: Address
    config: ListenerConfig | AdminConfig
    listener: Listener
    service: Service
    forwarders: dict[str, Forwarder] = field(default_factory=dict)
    access_log: AccessLog | None = None
    edge: Edge | None = None


def leads_to(config: ListenerConfig | AdminConfig) -> str:
    """Where a listener's sessions go, in a few words."""
    if isinstance(config, AdminConfig):
        return "dashboard, /metrics, /status"
    count = len(config.routes)
    routes = f"{count} route{'s' * (count != 1)}"
    if config.pool or config.redirect_https:
        to = f"pool {config.pool}" if config.pool else "redirect to https"
        to += f", {routes}" * bool(count)
    elif count == 1 and config.routes[0].static is not None:
        to = f"the files of {config.routes[0].static}"
    else:
        to = routes
    tls = " over TLS" if config.tls is not None else ""
    return f"{config.mode}{tls} → {to}"


def view_of(name: str, running: RunningListener) -> ListenerView:
    """A listener's numbers at this moment."""
    listener, service, config = running.listener, running.service, running.config
    counters = {
        "sessions": listener.sessions,
        "accept_errors": listener.accept_errors,
        "refused": listener.refused,
    }
    if running.edge is not None:
        counters |= running.edge.counters
    if service.tls is not None or service.failed_handshakes:
        counters["failed_handshakes"] = service.failed_handshakes
    responses: dict[str, int] = {}
    if isinstance(service, TcpService):
        counters["failed_sessions"] = service.failed_sessions
        counters["client_timeouts"] = service.client_timeouts
    else:
        counts = service.http.counters
        counters |= {
            "requests": counts.requests,
            "client_errors": counts.client_errors,
            "bytes_in": counts.bytes_in,
            "bytes_out": counts.bytes_out,
        }
        responses = {f"{group}xx": counts.responses[group] for group in range(1, 6)}
    return ListenerView(
        name,
        str(listener.address),
        config.mode if isinstance(config, ListenerConfig) else "http",
        config.pool if isinstance(config, ListenerConfig) else None,
        listener.open_sessions,
        counters,
        responses,
        {} if service.tls is None else service.tls.expiries,
    )
