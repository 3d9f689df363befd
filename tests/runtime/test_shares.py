from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lbkit.config import loads
from lbkit.health import Advice
from lbkit.runtime import catalog
from lbkit.runtime.shares import Share
from tests.support.servers import make_pool, make_servers

TEXT = """
[global]
workers = 2
seed = 7
[admin]
listen = "127.0.0.1:0"
[listeners.l]
listen = "127.0.0.1:0"
pool = "p"
max_connections = 101
max_connecting = 1
[pools.p]
max_queue = 0
retry_minimum = 4
[[pools.p.servers]]
name = "a"
address = "127.0.0.1:1"
max_connections = 5
[[pools.p.servers]]
name = "b"
address = "127.0.0.1:2"
"""


@given(st.integers(0, 100_000), st.integers(1, 64))
def test_shares_add_up_to_the_whole_and_none_is_empty(limit: int, workers: int) -> None:
    shares = [Share(number, workers).of(limit) for number in range(1, workers + 1)]
    if limit == 0:
        assert set(shares) == {0}, "no limit stays none"
    else:
        assert min(shares) >= 1
        assert max(shares) - min(shares) <= 1
        assert sum(shares) == max(limit, workers)


def test_limits_of_a_configuration_are_shared_and_the_administration_is_not() -> None:
    config = loads(TEXT, catalog())
    one, two = (Share(number, 2).config(config) for number in (1, 2))
    assert one.admin is two.admin is None
    assert [item.listeners["l"].max_connections for item in (one, two)] == [51, 50]
    assert [item.listeners["l"].max_connecting for item in (one, two)] == [1, 1]
    assert [[s.max_connections for s in item.pools["p"].servers] for item in (one, two)] == [[3, 0], [2, 0]]
    assert [item.pools["p"].max_queue for item in (one, two)] == [0, 0]
    assert [item.pools["p"].retry_minimum for item in (one, two)] == [2, 2]


def test_each_worker_draws_other_numbers_and_always_the_same() -> None:
    config = loads(TEXT, catalog())
    seeds = [Share(number, 2).config(config).global_.seed for number in (1, 2, 1)]
    assert seeds[0] == seeds[2] != seeds[1]
    unseeded = loads(TEXT.replace("seed = 7", ""), catalog())
    assert Share(1, 2).config(unseeded).global_.seed is None


def test_limits_of_known_servers_and_of_advice() -> None:
    pool = make_pool(*make_servers(1))
    pool.set_limit("a", 9, 0.0)
    (known,) = pool.known(0.0)
    shared = Share(2, 2).known(known)
    assert (shared.max_connections, shared.agent_limit, shared.weight) == (4, None, 1)
    pool.advise("a", Advice(limit=3), 0.0)
    assert Share(1, 2).known(pool.known(0.0)[0]).agent_limit == 2
    assert Share(1, 2).advice(Advice(limit=30, percent=50)) == Advice(limit=15, percent=50)
    assert Share(1, 2).advice(Advice(up=False)) == Advice(up=False)


def test_a_firewalls_limits_are_shared() -> None:
    wall = """
    [listeners.l.firewall]
    connection_rate = "100/s burst 5"
    max_connections_per_client = 3
    ban_after = 1
    max_clients = 7
    """
    config = loads(TEXT + wall, catalog())
    shares = [Share(number, 2).config(config).listeners["l"].firewall for number in (1, 2)]
    rates = [wall.connection_rate for wall in shares if wall is not None and wall.connection_rate is not None]
    assert sum(1 / rate.interval for rate in rates) == 100
    assert [rate.burst for rate in rates] == [3, 2]
    assert [wall.max_connections_per_client for wall in shares if wall] == [2, 1]
    assert [wall.ban_after for wall in shares if wall] == [1, 1]
    assert [wall.max_clients for wall in shares if wall] == [4, 3]
