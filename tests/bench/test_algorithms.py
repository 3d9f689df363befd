from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lbkit.bench.algorithms import DEFAULT, Comparison, compare, configuration
from lbkit.config import loads
from lbkit.errors import ConfigError
from lbkit.runtime import catalog
from lbkit.simulation import Scenario, loads_scenario


def scenario_of(text: str = DEFAULT, **changes: Any) -> Scenario:
    return loads_scenario(text, changes)[0]


async def comparisons(scenario: Scenario) -> list[Comparison]:
    return [one async for one in compare(scenario)]


def test_what_balancers_run_is_a_valid_configuration() -> None:
    text = DEFAULT.replace(
        "[arrivals]", '[keys]\nkind = "zipf"\ncount = 9\n[health]\n[options.peak_ewma]\n[arrivals]'
    )
    scenario = scenario_of(text, timeout="1s", retries=2)
    ports = {name: 1 + place for place, name in enumerate(f"fast{i}" for i in range(1, 8))} | {"slow": 99}
    config = loads(configuration(scenario, "peak_ewma", ports, 0), catalog())
    pool = config.pools["bench"]
    assert len(pool.servers) == 8
    assert (pool.retries, str(pool.key)) == (2, "header:x-key")
    assert pool.health is not None
    assert config.listeners["web"].timeouts.server == 1
    assert pool.options == scenario.options.get("peak_ewma", pool.options)


def test_live_balancers_judge_servers_as_simulated_ones_do() -> None:
    tables = "[health]\n[passive]\nerror_limit = 3\n[outlier]\nconsecutive = 4\n[arrivals]"
    text = DEFAULT.replace("[arrivals]", tables)
    ports = {name: 1 + place for place, name in enumerate([f"fast{i}" for i in range(1, 8)] + ["slow"])}
    pool = loads(configuration(scenario_of(text), "random", ports, 0), catalog()).pools["bench"]
    assert pool.health is not None
    assert (pool.health.observe, pool.health.error_limit) == ("layer7", 3)
    assert pool.outlier is not None
    assert pool.outlier.consecutive == 4


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"duration": None}, "duration: a live run needs an end"),
        ({"duration": "2h"}, "duration: a live run needs an end, at most an hour"),
        ({"passive": {}}, "passive: live balancers count errors only beside checks"),
        ({"pool": {"retry_on": ["timeout"]}}, "pool.retry_on: live balancers retry failed connections only"),
    ],
)
async def test_scenarios_that_cannot_be_run_live(changes: dict[str, Any], problem: str) -> None:
    text = DEFAULT.replace('duration = "15s"\n', "" if "duration" in changes else 'duration = "1s"\n')
    if changes.get("duration", "") is None:
        text = text.replace("seed = 7", "seed = 7\nrequests = 1000000000")
    with pytest.raises(ConfigError, match=problem):
        await comparisons(scenario_of(text, **changes))


async def test_live_is_like_simulated() -> None:
    """Not how alike, on a busy machine, but in the same world: a slow server hurts, and least connections
    avoids it."""
    scenario = scenario_of(duration="4s", algorithms=["round_robin", "least_connections"])
    async with asyncio.timeout(120):
        turns, least = await comparisons(scenario)
    assert turns.live.requests == turns.simulated.requests > 300
    assert turns.live.error_count == least.live.error_count == 0
    assert sum(server.picks for server in turns.live.servers) == turns.live.requests
    picks = [server.picks for server in turns.live.servers]
    assert max(picks) - min(picks) <= 1
    for one in (turns, least):
        assert one.live.latency.mean > 0.8 * one.simulated.latency.mean
    slow = {server.name: server.picks for server in least.live.servers}["slow"]
    assert slow < 0.8 * least.live.requests / 8
    assert least.live.percentile(0.95) < turns.live.percentile(0.95)


async def test_failures_and_several_balancers() -> None:
    text = DEFAULT.replace("[arrivals]", 'balancers = 2\n[health]\ninterval = "200ms"\n[arrivals]')
    text += '\n[[events]]\nat = "1s"\nserver = "fast1"\ndown = "refuse"\nuntil = "2s"\n'
    async with asyncio.timeout(120):
        (one,) = await comparisons(scenario_of(text, duration="3s", algorithms=["two_choices"]))
    assert one.live.error_count <= 5, "what was open on it is lost, the rest goes elsewhere"
    assert sum(server.picks for server in one.live.servers) >= one.live.requests


async def test_what_never_ends_is_one_error_each_and_none_of_the_warm_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lbkit.bench.algorithms._PATIENCE", 0.5)
    text = DEFAULT + '\n[[events]]\nat = "0s"\nserver = "fast"\nspeed = 0\n'
    text += '[[events]]\nat = "0s"\nserver = "slow"\nspeed = 0\n'
    async with asyncio.timeout(120):
        (one,) = await comparisons(scenario_of(text, duration="1s", warmup="500ms", algorithms=["random"]))
    for result in (one.live, one.simulated):
        assert result.errors == {"unfinished": result.requests}
