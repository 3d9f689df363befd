from __future__ import annotations

import random

from lbkit.balancing.active_passive import ActivePassive, ActivePassiveOptions
from tests.support.servers import make_servers


def test_the_first_takes_everything_and_the_next_when_it_is_gone() -> None:
    servers = make_servers(1, 100, 1)
    balancer = ActivePassive(ActivePassiveOptions(), random.Random(7))
    balancer.update(servers, 0)
    assert {balancer.pick(0) for _ in range(10)} == {servers[0]}
    balancer.update(servers[1:], 0)
    assert balancer.pick(0) is servers[1]


def test_failback() -> None:
    servers = make_servers(1, 1)
    balancer = ActivePassive(ActivePassiveOptions(failback=True), random.Random(7))
    balancer.update(servers[1:], 0)
    balancer.update(servers, 1)
    assert balancer.pick(1) is servers[0]


def test_without_failback_the_standby_stays_until_it_fails() -> None:
    servers = make_servers(1, 1)
    balancer = ActivePassive(ActivePassiveOptions(failback=False), random.Random(7))
    balancer.update(servers, 0)
    balancer.update(servers[1:], 1)
    balancer.update(servers, 2)
    assert balancer.pick(2) is servers[1]
    balancer.update(servers[:1], 3)
    assert balancer.pick(3) is servers[0]


def test_one_failed_connection_does_not_change_roles() -> None:
    servers = make_servers(1, 1)
    balancer = ActivePassive(ActivePassiveOptions(), random.Random(7))
    balancer.update(servers, 0)
    assert balancer.pick(0, None, [servers[0]]) is servers[1]
    assert balancer.pick(0) is servers[0]
