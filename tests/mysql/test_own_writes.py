from __future__ import annotations

import random

import pytest

from lbkit.mysql.dsn import Dsn
from lbkit.mysql.own_writes import ASK_AGAIN, FORGET_AFTER, MOST_UNMERGED, OwnWrites
from lbkit.mysql.tokens import PRIMARY_ONLY
from lbkit.mysql.topology import Topology

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"


def test_it_grows_with_each_write() -> None:
    own = OwnWrites(f"{UUID}:1", now=1.0)
    own.add("", 2.0)
    assert (own.token, own.changed) == (f"{UUID}:1", 1.0)
    own.add(f"{UUID}:2", 3.0)
    own.add(f"{UUID}:4", 4.0)
    assert (own.token, own.changed) == (f"{UUID}:1-2:4", 4.0)


def test_many_writes_that_nobody_asks_about_take_no_memory() -> None:
    own = OwnWrites()
    for number in range(1, 1000):
        own.add(f"{UUID}:{number}", 0.0)
        assert len(own._added) <= MOST_UNMERGED
    assert own.token == f"{UUID}:1-999"


def test_a_write_without_an_id_outweighs_the_others() -> None:
    own = OwnWrites()
    own.add(PRIMARY_ONLY, 0.0)
    assert own.token == PRIMARY_ONLY
    own.add(f"{UUID}:1", 0.0)
    assert own.token == PRIMARY_ONLY


def test_what_comes_from_outside_is_checked() -> None:
    with pytest.raises(ValueError):
        OwnWrites("nonsense")


def servers(*positions: str, now: float = 0.0) -> Topology:
    dsns = [Dsn(f"db{number}").named(f"db{number}") for number in range(1, len(positions) + 1)]
    found = Topology(dsns, "round_robin", random.Random(7))
    for number, position in enumerate(positions, 1):
        found.answered(f"db{number}", number == 1, now, position=position)
    return found


def test_it_is_forgotten_only_when_every_server_has_it() -> None:
    own = OwnWrites()
    own.add(f"{UUID}:5", 1.0)
    assert own.due == 1.0 + FORGET_AFTER
    own.settle(servers(f"{UUID}:1-9", f"{UUID}:1-4"), float("inf"), 100_000.0)
    assert not own.is_everywhere
    assert own.due == 100_000.0 + ASK_AGAIN
    own.settle(servers(f"{UUID}:1-9", f"{UUID}:1-5"), float("inf"), 100_010.0)
    assert own.is_everywhere
    own.add(f"{UUID}:10", 100_011.0)
    assert not own.is_everywhere
    own.settle(servers(f"{UUID}:1-10", ""), 10.0, 200_000.0)  # one that was never reached
    assert (own.is_everywhere, own.token) == (False, f"{UUID}:5:10")


def test_what_came_of_a_write_without_an_id_is_in_what_the_primary_had_later() -> None:
    own = OwnWrites()
    own.add(PRIMARY_ONLY, 1.0)
    own.settle(servers(f"{UUID}:1-9", f"{UUID}:1-4", now=30.0), float("inf"), 100.0)
    assert own.token == PRIMARY_ONLY  # it may still have been at work then
    own.settle(servers(f"{UUID}:1-9", f"{UUID}:1-4", now=90.0), float("inf"), 100.0)
    assert (own.token, own.is_everywhere) == (f"{UUID}:1-9", False)
    own.settle(servers(f"{UUID}:1-12", f"{UUID}:1-9", now=110.0), float("inf"), 110.0)
    assert own.is_everywhere


def test_servers_without_ids_have_only_their_lag() -> None:
    for max_lag, is_everywhere in ((10.0, True), (float("inf"), False)):
        own = OwnWrites()
        own.add(PRIMARY_ONLY, 1.0)
        own.settle(servers("", ""), max_lag, 100.0)
        assert own.is_everywhere is is_everywhere
