from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Collection, Sequence

from lbkit.checks import HealthCheck, Prober
from lbkit.checks.prober import AT_A_TIME
from lbkit.errors import CheckFailed, Exhausted
from lbkit.health import Intervals
from lbkit.pool import Change, Pool, Standing
from lbkit.registry import NoOptions
from lbkit.server import Address, Server
from tests.support.loops import on_both_loops, until
from tests.support.servers import make_pool, make_servers


class Scripted(HealthCheck):
    """Passes, fails or hangs as told, by port."""

    def __init__(self) -> None:
        super().__init__(NoOptions())
        self.behaviour: dict[int, str] = {}
        self.probes: Counter[int] = Counter()
        self.running = 0
        self.before: list[int] = []
        self.members: list[set[int]] = []

    def passed_before(self, address: Address) -> None:
        self.before.append(address.port)

    def members_are(self, addresses: Collection[Address]) -> None:
        self.members.append({address.port for address in addresses})

    async def probe(self, address: Address) -> str:
        self.probes[address.port] += 1
        self.running += 1
        try:
            match self.behaviour.get(address.port, "pass"):
                case "fail":
                    raise CheckFailed("told to fail")
                case "no room":
                    raise Exhausted("too many open files")
                case "hang":
                    await asyncio.Event().wait()
            return "fine"
        finally:
            self.running -= 1


class Probing:
    def __init__(
        self, pool: Pool, check: Scripted, *, timeout: float = 0.05, counts: bool = True, **times: float
    ) -> None:
        self.changes: asyncio.Queue[Change] = asyncio.Queue()
        pool.on_change = self.changes.put_nowait
        intervals = Intervals(**{"interval": 0.02, **times})
        self.prober = Prober(pool, check, intervals, timeout=timeout, counts=counts, rng=random.Random(7))

    async def __aenter__(self) -> Probing:
        self.prober.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.prober.stop()

    async def next(self) -> Change:
        async with asyncio.timeout(5):
            return await self.changes.get()


@on_both_loops
async def test_first_checks_run_at_once_and_changes_are_told() -> None:
    pool, check = make_pool(*make_servers(1, 1), rise=2, fall=3), Scripted()
    check.behaviour[2] = "fail"
    async with Probing(pool, check, interval=60) as probing:
        changes = {change.server.name: change for change in (await probing.next(), await probing.next())}
    assert (changes["a"].standing, changes["a"].reason) == (Standing.UP, "fine")
    assert (changes["b"].standing, changes["b"].reason) == (Standing.DOWN, "told to fail")


@on_both_loops
async def test_results_that_the_pool_got_are_told_on() -> None:
    pool, check = make_pool(*make_servers(1), rise=2, fall=3), Scripted()
    told: list[tuple[str, bool, str, Standing]] = []

    def tell(server: Server, passed: bool, reason: str) -> None:
        told.append((server.name, passed, reason, pool.member("a").standing))

    prober = Prober(pool, check, Intervals(60), rng=random.Random(7), on_result=tell)
    prober.start()
    await until(lambda: told)
    await prober.stop()
    assert told == [("a", True, "fine", Standing.UNKNOWN)], "those that come together are judged together"


@on_both_loops
async def test_down_and_up_again() -> None:
    pool, check = make_pool(*make_servers(1), rise=2, fall=3), Scripted()
    async with Probing(pool, check) as probing:
        assert (await probing.next()).standing is Standing.UP
        check.behaviour[1] = "fail"
        assert (await probing.next()).standing is Standing.DOWN
        check.behaviour[1] = "pass"
        assert (await probing.next()).standing is Standing.UP
    assert check.running == 0
    assert check.probes[1] >= 1 + 3 + 2


@on_both_loops
async def test_a_lack_of_descriptors_here_says_nothing_about_a_server() -> None:
    pool, check = make_pool(*make_servers(1), rise=1, fall=1), Scripted()
    async with Probing(pool, check) as probing:
        assert (await probing.next()).standing is Standing.UP
        check.behaviour[1] = "no room"
        seen = check.probes[1]
        await until(lambda: check.probes[1] > seen + 3)
        assert probing.changes.empty() and pool.member("a").standing is Standing.UP
        check.behaviour[1] = "fail"
        assert (await probing.next()).reason == "told to fail"


@on_both_loops
async def test_a_hanging_server_does_not_delay_the_others() -> None:
    pool, check = make_pool(*make_servers(1, 1), rise=1, fall=1), Scripted()
    check.behaviour[1] = "hang"
    async with Probing(pool, check, interval=0.01, timeout=0.3) as probing:
        assert (await probing.next()).server.name == "b"
        change = await probing.next()
    assert (change.server.name, change.reason) == ("a", "no answer within 0.3 s")
    assert check.probes[2] > 3 * check.probes[1]


@on_both_loops
async def test_new_members_are_checked_at_once_and_old_results_are_dropped() -> None:
    pool, check = make_pool(*make_servers(1), rise=1, fall=1), Scripted()
    check.behaviour[1] = "hang"
    async with Probing(pool, check, interval=60, timeout=60) as probing:
        async with asyncio.timeout(5):
            while not check.probes[1]:
                await asyncio.sleep(0)
        pool.change([Server("a", "127.0.0.1:7")], 0)
        probing.prober.refresh()
        change = await probing.next()
        assert change.server is pool["a"]
        assert check.probes[7] == 1
    assert check.members[-1] == {7}


@on_both_loops
async def test_a_server_that_was_just_seen_is_not_checked_again_at_once() -> None:
    pool, check = make_pool(*make_servers(1, 1), rise=1, fall=1), Scripted()
    probing = Probing(pool, check, interval=60)
    probing.prober.seen(pool["a"], True)
    async with probing:
        assert (await probing.next()).server.name == "b"
        assert check.probes == {2: 1}
    assert (check.before, check.members) == ([1], [{1, 2}])


@on_both_loops
async def test_a_changing_server_is_checked_fast_and_a_suspect_one_soon() -> None:
    pool, check = make_pool(*make_servers(1), rise=2, fall=3), Scripted()
    async with Probing(pool, check, interval=60, fast=0.01, down=60) as probing:
        assert (await probing.next()).standing is Standing.UP
        check.behaviour[1] = "fail"
        probing.prober.hurry(pool["a"])
        assert (await probing.next()).standing is Standing.DOWN
    assert check.probes[1] == 1 + 3, "down: the slow interval again"


class Agent(Scripted):
    advises = True
    line = "drain"

    async def probe(self, address: Address) -> str:
        await super().probe(address)
        return self.line


@on_both_loops
async def test_an_agents_advice_is_taken_and_counts_for_health_only_where_it_is_the_check() -> None:
    pool, agent = make_pool(*make_servers(1)), Agent()
    async with Probing(pool, agent, counts=False) as probing:
        assert (await probing.next()).standing is Standing.DRAIN
        agent.behaviour[1] = "fail"
        probes = agent.probes[1]
        async with asyncio.timeout(5):
            while agent.probes[1] < probes + 5:
                await asyncio.sleep(0.01)
    assert pool.member("a").standing is Standing.DRAIN


class Slow(Scripted):
    """Counts how many are checked at a time."""

    most = 0

    async def probe(self, address: Address) -> str:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.running -= 1
        self.probes[address.port] += 1
        return "fine"


@on_both_loops
async def test_thousands_are_not_checked_all_at_a_time_and_results_are_taken_in_together() -> None:
    servers = [Server(f"s{port}", f"127.0.0.1:{port}") for port in range(1, 3001)]
    pool, check = make_pool(*servers, rise=1), Slow()
    updates = 0
    update = pool.balancer.update

    def counted(candidates: Sequence[Server], now: float) -> None:
        nonlocal updates
        updates += 1
        update(candidates, now)

    pool.balancer.update = counted  # type: ignore[method-assign]
    async with Probing(pool, check, interval=60, timeout=60) as probing:
        for _ in servers:
            assert (await probing.next()).standing is Standing.UP
    assert len(check.probes) == 3000
    assert check.most <= AT_A_TIME
    assert updates < 100
