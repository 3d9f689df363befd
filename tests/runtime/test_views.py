from __future__ import annotations

import asyncio
from pathlib import Path

from lbkit.config import AdminConfig, ListenerConfig, RouteConfig, TlsConfig
from lbkit.proxy.listener import Listener
from lbkit.runtime.views import RunningListener, leads_to, view_of
from lbkit.server import Address
from tests.proxy.test_tcp_session import Balancer
from tests.support.loops import on_both_loops

HERE = Address("127.0.0.1", 80)


def test_where_sessions_go_in_words() -> None:
    assert leads_to(AdminConfig(HERE)) == "dashboard, /metrics, /status"
    assert leads_to(ListenerConfig(HERE, pool="app")) == "tcp → pool app"
    files, app = RouteConfig(static="/srv/site"), RouteConfig(path="/api/", pool="app")
    for pool, routes, expected in (
        (None, (files,), "the files of /srv/site"),
        (None, (app,), "1 route"),
        (None, (app, files), "2 routes"),
        ("app", (files,), "pool app, 1 route"),
    ):
        assert leads_to(ListenerConfig(HERE, "http", pool=pool, routes=routes)) == f"http → {expected}"
    tls = TlsConfig(Path("site.pem"))
    assert leads_to(ListenerConfig(HERE, "http", pool="app", tls=tls)) == "http over TLS → pool app"
    assert leads_to(ListenerConfig(HERE, "http", redirect_https=True)) == "http → redirect to https"


@on_both_loops
async def test_a_tcp_listeners_numbers() -> None:
    async with Balancer() as balancer:
        listener = Listener("l", HERE, lambda sock: sock.close(), loop=asyncio.get_running_loop())
        listener.sessions, listener.open_sessions, balancer.service.failed_sessions = 7, 2, 3
        config = ListenerConfig(HERE, pool="app")
        view = view_of("l", RunningListener(HERE, config, listener, balancer.service))
        assert (view.mode, view.pool, view.open_sessions) == ("tcp", "app", 2)
        assert view.counters["sessions"] == 7
        assert view.counters["failed_sessions"] == 3
        balancer.service.failed_sessions = 0
