from __future__ import annotations

import asyncio
import socket

from lbkit.config import FirewallConfig, FirewallRuleConfig, ListenerConfig, Timeouts
from lbkit.exchange import Exchange
from lbkit.firewall import Denial, Network, Rate, place_of
from lbkit.proxy.gate import EdgeGate
from lbkit.proxy.listener import Listener
from lbkit.proxy.request_guard import RequestGuard
from lbkit.proxy.ticker import Ticker
from lbkit.runtime.edge import Edge, firewall_settings
from lbkit.server import Address
from lbkit.units import Duration

HERE = Address("127.0.0.1", 0)
A = place_of("192.0.2.1")


async def answer(exchange: Exchange) -> None:
    await exchange.respond(200, [])


def edge() -> tuple[Edge, Listener]:
    loop = asyncio.get_running_loop()
    listener = Listener("l", HERE, lambda sock, origin=None: sock.close(), loop=loop)
    return Edge(listener, loop, Ticker(loop)), listener


def listening(firewall: FirewallConfig | None) -> ListenerConfig:
    return ListenerConfig(HERE, firewall=firewall)


async def test_nothing_configured_leaves_no_gate() -> None:
    one, listener = edge()
    one.change(listening(None))
    assert listener.gate is None
    assert one.counters == {}
    assert one.guarded(answer) is answer


async def test_a_reload_keeps_gate_and_firewall_and_what_they_know() -> None:
    one, listener = edge()
    one.change(listening(FirewallConfig(connection_rate=Rate.parse("1/h burst 2"))))
    gate = listener.gate
    firewall = one._firewall
    assert firewall is not None
    firewall.judge(A, asyncio.get_running_loop().time())
    one.change(listening(FirewallConfig(connection_rate=Rate.parse("1/h burst 2"), ban_after=1)))
    assert listener.gate is gate
    assert one._firewall is firewall
    now = asyncio.get_running_loop().time()
    assert [firewall.judge(A, now) for _ in range(2)] == [None, Denial.CONNECTION_RATE]
    assert one.counters["bans"] == 1
    one.change(listening(None))
    assert listener.gate is None


async def test_requests_are_shown_only_where_something_is_said_of_them() -> None:
    one, _ = edge()
    one.change(listening(FirewallConfig(connection_rate=Rate.parse("1/h"))))
    assert one.guarded(answer) is answer
    one.change(listening(FirewallConfig(request_rate=Rate.parse("1/h"))))
    assert isinstance(one.guarded(answer), RequestGuard)


def test_the_settings_say_what_the_table_says() -> None:
    config = FirewallConfig(
        deny=(Network.parse("192.0.2.0/24"),),
        connection_rate=Rate.parse("5/s"),
        max_connections_per_client=7,
        ban_after=3,
        ban_window=Duration(4),
        ban_time=Duration(5),
        ipv6_prefix=48,
        max_clients=9,
        rules=(
            FirewallRuleConfig(path="/open", action="allow"),
            FirewallRuleConfig(method="PUT", header="X-A: ^b$", status=405),
        ),
    )
    settings = firewall_settings(config)
    assert not settings.networks.admits(A)
    assert settings.connection_rate == Rate(5, 1, 5)
    assert (settings.max_connections, settings.ipv6_prefix, settings.max_clients) == (7, 48, 9)
    assert (settings.ban_after, settings.ban_window, settings.ban_time) == (3, 4, 5)
    assert [rule.status for rule in settings.rules] == [0, 405]
    assert settings.rules[1].matches("PUT", b"/", [(b"x-a", b"b")])
    assert not settings.rules[1].matches("PUT", b"/", [(b"x-a", b"c")])


async def test_proxy_protocol_needs_a_gate_and_goes_with_it() -> None:
    one, listener = edge()
    config = ListenerConfig(
        HERE,
        proxy_protocol=True,
        proxy_protocol_from=(Network.parse("192.0.2.0/24"),),
        timeouts=Timeouts(request_head=Duration(3)),
    )
    one.change(config)
    gate = listener.gate
    assert isinstance(gate, EdgeGate)
    assert gate.trusted is not None
    assert gate.trusted.admits(A)
    assert not gate.trusted.admits(place_of("127.0.0.1"))
    assert gate.header_timeout == 3
    assert one.counters == {"proxy_untrusted": 0, "proxy_bad_headers": 0, "proxy_late_headers": 0}
    one.change(listening(None))
    assert listener.gate is None


async def test_a_gate_that_somebody_waits_in_stays() -> None:
    one, listener = edge()
    one.change(ListenerConfig(HERE, proxy_protocol=True))
    gate = listener.gate
    assert isinstance(gate, EdgeGate)
    ours, theirs = socket.socketpair()
    gate.receive(ours, "")
    one.change(listening(None))
    assert listener.gate is gate
    assert gate.trusted is None
    gate.close()
    one.change(listening(None))
    assert listener.gate is None
    theirs.close()
