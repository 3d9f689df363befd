"""The contract that every balancing algorithm keeps, as tests that can be inherited.

    class TestMine(BalancerContract):
        def make(self, seed: int) -> Balancer:
            return Mine(MineOptions(), random.Random(seed))

pytest then runs every test below on it. Class attributes say what the algorithm promises. The suite imports
no test library, draws from seeds of its own, and works in virtual time except where it measures the cost of
a pick.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import ClassVar

from lbkit.balancing import Balancer
from lbkit.server import Outcome, Server
from lbkit.testing.traffic import Traffic, servers_of

__all__ = ["BalancerContract"]

_KEYS = [b"client-%d" % number for number in range(2000)]


class BalancerContract:
    """Inherit, implement `make`, and set what differs."""

    weighted: ClassVar[bool] = True
    """Picks come in proportion to the weights."""
    takes_all: ClassVar[bool] = False
    """One server takes everything, as in active-passive: nothing is shared."""
    scans: ClassVar[bool] = False
    """A pick looks at every server, so its cost may grow with them."""
    tolerance: ClassVar[float] = 0.15
    """By how much of itself a server's share of many picks may differ from its weight's."""
    fairness: ClassVar[float] = 0.5
    """The part of an equal share that each of identical servers gets at least."""
    moved_beyond: ClassVar[float] = 0.0
    """Of the keys of servers that stay, the part that another's removal may move (keyed algorithms)."""
    recovery: ClassVar[float] = 60.0
    """Seconds after which a server that was slow has at least half of its share again."""
    growth: ClassVar[float] = 3.0
    """How many times the cost of a pick on 10 servers one on 10 000 may have."""

    def make(self, seed: int) -> Balancer:
        """A new balancer whose chance comes from *seed*."""
        raise NotImplementedError

    def _with(self, servers: list[Server], seed: int = 7) -> Balancer:
        balancer = self.make(seed)
        balancer.update(servers, 0.0)
        return balancer

    # ---- who may be picked ----

    def test_nobody_is_picked_before_there_are_candidates(self) -> None:
        balancer = self.make(7)
        assert balancer.pick(0.0) is None, "picked somebody before the first update"
        balancer.update([], 0.0)
        assert balancer.pick(0.0, b"key") is None, "picked somebody from no candidates"
        servers = servers_of([1, 2])
        balancer.update(servers, 1.0)
        assert balancer.pick(1.0) in servers, "picked nobody though there are candidates"
        balancer.update([], 2.0)
        assert balancer.pick(2.0) is None, "picked a server that has left"

    def test_only_candidates_are_picked(self) -> None:
        rng = random.Random(7)
        servers = servers_of([1, 2, 3, 1, 1, 256])
        balancer = self.make(7)
        for step in range(60):
            present = rng.sample(servers, rng.randint(0, len(servers)))
            balancer.update(present, float(step))
            for key in _some_keys(rng, 5):
                picked = balancer.pick(float(step), key)
                if present:
                    assert picked in present, f"picked {picked}, which is no candidate"
                else:
                    assert picked is None, f"picked {picked} from no candidates"

    def test_an_excluded_server_is_not_picked_while_others_are_left(self) -> None:
        rng = random.Random(7)
        servers = servers_of([5, 1, 1, 2, 1, 1, 256, 1])
        balancer = self._with(servers)
        for step in range(200):
            out = rng.sample(servers, rng.randint(0, len(servers)))
            exclude: tuple[Server, ...] | set[Server] = tuple(out) if step % 2 else set(out)
            for key in _some_keys(rng, 2):
                picked = balancer.pick(float(step), key, exclude)
                if len(out) < len(servers):
                    assert picked is not None, f"picked nobody with {len(out)} of {len(servers)} excluded"
                    assert picked not in exclude, f"picked {picked.name}, which is excluded"
                else:
                    assert picked is None, "picked an excluded server: all are"

    def test_exclusion_among_many_servers(self) -> None:
        servers = servers_of([1] * 300)
        balancer = self._with(servers)
        for last in (servers[0], servers[299], servers[123]):
            exclude = {server for server in servers if server is not last}
            assert balancer.pick(0.0, b"key", exclude) is last, "did not find the only one left"
        assert balancer.pick(0.0, b"key", set(servers)) is None, "picked an excluded server: all are"

    # ---- the same again ----

    def test_the_same_seed_gives_the_same_picks(self) -> None:
        runs = []
        for _ in range(2):
            servers = servers_of([4, 2, 1, 1, 1])
            traffic = Traffic(self._with(servers), _noisy(random.Random(3)), rate=200)
            order = traffic.run(5).order
            runs.append(order)
        assert runs[0] == runs[1], "the same seed gave other picks"

    def test_a_key_always_has_the_same_server(self) -> None:
        if not self.make(7).keyed:
            return
        servers = servers_of([1, 2, 1, 3])
        expected = self._map(self._with(servers))
        other = self._map(self._with(servers[::-1], seed=8))
        assert expected == other, "the server of a key depends on the seed or on the order of the candidates"
        balancer = self._with(servers)
        self._map(balancer)
        balancer.update(servers[1:], 1.0)
        balancer.update(servers, 2.0)
        assert self._map(balancer) == expected, "the server of a key depends on former candidates"

    def test_removal_moves_only_the_keys_it_must(self) -> None:
        if not self.make(7).keyed:
            return
        servers = servers_of([1] * 10)
        balancer = self._with(servers)
        before = self._map(balancer)
        balancer.update(servers[:4] + servers[5:], 1.0)
        after = self._map(balancer)
        gone = servers[4].name
        stayed = [key for key in before if before[key] != gone]
        assert stayed, "one server had every key"
        moved = sum(before[key] != after[key] for key in stayed) / len(stayed)
        assert moved <= self.moved_beyond, (
            f"{moved:.1%} of the keys of servers that stayed moved, {self.moved_beyond:.1%} may"
        )

    @staticmethod
    def _map(balancer: Balancer) -> dict[bytes, str]:
        mapped = {}
        for key in _KEYS:
            server = balancer.pick(0.0, key)
            assert server is not None, "pick gave None with candidates left"
            mapped[key] = server.name
        return mapped

    # ---- shares ----

    def test_shares_follow_the_weights(self) -> None:
        if self.takes_all or not self.weighted:
            return
        weights = [1, 2, 3, 4, 10]
        servers = servers_of(weights)
        picks = Traffic(self._with(servers), _constant(0.5), rate=400).run(60).picks
        self._assert_shares(servers, picks)

    def test_equal_weights_have_equal_shares(self) -> None:
        if self.takes_all:
            return
        servers = servers_of([3] * 8)
        picks = Traffic(self._with(servers), _constant(0.5), rate=400).run(60).picks
        self._assert_shares(servers, picks)

    def test_shares_follow_a_change_of_weight(self) -> None:
        if self.takes_all or not self.weighted:
            return
        servers = servers_of([4, 4, 4])
        balancer = self._with(servers)
        traffic = Traffic(balancer, _constant(0.5), rate=400)
        traffic.run(5)
        servers[0].effective_weight = 1.25
        balancer.update(servers, 5.0)
        traffic.run(5)
        self._assert_shares(servers, traffic.run(60).picks)

    def _assert_shares(self, servers: list[Server], picks: Counter[str]) -> None:
        total = sum(server.effective_weight for server in servers)
        for server in servers:
            share = picks[server.name] / picks.total()
            expected = server.effective_weight / total
            assert abs(share - expected) <= self.tolerance * expected, (
                f"{server.name} got {share:.1%} of the picks, its weight is {expected:.1%} of all"
            )

    def test_nobody_starves_among_identical_servers(self) -> None:
        if self.takes_all:
            return
        servers = servers_of([1] * 10)
        for rate in (20.0, 400.0):
            traffic = Traffic(self._with(servers), _noisy(random.Random(3)), rate=rate)
            picks = traffic.run(20_000 / rate).picks
            traffic.finish()
            least = min(servers, key=lambda server: picks[server.name])
            part = picks[least.name] * len(servers) / picks.total()
            assert part >= self.fairness, (
                f"{least.name} got {part:.0%} of an equal share at {rate:g} requests/s"
            )

    def test_frequent_updates_starve_nobody(self) -> None:
        """A server elsewhere that comes and goes with each pick must not restart the order for all."""
        if self.takes_all or self.make(7).keyed:
            return
        servers = servers_of([1] * 6)
        balancer = self.make(7)
        picks: Counter[str] = Counter()
        for step in range(3000):
            balancer.update(servers[: 5 + step % 2], float(step))
            server = balancer.pick(float(step))
            assert server is not None, "pick gave None with candidates left"
            picks[server.name] += 1
        for server in servers[:5]:
            part = picks[server.name] * 5.5 / 3000
            assert part >= 0.5, f"{server.name} got {part:.0%} of its share while another came and went"

    def test_a_server_that_was_slow_gets_its_share_again(self) -> None:
        if self.takes_all:
            return
        servers = servers_of([1] * 5)

        def latency(server: Server, now: float) -> float:
            return 2.0 if server is servers[0] and 10 <= now < 30 else 0.05

        traffic = Traffic(self._with(servers), latency, rate=100, timeout=1.0)
        traffic.run(30 + self.recovery)
        picks = traffic.run(60).picks
        part = picks[servers[0].name] * len(servers) / picks.total()
        assert part >= 0.5, f"got {part:.0%} of its share {self.recovery:g} s after it was slow"

    # ---- feedback ----

    def test_feedback_of_servers_that_have_left(self) -> None:
        servers = servers_of([1, 2, 1])
        balancer = self._with(servers)
        rng = random.Random(7)
        open_requests: list[Server] = []
        for step in range(500):
            now = float(step)
            if rng.random() < 0.2:
                balancer.update(rng.sample(servers, rng.randint(0, 3)), now)
            server = balancer.pick(now, rng.randbytes(4))
            if server is not None:
                server.open_sessions += 1
                open_requests.append(server)
                balancer.started(server, now)
            while open_requests and rng.random() < 0.5:
                self._end(balancer, open_requests.pop(rng.randrange(len(open_requests))), rng, now)
        for server in open_requests:
            self._end(balancer, server, rng, 500.0)
        assert [server.open_sessions for server in servers] == [0, 0, 0], (
            "the balancer changed open_sessions: the pool counts them"
        )
        balancer.update(servers, 501.0)
        for server in servers:
            score = balancer.score(server, 501.0)
            assert score is None or score >= 0, f"the score of an idle server is {score}"
        assert balancer.pick(502.0) in servers, "picked nobody after all requests had ended"

    @staticmethod
    def _end(balancer: Balancer, server: Server, rng: random.Random, now: float) -> None:
        if rng.random() < 0.7:
            balancer.responded(server, 0.5, now)
        server.open_sessions -= 1
        balancer.ended(server, 1.0, rng.choice(list(Outcome)), now)

    def test_probes_are_of_candidates_and_handed_out_once(self) -> None:
        servers = servers_of([1] * 5)
        balancer = self._with(servers)
        if not balancer.probing:
            assert not balancer.take_probes(), "wants probes, but `probing` is False"
            return
        wanted: set[Server] = set()
        for step in range(50):
            balancer.pick(float(step))
            probes = balancer.take_probes()
            assert not balancer.take_probes(), "handed out the same probes twice"
            wanted.update(probes)
            for server in probes:
                balancer.probed(server, 0, 0.1, float(step))
        assert wanted, "is `probing` and never wanted a probe"
        assert wanted <= set(servers), "wanted a probe of a server that is no candidate"
        balancer.update(servers[1:], 50.0)
        balancer.probed(servers[0], 0, 0.0, 50.0)
        assert servers[0] not in {balancer.pick(50.0) for _ in range(20)}, (
            "a late answer brought a server back"
        )

    # ---- cost ----

    def test_a_pick_does_not_look_at_every_server(self) -> None:
        """The only test in real time: the best of several measurements, and again where it seems too dear."""
        if self.scans:
            return
        weights = [1, 2, 3, 5]
        for kinds in (weights[:1], weights):
            few = self._with(servers_of([kinds[i % len(kinds)] for i in range(10)]))
            many = self._with(servers_of([kinds[i % len(kinds)] for i in range(10_000)]))
            ratio = _cost_ratio(many, few, self.growth)
            assert ratio <= self.growth, (
                f"a pick on 10 000 servers costs {ratio:.1f} times one on 10, {self.growth:g} is allowed"
            )


def _some_keys(rng: random.Random, count: int) -> Iterable[bytes | None]:
    return [None, *(rng.randbytes(4) for _ in range(count))]


def _constant(seconds: float) -> Callable[[Server, float], float]:
    return lambda server, now: seconds


def _noisy(rng: random.Random) -> Callable[[Server, float], float]:
    return lambda server, now: rng.uniform(0.08, 0.12)


def _cost_ratio(many: Balancer, few: Balancer, enough: float) -> float:
    """How many times the cost of a pick by *few* one by *many* has.

    Of each the shortest of several short measurements in turns, because a busy machine only ever adds; no
    further ones once the ratio is *enough*, or beyond all noise.
    """
    costs = {many: float("inf"), few: float("inf")}
    ratio = float("inf")
    for number in range(60):
        for balancer in costs:
            costs[balancer] = min(costs[balancer], _seconds_for_picks(balancer))
        ratio = costs[many] / costs[few]
        if number >= 3 and (ratio <= enough or ratio > 10 * enough):
            break
    return ratio


def _seconds_for_picks(balancer: Balancer) -> float:
    """For some picks with different keys, each of them started and ended."""
    pick, started, ended = balancer.pick, balancer.started, balancer.ended
    began = time.perf_counter()
    for key in _KEYS[:500]:
        server = pick(1.0, key)
        if server is not None:
            server.open_sessions += 1
            started(server, 1.0)
            server.open_sessions -= 1
            ended(server, 0.0, Outcome.DONE, 1.0)
    return time.perf_counter() - began
