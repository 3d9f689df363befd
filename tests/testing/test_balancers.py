"""The contract suite can fail: each way to be wrong is caught by the test that is for it."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any

import pytest

from lbkit.balancing import Balancer
from lbkit.balancing.maglev import Maglev, MaglevOptions
from lbkit.balancing.random import Random
from lbkit.balancing.rendezvous import Rendezvous
from lbkit.balancing.round_robin import RoundRobin
from lbkit.registry import NoOptions
from lbkit.server import Outcome, Server
from lbkit.testing import BalancerContract


class Broken(RoundRobin):
    """Right but for what a test's subclass makes wrong."""

    def __init__(self, seed: int) -> None:
        super().__init__(NoOptions(), random.Random(seed))


def contract(make: Callable[[int], Balancer], **promises: Any) -> BalancerContract:
    return type("Contract", (BalancerContract,), {"make": lambda self, seed: make(seed), **promises})()


def failures(suite: BalancerContract) -> set[str]:
    """The tests that fail, without their prefix."""
    found = set()
    for name in dir(suite):
        if name.startswith("test_"):
            try:
                getattr(suite, name)()
            except AssertionError as error:
                assert str(error), f"{name} fails without saying why"
                found.add(name.removeprefix("test_"))
    return found


def fails(suite: BalancerContract, name: str) -> str:
    with pytest.raises(AssertionError) as caught:
        getattr(suite, f"test_{name}")()
    return str(caught.value)


def test_what_is_right_passes() -> None:
    assert failures(contract(Broken)) == set()


def test_it_needs_no_test_library() -> None:
    """What it imports a user's program must not have to install."""
    code = "import sys, lbkit.testing; print({'pytest', 'hypothesis'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "set()\n"


def test_one_that_forgets_make() -> None:
    with pytest.raises(NotImplementedError):
        BalancerContract().test_only_candidates_are_picked()


class PicksExcluded(Broken):
    def pick(self, now: float, key: bytes | None = None, exclude: Collection[Server] = ()) -> Server | None:
        return super().pick(now, key)


def test_one_that_picks_excluded_servers() -> None:
    found = failures(contract(PicksExcluded))
    assert found == {"an_excluded_server_is_not_picked_while_others_are_left", "exclusion_among_many_servers"}


class GivesUp(Broken):
    def pick(self, now: float, key: bytes | None = None, exclude: Collection[Server] = ()) -> Server | None:
        server = super().pick(now, key)
        return None if server in exclude else server


def test_one_that_gives_up_when_its_first_choice_is_excluded() -> None:
    assert "an_excluded_server_is_not_picked_while_others_are_left" in failures(contract(GivesUp))


class KeepsOldCandidates(Broken):
    def update(self, candidates: Sequence[Server], now: float) -> None:
        super().update(list(dict.fromkeys([*self._servers, *candidates])), now)


def test_one_that_keeps_servers_that_left() -> None:
    assert failures(contract(KeepsOldCandidates)) >= {
        "only_candidates_are_picked",
        "nobody_is_picked_before_there_are_candidates",
    }


class OwnChance(Random):
    """Chance that the seed does not decide."""

    def __init__(self, seed: int) -> None:
        super().__init__(NoOptions(), random.Random())


def test_one_whose_picks_the_seed_does_not_decide() -> None:
    assert "gave other picks" in fails(contract(OwnChance), "the_same_seed_gives_the_same_picks")


class IgnoresWeights(Broken):
    def update(self, candidates: Sequence[Server], now: float) -> None:
        weights = [server.effective_weight for server in candidates]
        for server in candidates:
            server.effective_weight = 1.0
        super().update(candidates, now)
        for server, weight in zip(candidates, weights, strict=True):
            server.effective_weight = weight


def test_one_that_ignores_weights() -> None:
    found = failures(contract(IgnoresWeights))
    assert found == {"shares_follow_the_weights", "shares_follow_a_change_of_weight"}
    assert failures(contract(IgnoresWeights, weighted=False)) == set()


class Restarts(Broken):
    def update(self, candidates: Sequence[Server], now: float) -> None:
        self._servers, self._next = [], 0
        super().update(candidates, now)
        self._next = 0


def test_one_that_begins_anew_with_each_update() -> None:
    assert failures(contract(Restarts)) == {"frequent_updates_starve_nobody"}


class Favours(Broken):
    def pick(self, now: float, key: bytes | None = None, exclude: Collection[Server] = ()) -> Server | None:
        if self._servers and self._servers[0] not in exclude:
            return self._servers[0]
        return super().pick(now, key, exclude)


def test_one_that_starves() -> None:
    found = failures(contract(Favours))
    assert found >= {
        "nobody_starves_among_identical_servers",
        "equal_weights_have_equal_shares",
        "frequent_updates_starve_nobody",
    }
    assert not failures(contract(Favours, takes_all=True)) & found


class NeverForgives(Broken):
    """Avoids for ever whoever failed once."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._failed: dict[Server, None] = {}

    def pick(self, now: float, key: bytes | None = None, exclude: Collection[Server] = ()) -> Server | None:
        return super().pick(now, key, {*exclude, *self._failed}) or super().pick(now, key, exclude)

    def ended(self, server: Server, seconds: float, outcome: Outcome, now: float) -> None:
        if outcome.is_failure:
            self._failed[server] = None


def test_one_that_never_forgives() -> None:
    message = fails(contract(NeverForgives), "a_server_that_was_slow_gets_its_share_again")
    assert "0% of its share" in message


class CountsItself(Broken):
    def ended(self, server: Server, seconds: float, outcome: Outcome, now: float) -> None:
        server.open_sessions -= 1


def test_one_that_counts_what_the_pool_counts() -> None:
    assert "feedback_of_servers_that_have_left" in failures(contract(CountsItself))


class NegativeCount(Broken):
    """Counts down for servers that it did not count up."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._open: dict[Server, int] = {}

    def update(self, candidates: Sequence[Server], now: float) -> None:
        super().update(candidates, now)
        self._open = dict.fromkeys(candidates, 0)

    def ended(self, server: Server, seconds: float, outcome: Outcome, now: float) -> None:
        self._open[server] = self._open.get(server, 0) - 1

    def score(self, server: Server, now: float) -> float | None:
        return float(self._open.get(server, 0))


class Forgets(NegativeCount):
    """Does not begin at zero with each update, and counts only down."""

    def update(self, candidates: Sequence[Server], now: float) -> None:
        RoundRobin.update(self, candidates, now)


def test_one_whose_counts_get_negative() -> None:
    assert "the score of an idle server is -" in fails(
        contract(Forgets), "feedback_of_servers_that_have_left"
    )


class ChokesOnLeft(Broken):
    def ended(self, server: Server, seconds: float, outcome: Outcome, now: float) -> None:
        assert server in self._servers, "ended for a server that has left"


def test_one_that_chokes_on_servers_that_have_left() -> None:
    assert "feedback_of_servers_that_have_left" in failures(contract(ChokesOnLeft))


class Modulo(Rendezvous):
    """A hash, modulo the number of servers: moves nearly everything."""

    def __init__(self, seed: int) -> None:
        super().__init__(NoOptions(), random.Random(seed))

    def pick(self, now: float, key: bytes | None = None, exclude: Collection[Server] = ()) -> Server | None:
        left = [server for _, server in self._seeds if server not in exclude]
        return left[int.from_bytes(key or self.rng.randbytes(8)) % len(left)] if left else None


def test_one_that_moves_keys_it_need_not() -> None:
    suite = contract(Modulo, weighted=False)
    assert "of the keys of servers that stayed moved" in fails(suite, "removal_moves_only_the_keys_it_must")
    small = MaglevOptions(table_size=1009)
    maglev = contract(lambda seed: Maglev(small, random.Random(seed)))
    fails(maglev, "removal_moves_only_the_keys_it_must")
    contract(
        lambda seed: Maglev(small, random.Random(seed)), moved_beyond=0.1
    ).test_removal_moves_only_the_keys_it_must()


class KeyedByOrder(Modulo):
    def update(self, candidates: Sequence[Server], now: float) -> None:
        self._seeds = [(0, server) for server in candidates]


def test_one_whose_keys_depend_on_the_order() -> None:
    fails(contract(KeyedByOrder), "a_key_always_has_the_same_server")


class ProbesAnybody(Broken):
    probing = True

    def take_probes(self) -> Sequence[Server]:
        return self._servers[:1]


def test_one_that_hands_out_probes_again_and_again() -> None:
    fails(contract(ProbesAnybody), "probes_are_of_candidates_and_handed_out_once")


class Unannounced(ProbesAnybody):
    probing = False


def test_one_that_probes_without_saying_so() -> None:
    assert "`probing` is False" in fails(
        contract(Unannounced), "probes_are_of_candidates_and_handed_out_once"
    )


class Scans(Broken):
    def pick(self, now: float, key: bytes | None = None, exclude: Collection[Server] = ()) -> Server | None:
        sum(server.open_sessions for server in self._servers)
        return super().pick(now, key, exclude)


def test_one_that_looks_at_every_server() -> None:
    assert "times one on 10" in fails(contract(Scans), "a_pick_does_not_look_at_every_server")
    contract(Scans, scans=True).test_a_pick_does_not_look_at_every_server()
