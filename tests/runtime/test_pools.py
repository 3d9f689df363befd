from __future__ import annotations

import asyncio
import socket

import pytest

from lbkit.config import loads
from lbkit.health import Advice
from lbkit.pool import Standing
from lbkit.runtime import catalog, make_pool
from lbkit.runtime.messages import Result
from lbkit.runtime.part import Part
from lbkit.runtime.pools import RunningPool, first_results
from lbkit.runtime.shares import Share
from lbkit.server import Outcome, Server
from tests.support.backends import Backend, free_address, hold
from tests.support.loops import on_both_loops, until

FULL = """
[listeners.l]
listen = "127.0.0.1:0"
pool = "p"
[pools.p]
algorithm = "two_choices"
retries = 1
retry_percent = 50
retry_minimum = 2
max_queue = 9
panic_threshold = 40
[pools.p.health]
check = "tcp"
interval = "20ms"
fast_interval = "10ms"
rise = 1
fall = 4
observe = "layer4"
error_limit = 2
on_error = "mark_down"
[pools.p.outlier]
consecutive = 3
[[pools.p.servers]]
name = "a"
address = "ADDRESS"
weight = 3
max_connections = 5
slow_start = "10s"
"""


def config_of(text: str, address: str):  # type: ignore[no-untyped-def]
    return loads(text.replace("ADDRESS", address), catalog()).pools["p"]


def test_everything_configured_reaches_the_pool() -> None:
    pool = make_pool("p", config_of(FULL, "127.0.0.1:1"))
    settings = pool.settings
    assert (settings.retries, settings.retry_percent, settings.retry_minimum) == (1, 50, 2)
    assert (settings.max_queue, settings.panic_threshold) == (9, 40)
    assert pool.rules.passive is not None
    assert (pool.rules.passive.layer, pool.rules.passive.on_error) == ("layer4", "mark_down")
    assert pool.rules.outlier is not None
    assert (pool.rules.outlier.consecutive, pool.rules.outlier.base_ejection) == (3, 30)
    server = pool["a"]
    assert (server.weight, server.max_connections, server.slow_start) == (3, 5, 10)
    assert pool.member("a").standing is Standing.UNKNOWN


def test_one_seed_gives_the_same_picks() -> None:
    text = (
        FULL.partition("[pools.p.health]")[0]
        + "[[pools.p.servers]]"
        + "[[pools.p.servers]]".join(
            f'\nname = "{name}"\naddress = "127.0.0.1:{port}"\n' for port, name in enumerate("abcde", 1)
        )
    )
    runs = [make_pool("p", config_of(text, ""), seed) for seed in (7, 7, 8)]
    picks = [[pool.pick(0).name for _ in range(50)] for pool in runs]
    assert picks[0] == picks[1] != picks[2]


@on_both_loops
async def test_the_first_check_of_new_servers_only() -> None:
    async with Backend(hold) as backend:
        config = config_of(FULL, backend)
        results = await first_results({"p": config}, {})
        assert results == {"p": {"a": (True, "connected")}}
        running = RunningPool(config, make_pool("p", config), 7)
        try:
            running.take(results["p"])
            assert running.pool.pick(0).name == "a"
            assert await first_results({"p": config}, {"p": running}) == {}
            elsewhere = config_of(FULL, free_address())
            assert (await first_results({"p": elsewhere}, {"p": running}))["p"]["a"][0] is False
        finally:
            for prober in running.probers():
                await prober.stop()


@on_both_loops
async def test_live_errors_hurry_a_check_and_every_change_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "lbkit.health")
    async with Backend(hold) as backend:
        config = config_of(FULL, backend)
        running = RunningPool(config, make_pool("p", config), 7)
        pool = running.pool
        try:
            await until(lambda: pool.member("a").standing is Standing.UP)
            for _ in range(2):
                pool.acquire(pool["a"], 0)
                pool.release(pool["a"], 0, 0, Outcome.CONNECT_FAILED)
            assert pool.member("a").standing is Standing.DOWN
            await until(lambda: pool.member("a").standing is Standing.UP)
        finally:
            for prober in running.probers():
                await prober.stop()
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "pool p: server a is up: connected"
    assert lines[1].startswith(
        "pool p: server a is down: 2 errors in a row in live traffic, the last one: connect failed"
    )
    assert lines[2] == "pool p: server a is up: connected"


@on_both_loops
async def test_a_reload_keeps_health_and_stops_what_is_no_longer_wanted() -> None:
    async with Backend(hold) as backend:
        config = config_of(FULL, backend)
        running = RunningPool(config, make_pool("p", config), 7)
        pool = running.pool
        await until(lambda: pool.member("a").standing is Standing.UP)
        pool.set_weight("a", 9, 0)
        again = config_of(FULL.replace("fall = 4", "fall = 5"), backend)
        ended = list(running.change(again))
        assert len(ended) == 1
        assert pool.member("a").standing is Standing.UP
        assert (pool["a"].weight, pool.health("a").fall) == (9, 5)
        for prober in (*ended, *running.probers()):
            await prober.stop()


@on_both_loops
async def test_advice_is_forgotten_with_the_section_that_asked_for_it() -> None:
    with_agent = FULL.replace("[[pools.p.servers]]", "[pools.p.agent]\nport = 1\n[[pools.p.servers]]")
    config = config_of(with_agent, "127.0.0.1:1")
    running = RunningPool(config, make_pool("p", config), 7)
    pool = running.pool
    probers = list(running.probers())
    try:
        pool.observe("a", True, "fine", 0)
        pool.advise("a", Advice(limit=2, state="maint"), 0)
        probers += running.change(config_of(with_agent.replace("fall = 4", "fall = 5"), "127.0.0.1:1"))
        assert (pool["a"].max_connections, pool.member("a").standing) == (5, Standing.MAINT)
        probers += running.change(config_of(FULL, "127.0.0.1:1"))
        assert pool.member("a").standing is Standing.UP
        assert pool["a"].max_connections == 5
        assert pool.member("a").agent_limit is None
        as_check = FULL.replace('check = "tcp"', 'check = "agent"')
        probers += running.change(config_of(as_check, "127.0.0.1:1"))
        pool.advise("a", Advice(state="maint"), 0)
        probers += running.change(config_of(FULL, "127.0.0.1:1"))
        assert pool.member("a").standing is Standing.UP
    finally:
        for prober in {*probers, *running.probers()}:
            await prober.stop()


@on_both_loops
async def test_the_first_checks_of_thousands_of_servers_are_quick() -> None:
    servers = "".join(
        f'[[pools.p.servers]]\nname = "s{number}"\naddress = "ADDRESS"\n' for number in range(2000)
    )
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as sock:
        backend = f"127.0.0.1:{sock.getsockname()[1]}"
        head = FULL.partition("[[pools.p.servers]]")[0].replace("two_choices", "maglev")
        head = head.replace('check = "tcp"', 'check = "tcp"\ntimeout = "10s"')  # of a machine that is busy
        config = config_of(head + servers, backend)
        running = RunningPool(config, make_pool("p", config), 7)
        try:
            began = asyncio.get_running_loop().time()
            running.take((await first_results({"p": config}, {}))["p"])
            assert len(running.pool.candidates()) == 2000
            took = asyncio.get_running_loop().time() - began
            assert took < 15, "it took a minute when each result was taken in by itself"
        finally:
            for prober in running.probers():
                await prober.stop()


class Told(Part):
    """The part of a process that checks nothing."""

    checks = False

    def __init__(self) -> None:
        self.suspected: list[tuple[str, str]] = []

    def suspects(self, pool: str, server: Server) -> None:
        self.suspected.append((pool, server.name))


@on_both_loops
async def test_a_pool_that_others_check_goes_by_what_they_say(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "lbkit.health")
    part, address = Told(), "127.0.0.1:1"
    config = config_of(FULL, address)
    running = RunningPool(config, make_pool("p", config), 7, part)
    pool = running.pool
    assert running.probers() == []
    passed = Result("p", "a", address, True, "connected", False, True)
    strangers = [
        Result("p", "a", "127.0.0.1:2", False, "", False, True),
        Result("p", "z", address, True, "", False, True),
    ]
    running.hear([passed, *strangers], Share(1, 2))
    assert pool.member("a").standing is Standing.UP
    running.hear([Result("p", "a", address, True, "maxconn:8 up", True, False)], Share(1, 2))
    assert (pool.member("a").agent_limit, pool["a"].counters.checks_passed) == (4, 1)
    assert caplog.records == [], "who checks says it"
    for _ in range(2):
        pool.acquire(pool["a"], 0)
        pool.release(pool["a"], 0, 0, Outcome.CONNECT_FAILED)
    assert part.suspected == [("p", "a")]
    assert [record.levelname for record in caplog.records] == ["WARNING"], "what it found itself it says"


@on_both_loops
async def test_a_pool_learns_who_came_and_who_left() -> None:
    config = config_of(FULL, "127.0.0.1:1")
    running = RunningPool(config, make_pool("p", config), 7, Told())
    old = running.pool["a"]
    elsewhere = make_pool("p", config_of(FULL, "127.0.0.1:2"))
    assert running.learn(elsewhere.known(0.0)) == [old]
    assert str(running.pool["a"].address) == "127.0.0.1:2"
    assert running.learn(elsewhere.known(0.0)) == []


@on_both_loops
async def test_somebody_elses_errors_hurry_a_check() -> None:
    async with Backend(hold) as backend:
        config = config_of(FULL.replace('"20ms"', '"60s"'), backend)
        running = RunningPool(config, make_pool("p", config), 7)
        server = running.pool["a"]
        await until(lambda: server.counters.checks_passed == 1)
        running.hurry("z")
        running.hurry("a")
        await until(lambda: server.counters.checks_passed == 2)
        for prober in running.probers():
            await prober.stop()


@on_both_loops
async def test_checks_say_a_proxy_header_as_soon_as_the_servers_expect_one() -> None:
    seen: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read(100))

    async with Backend(talk) as address:
        running = RunningPool(config_of(FULL, address), make_pool("p", config_of(FULL, address)), 7)
        await until(lambda: b"" in seen)
        assert running.pool.settings.send_proxy == ""
        sending = config_of(FULL.replace("retries = 1", 'retries = 1\nsend_proxy = "v1"'), address)
        ended = running.change(sending)
        await until(lambda: seen[-1] == b"PROXY UNKNOWN\r\n")
        assert running.pool.settings.send_proxy == "v1"
        for prober in (*ended, *running.probers()):
            await prober.stop()


@pytest.mark.parametrize(
    ("on_down", "cuts"), [("", False), ('on_down = "cut"', True), ('on_down = "keep"', False)]
)
@on_both_loops
async def test_sessions_with_a_server_that_goes_down_are_cut_where_that_is_set(
    on_down: str, cuts: bool
) -> None:
    text = FULL.replace("retries = 1", f"retries = 1\n{on_down}")
    async with Backend(hold) as backend:
        config = config_of(text, backend)
        cut: list[Server] = []
        running = RunningPool(config, make_pool("p", config), 7, cut=cut.append)
        for prober in running.probers():
            await prober.stop()
        now = asyncio.get_running_loop().time()
        running.pool.observe("a", True, "connected", now)
        for _ in range(config.health.fall):
            assert cut == []
            running.pool.observe("a", False, "gone", now)
        await asyncio.sleep(0)
        assert cut == ([running.pool["a"]] if cuts else [])


def test_the_check_says_whether_sessions_are_cut() -> None:
    check = 'check = "mysql"\nuser = "u"\nrole = "primary"'
    text = FULL.replace('check = "tcp"', check)
    assert config_of(text, "127.0.0.1:1").cuts
    assert not config_of(text.replace('"primary"', '"replica"'), "127.0.0.1:1").cuts
    assert not config_of(text.replace("retries = 1", 'on_down = "keep"'), "127.0.0.1:1").cuts
