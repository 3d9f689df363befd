from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lbkit.errors import NoServerAvailable
from lbkit.mysql.dsn import Dsn
from lbkit.mysql.gtid import GtidSet
from lbkit.mysql.observation import GroupMember, Link, Observation, Reach
from lbkit.mysql.topology import Role, Topology
from lbkit.server import Address


def topology(count: int = 3) -> Topology:
    dsns = [Dsn(f"db{number}", user="u").named(f"db{number}") for number in range(1, count + 1)]
    return Topology(dsns, "round_robin", random.Random(7))


def whole() -> Topology:
    found = topology()
    found.answered("db1", True, 0.0)
    found.answered("db2", False, 0.0)
    found.answered("db3", False, 0.0)
    return found


def readers(found: Topology, count: int) -> list[str]:
    return [found.pick_reader(1.0, []).name for _ in range(count)]


def test_nothing_is_known_at_first() -> None:
    found = topology()
    assert found.primary is None
    with pytest.raises(NoServerAvailable, match=r"no primary: db1 unknown unknown \(not checked yet\)"):
        found.require_primary()
    with pytest.raises(NoServerAvailable, match="no server for a read"):
        found.pick_reader(0.0, [])
    assert {found.role(member) for member in found.members} == {Role.UNKNOWN}


def test_roles_come_from_the_servers_themselves() -> None:
    found = whole()
    assert found.require_primary().name == "db1"
    assert [found.role(member) for member in found.members] == [Role.PRIMARY, Role.REPLICA, Role.REPLICA]
    assert sorted(readers(found, 4)) == ["db2", "db2", "db3", "db3"]


def test_changes_are_told_once() -> None:
    found = topology(1)
    told = [change.text for change in found.answered("db1", True, 0.0)]
    assert told == ["is up", "takes writes", "is the primary"]
    assert found.answered("db1", True, 1.0) == []


def test_a_refusal_takes_a_server_out_at_once() -> None:
    found = whole()
    (change,) = found.failed("db2", "Connection refused", False, 1.0)
    assert change.text == "is down: Connection refused"
    assert set(readers(found, 4)) == {"db3"}


def test_one_silence_is_forgiven_and_two_are_not() -> None:
    found = whole()
    assert found.failed("db2", "silent", True, 1.0) == []
    assert set(readers(found, 4)) == {"db2", "db3"}
    found.answered("db2", False, 2.0)
    assert found.failed("db2", "silent", True, 3.0) == []
    assert found.failed("db2", "silent", True, 4.0)
    assert set(readers(found, 4)) == {"db3"}


def test_without_replicas_the_primary_answers_reads() -> None:
    found = whole()
    for name in ("db2", "db3"):
        found.failed(name, "gone", False, 1.0)
    assert set(readers(found, 2)) == {"db1"}


def test_a_reader_that_was_tried_is_not_picked_again() -> None:
    found = whole()
    tried = [found.pick_reader(1.0, [])]
    tried.append(found.pick_reader(1.0, tried))
    assert {member.name for member in tried} == {"db2", "db3"}
    tried.append(found.pick_reader(1.0, tried))
    assert tried[-1].name == "db1"
    with pytest.raises(NoServerAvailable):
        found.pick_reader(1.0, tried)


def test_a_primary_that_dies_is_no_primary_and_may_come_back() -> None:
    found = whole()
    changes = found.failed("db1", "gone", False, 1.0)
    assert [change.text for change in changes][-1] == "is no longer the primary; there is none"
    assert set(readers(found, 2)) == {"db2", "db3"}
    found.answered("db1", True, 2.0)
    assert found.require_primary().name == "db1"


def test_the_primary_role_moves() -> None:
    found = whole()
    found.answered("db1", False, 1.0)
    found.answered("db2", True, 1.0)
    assert found.require_primary().name == "db2"
    assert set(readers(found, 4)) == {"db1", "db3"}


def test_a_second_writable_server_gets_nothing() -> None:
    found = whole()
    found.answered("db3", True, 1.0)
    assert found.require_primary().name == "db1"
    assert set(readers(found, 4)) == {"db2"}
    assert found.why(found.members[2]) == "a second writable server; not used"


def test_one_that_was_opened_by_mistake_is_not_used_while_the_primary_is_away() -> None:
    found = topology()
    link = Link(Address("db1", 3306), connected=True, applying=True)
    found.observed(Observation("db1", writable=True), 0.0)
    found.observed(Observation("db2", link=link, writable=True), 0.0)
    for now in (1.0, 2.0):
        found.observed(Observation("db1", Reach.SILENT, "silent"), now)
    assert found.primary is None
    with pytest.raises(NoServerAvailable, match="db2 .*takes writes, but replicates from db1; not used"):
        found.require_primary()
    found.observed(
        Observation("db2", link=replace(link, connected=False, applying=False, at_work=False), writable=True),
        3.0,
    )
    assert found.require_primary().name == "db2"  # now it was promoted
    found.observed(Observation("db2", link=link, writable=True), 4.0)
    assert found.primary is None
    found.observed(Observation("db1"), 5.0)  # it has started anew, and is read-only
    assert found.require_primary().name == "db2"


def test_two_that_follow_one_another_are_meant_to() -> None:
    found = topology(2)
    found.observed(Observation("db1", writable=True, link=Link(Address("db2", 3306), True, True)), 0.0)
    found.observed(Observation("db2", writable=True, link=Link(Address("db1", 3306), True, True)), 0.0)
    assert found.require_primary().name == "db1"
    found.failed("db1", "gone", False, 1.0)
    assert found.require_primary().name == "db2"


def test_the_one_that_was_opened_last_is_the_primary_where_there_was_none() -> None:
    """The former one was only silent: it is still open, and has been replaced."""
    found = whole()
    for now in (1.0, 2.0):
        found.failed("db1", "silent", True, now)
    assert found.primary is None
    found.answered("db3", True, 3.0)
    found.failed("db3", "busy", False, 4.0)
    found.answered("db1", True, 5.0)
    found.failed("db1", "gone", False, 6.0)
    found.answered("db3", True, 7.0)
    found.answered("db1", True, 8.0)
    assert found.require_primary().name == "db3"
    found.failed("db3", "busy", False, 9.0)
    found.failed("db1", "busy", False, 9.0)
    found._members["db1"].health.assume_up(10.0)
    found.answered("db3", True, 10.0)
    assert found.require_primary().name == "db3"


def test_a_replica_too_far_behind_or_of_unknown_lag_serves_no_reads() -> None:
    found = whole()
    found.answered("db2", False, 1.0, lag=11.0)
    found.answered("db3", False, 1.0, lag=0.0)
    assert {found.pick_reader(1.0, [], 10.0).name for _ in range(4)} == {"db3"}
    assert set(readers(found, 4)) == {"db2", "db3"}  # without a limit
    found.answered("db3", False, 1.0)
    assert found.pick_reader(1.0, [], 10.0).name == "db1"
    assert found.why(found.members[2]) == "answers; how far it is behind is not known"
    found.answered("db3", False, 1.0, lag=10.0)
    assert found.pick_reader(1.0, [], 10.0).name == "db3"


def test_without_a_primary_an_old_answer_is_better_than_none() -> None:
    found = whole()
    found.answered("db2", False, 1.0, lag=None)
    found.answered("db3", False, 1.0, lag=None)
    primary = found.pick_reader(1.0, [], 10.0)
    assert primary.name == "db1"
    assert found.pick_reader(1.0, [primary], 10.0).name in ("db2", "db3")
    found.failed("db1", "gone", False, 2.0)
    assert {found.pick_reader(2.0, [], 10.0).name for _ in range(4)} == {"db2", "db3"}


def test_names_are_unique() -> None:
    with pytest.raises(ValueError, match="same name"):
        Topology([Dsn("db"), Dsn("db")], "round_robin", random.Random(7))


def test_a_look_fills_in_what_tokens_and_lag_limits_need() -> None:
    found = topology(2)
    link = Link(Address("db1", 3306), connected=True, applying=True, lag=3.0)
    executed = GtidSet.parse("0-1-7")
    found.observed(Observation("db1", writable=True, executed=executed, is_mariadb=True), 0.0)
    found.observed(Observation("db2", link=link), 0.0)
    primary, replica = found.members
    assert (primary.lag, primary.position, primary.is_mariadb) == (0.0, "0-1-7", True)
    assert (replica.lag, replica.position, replica.is_mariadb) == (3.0, "", False)
    found.observed(Observation("db2", link=replace(link, applying=False)), 1.0)
    assert replica.lag is None


def test_a_replica_too_far_behind_or_of_unknown_lag_is_not_read() -> None:
    found = topology()
    found.answered("db1", True, 0.0)
    found.answered("db2", False, 0.0, lag=5.0)
    found.answered("db3", False, 0.0, lag=1.0)
    assert {found.pick_reader(1.0, [], max_lag=2.0).name for _ in range(4)} == {"db3"}
    found.answered("db3", False, 1.0)
    assert found.pick_reader(1.0, [], max_lag=2.0).name == "db1"
    assert found.pick_reader(1.0, []).name in ("db2", "db3")


def test_who_has_what() -> None:
    uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
    found = topology(2)
    found.answered("db1", True, 0.0, position=f"{uuid}:1-9")
    found.answered("db2", False, 0.0, position=f"{uuid}:1-7")
    assert found.everybody_has(f"{uuid}:7") and not found.everybody_has(f"{uuid}:8")
    assert not found.everybody_has("*")
    assert found.nobody_has(f"{uuid}:10") and not found.nobody_has(f"{uuid}:9")  # the primary has it by now
    found.answered("db2", False, 0.0, position=f"{uuid}:1-7:11")
    assert not found.nobody_has(f"{uuid}:10-11")  # a part of it is somewhere else
    assert found.nobody_has(f"{uuid}:10")
    assert not found.nobody_has("*")


def test_whether_another_primary_is_possible() -> None:
    found = topology()
    found.answered("db1", True, 0.0)
    for name in ("db2", "db3"):
        found.answered(name, False, 0.0)
    assert not found.took_over(0.0) and found.is_alone()  # who was there before us is not known
    found.failed("db1", "Connection refused", False, 1.0)
    found.answered("db2", True, 2.0)
    found.answered("db3", False, 3.0)
    assert found.took_over(2.0) and found.is_alone()
    found.failed("db3", "silent", True, 4.0)
    assert not found.took_over(4.0) and found.is_alone()
    for now, writable in ((5.0, False), (6.0, True), (7.0, False)):
        found.answered("db1", writable, now)
        found.answered("db3", False, now)
        assert found.require_primary().name == "db2"
        assert found.took_over(now) is (now == 5)  # what it took behind the new one's back may be missed
        assert found.is_alone() is not writable


def test_one_that_was_down_may_have_been_replaced_meanwhile() -> None:
    found = whole()
    found.answered("db1", False, 1.0)
    found.answered("db2", True, 2.0)
    for now in (3.0, 5.0):
        for name in ("db1", "db3"):
            found.answered(name, False, now)
        assert found.took_over(now) is (now == 3)
        found.failed("db2", "silent", False, 4.0)
        found.answered("db2", True, 4.5)
    assert found.is_alone()


def test_a_former_primary_that_was_fenced_is_none() -> None:
    found = whole()
    found.failed("db1", "silent", False, 1.0)
    found.answered("db2", True, 2.0)
    found.answered("db1", True, 3.0)  # it goes on
    assert not found.is_alone()
    found.observed(Observation("db1", Reach.DENIED, "in offline mode", offline=True), 4.0)
    found.observed(Observation("db1", Reach.SILENT), 5.0)
    assert found.is_alone()
    found.observed(Observation("db1", writable=True), 6.0)
    assert not found.is_alone()


def test_who_was_never_heard_of_may_be_the_primary() -> None:
    found = topology(2)
    found.failed("db1", "silent", False, 0.0)
    found.answered("db2", True, 0.0)
    assert not found.took_over(0.0) and not found.is_alone()


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (Observation("db2", Reach.REFUSED, "Connection refused"), "Connection refused"),
        (Observation("db2", offline=True), "is in offline mode"),
        (Observation("db2", uuid="b", group=(GroupMember("a", "ONLINE", "PRIMARY"),)), "majority"),
    ],
    ids=["refused", "offline", "minority"],
)
def test_who_must_not_be_asked_is_down_at_once(seen: Observation, reason: str) -> None:
    found = whole()
    (change,) = found.observed(seen, 1.0)
    assert reason in change.text
    assert set(readers(found, 4)) == {"db3"}


def test_one_silent_look_is_forgiven() -> None:
    found = whole()
    assert found.observed(Observation("db2", Reach.SILENT, "silent"), 1.0) == []
    assert found.observed(Observation("db2", Reach.SILENT, "silent"), 2.0)


class TopologyMachine(RuleBasedStateMachine):
    """Whatever the probes say, the picks agree with what is known."""

    def __init__(self) -> None:
        super().__init__()
        self.found = topology()
        self.now = 0.0

    @rule(name=st.sampled_from(["db1", "db2", "db3"]), writable=st.booleans())
    def answers(self, name: str, writable: bool) -> None:
        self.now += 1
        self.found.answered(name, writable, self.now)

    @rule(name=st.sampled_from(["db1", "db2", "db3"]), silent=st.booleans())
    def fails(self, name: str, silent: bool) -> None:
        self.now += 1
        self.found.failed(name, "failed", silent, self.now)

    @invariant()
    def the_primary_is_up_and_writable(self) -> None:
        writable = [member for member in self.found.members if member.up and member.writable]
        assert (self.found.primary in writable) if writable else (self.found.primary is None)

    @invariant()
    def readers_are_up_and_no_second_primary(self) -> None:
        for member in self.found.readers():
            assert member.up
            assert member is self.found.primary or member.writable is False

    @invariant()
    def a_read_finds_somebody_if_there_is_anybody(self) -> None:
        if self.found.readers():
            assert self.found.pick_reader(self.now, []) in self.found.readers()


TestTopologyMachine = TopologyMachine.TestCase
