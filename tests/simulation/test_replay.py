from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from lbkit.config import PoolConfig, loads
from lbkit.config.values import parse_key
from lbkit.pool import Pool
from lbkit.runtime import catalog, make_pool
from lbkit.simulation.access_log import AccessRecord
from lbkit.simulation.replay import Capacity, Replay, capacities_of, key_of, measured


def record(time: float, served: float, server: str = "a", **more: object) -> AccessRecord:
    facts = {"duration": served, "status": 200, "client": "10.0.0.1", "host": "h", "target": "/", "pool": "p"}
    return AccessRecord(time, served, server=server, **{**facts, **more})  # type: ignore[arg-type]


def pool_config(text: str, *names: str) -> PoolConfig:
    servers = "".join(
        f'[[pools.p.servers]]\nname = "{name}"\naddress = "127.0.0.1:{port}"\n'
        for port, name in enumerate(names, 1)
    )
    head = '[listeners.l]\nlisten = "127.0.0.1:0"\nmode = "http"\npool = "p"\n[pools.p]\n'
    return loads(head + text + "\n" + servers, catalog()).pools["p"]


def maker(config: PoolConfig) -> Callable[[], Pool]:
    return lambda: make_pool("p", config, 7)


def test_what_the_log_tells_of_servers() -> None:
    fast = [record(i, 0.5) for i in range(20)]
    slow = [record(i, 2.0, "b") for i in range(20)]
    refused = [record(3, float("nan"), "")]
    assert capacities_of(fast + slow + refused) == {
        "a": Capacity(1, 2.5, 20),
        "b": Capacity(2, 0.625, 20),
    }, "the median of all is between the two"
    assert capacities_of(refused) == {}
    few = capacities_of([record(0, 0.1), *slow])
    assert few["a"].speed == 1, "one request says little"


@pytest.mark.parametrize(
    ("source", "key"),
    [
        ("client", b"10.0.0.1"),
        ("path", b"/a"),
        ("query:q", b"x%20y"),
        ("query:z", None),
        ("header:x", None),
        ("cookie:x", None),
    ],
)
def test_keys(source: str, key: bytes | None) -> None:
    assert key_of(parse_key(source), record(0, 1, target="/a?b=1&q=x%20y")) == key


def test_what_the_log_itself_says() -> None:
    records = [record(i, 0.1, duration=0.1 * (i + 1)) for i in range(9)]
    records += [record(9, 0.1, status=503), record(9, 0.1, status=0)]
    row = measured("x", records)
    assert (row.requests, row.errors) == (11, 1)
    assert row.p50 == pytest.approx(0.5, rel=0.01)
    assert row.p99 == pytest.approx(0.9, rel=0.01)


def traffic(count: int = 4000, rate: float = 100.0) -> list[AccessRecord]:
    """Round robin on a and b, each with room for everybody; b takes twice as long."""
    rng, now, records = random.Random(7), 0.0, []
    for i in range(count):
        now += rng.expovariate(rate)
        work = rng.uniform(0.01, 0.03)
        server = "ab"[i % 2]
        records.append(record(now, work if server == "a" else 2 * work, server, client=f"10.0.0.{i % 50}"))
    return records


def test_as_recorded_is_what_was_recorded() -> None:
    records = traffic()
    row = Replay(records, capacities_of(records)).as_recorded("old")
    log = measured("log", records)
    assert row.p50 == pytest.approx(log.p50, rel=0.01)
    assert row.p99 == pytest.approx(log.p99, rel=0.01)
    assert row.result is not None
    assert [(server.name, server.picks) for server in row.result.servers] == [("a", 2000), ("b", 2000)]


def test_a_server_is_not_trusted_with_more_than_it_had() -> None:
    records = traffic()
    replay = Replay(records, capacities_of(records), seed=3)
    both = pool_config("", "a", "b")
    whole = replay.run("both", both, maker(both))
    alone = pool_config("", "b")
    squeezed = replay.run("b alone", alone, maker(alone))
    assert squeezed.errors == whole.errors == 0
    assert squeezed.p50 > 1.2 * whole.p50, "and everybody has to use the slow one"
    assert replay.capacity("new").concurrency >= 2


def test_a_server_that_is_gone_is_found_by_retries_and_checks() -> None:
    records = traffic()
    replay = Replay(records, capacities_of(records))
    for text, picks_of_a in (("", 1000), ('[pools.p.health]\ncheck = "tcp"\ninterval = "1s"\n', 1)):
        config = pool_config(text, "a", "b")
        row = replay.run("without a", config, maker(config), gone="a")
        assert (row.gone, row.errors) == ("a", 0)
        assert row.result is not None
        picks = {server.name: server.picks for server in row.result.servers}
        assert picks["b"] == 4000
        assert picks["a"] >= picks_of_a
    assert picks["a"] < 500, "with checks most are spared the detour"


def test_keys_and_seeds_reach_the_algorithm() -> None:
    records = traffic(1000)
    replay = Replay(records, capacities_of(records))
    config = pool_config('algorithm = "maglev"', "a", "b", "c")
    rows = [replay.run("x", config, maker(config)) for _ in range(2)]
    loads = [[server.picks for server in row.result.servers] for row in rows if row.result]
    assert loads[0] == loads[1]
    assert all(picks % 20 == 0 for picks in loads[0]), "each of 50 clients keeps its server"


def test_requests_that_were_refused_then_are_served_now() -> None:
    records = [record(i * 0.1, 0.05) for i in range(50)] + [record(4.95, float("nan"), "", status=503)]
    config = pool_config("", "a")
    row = Replay(records, capacities_of(records)).run("x", config, maker(config))
    assert (row.requests, row.errors) == (51, 0)


def test_an_empty_log() -> None:
    config = pool_config("", "a")
    row = Replay([], {}).run("x", config, maker(config))
    assert row.requests == 0
