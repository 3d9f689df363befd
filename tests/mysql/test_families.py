from __future__ import annotations

import random

from lbkit.mysql.connection_pool import PoolCounters
from lbkit.mysql.dsn import Dsn
from lbkit.mysql.families import families
from lbkit.mysql.router import Router
from lbkit.mysql.topology import Topology
from tests.support.databases import LivePair


def test_each_server_has_its_sample_and_an_unknown_lag_has_none() -> None:
    topology = Topology([Dsn("a").named("a"), Dsn("b").named("b")], "round_robin", random.Random(7))
    topology.answered("a", True, 0.0)
    topology.answered("b", False, 0.0, lag=None)
    counts = {name: {"open": 2, "idle": 1, "waiting": 0, "limit": 10} for name in ("a", "b")}
    counters = {"a": PoolCounters(opened=2, waited=1.5), "b": PoolCounters()}
    found = {family.name: family.samples for family in families(topology, counts, counters)}
    assert found["lbkit_router_up"] == {("a",): 1, ("b",): 1}
    assert found["lbkit_router_primary"] == {("a",): 1, ("b",): 0}
    assert found["lbkit_router_lag_seconds"] == {("a",): 0}
    assert found["lbkit_router_pool_idle"] == {("a",): 1, ("b",): 1}
    assert found["lbkit_router_pool_opened"] == {("a",): 2, ("b",): 0}
    assert found["lbkit_router_pool_waited_seconds"] == {("a",): 1.5, ("b",): 0}


async def test_a_scrape(router: Router, pair: LivePair) -> None:
    await router.fetch_all("SELECT 1")
    text = router.metrics().decode()
    assert 'lbkit_router_statements_total{server="mysql2"} 1.0' in text
    assert 'lbkit_router_primary{server="mysql1"} 1.0' in text
    assert "lbkit_router_pool_waited_seconds_total" in text
    dsn = Dsn.parse(pair.primary.dsn)
    assert dsn.password
    assert dsn.password not in text
