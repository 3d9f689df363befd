from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbkit.errors import PromotionRefused
from lbkit.mysql.diagnosis import Diagnosis, Trouble, Verdict, diagnose
from lbkit.mysql.dsn import Dsn
from lbkit.mysql.gtid import GtidSet
from lbkit.mysql.observation import GroupMember, Observation, Reach
from lbkit.mysql.plan import (
    Clone,
    Close,
    Confirm,
    Elect,
    Fence,
    Follow,
    Forget,
    OnPossibleLoss,
    Open,
    Plan,
    Protect,
    Step,
    StopReceiving,
    plan,
    switchover,
)
from lbkit.mysql.watch import Watch
from tests.support.replication import Node, Servers, StepFailed

Draw = st.DataObject


def planned(
    servers: Servers,
    before: Observation | None,
    on_possible_loss: OnPossibleLoss = "abort",
    clone: bool = False,
) -> Plan | None:
    seen = servers.observations()
    found = diagnose(seen, servers.addresses, primary_before=before.name if before else None)
    return plan(found, seen, on_possible_loss=on_possible_loss, before=before, clone=clone)


def primary_killed(count: int = 2, semi_sync: bool = True) -> tuple[Servers, Observation]:
    servers = Servers(count, semi_sync)
    servers.write(servers.nodes["s1"], {"s2"})
    before = servers.observe(servers.nodes["s1"])
    servers.kill(servers.nodes["s1"])
    return servers, before


# --------------------------------------------------------------------------- what plans say


def test_a_dead_primary_of_a_semi_synchronous_pair() -> None:
    servers, before = primary_killed()
    made = planned(servers, before)
    assert made is not None
    assert made.purpose == "failover from s1 to s2"
    assert made.promotes == "s2"
    assert made.risks == ()
    assert made.steps[0] == StopReceiving("s2")
    # There is nobody left who could acknowledge.
    assert (
        made.steps.index(Protect("s2", False)) < made.steps.index(Open("s2")) < made.steps.index(Forget("s2"))
    )


def test_the_others_follow_the_new_primary_which_waits_for_them() -> None:
    servers, before = primary_killed(3)
    made = planned(servers, before)
    assert made is not None
    assert made.promotes == "s2"  # it alone has received the write
    assert made.steps.index(Protect("s2", True)) < made.steps.index(Open("s2"))
    assert made.steps[-1] == Follow("s3", "s2")


def test_who_was_stopped_for_nothing_receives_again() -> None:
    """The candidate turned out to lack something: until the others receive, the old primary's writes wait."""
    servers = Servers(3, True)
    before = servers.observe(servers.nodes["s1"])
    servers.nodes["s1"].stopped = True
    made = planned(servers, before)
    assert made is not None and {step.server for step in made.undo} == {"s2", "s3"}
    for step in made.steps:
        if isinstance(step, Confirm):
            break
        servers.carry_out(step)
    assert not any(servers.nodes[name].receiving for name in ("s2", "s3"))
    for step in made.undo:
        servers.carry_out(step)
    assert all(servers.nodes[name].receiving for name in ("s2", "s3"))


def test_who_receives_nothing_without_an_error_is_told_to_follow() -> None:
    servers = Servers(3, True)
    servers.nodes["s3"].receiving = False
    made = planned(servers, None)
    assert made is not None and made.steps == (Follow("s3", "s1"),)


def test_asynchronous_replication_promises_nothing() -> None:
    servers, before = primary_killed(semi_sync=False)
    with pytest.raises(PromotionRefused, match='did not wait for its replicas.*"promote" takes that chance'):
        planned(servers, before)
    made = planned(servers, before, "promote")
    assert made is not None
    assert made.promotes == "s2"
    assert made.risks == ("s1 did not wait for its replicas: its last acknowledged writes may be on none",)


def test_nobody_saw_the_primary_alive() -> None:
    servers, _ = primary_killed()
    with pytest.raises(PromotionRefused, match="nobody saw whether s1 waited"):
        planned(servers, None)


def test_a_replica_is_missing_that_may_have_acknowledged_alone() -> None:
    servers, before = primary_killed(3)
    servers.kill(servers.nodes["s3"])
    with pytest.raises(PromotionRefused, match="s1 waited for 1 of its replicas, and s3 cannot be asked"):
        planned(servers, before)
    two = replace(before, semi_sync=replace(before.semi_sync, replicas=2))
    made = planned(servers, two)
    assert made is not None
    assert made.promotes == "s2"


def test_a_wait_that_ends_is_no_proof() -> None:
    servers, before = primary_killed()
    with pytest.raises(PromotionRefused, match="only for a time"):
        planned(servers, replace(before, semi_sync=replace(before.semi_sync, endless=False)))


def test_a_silent_primary_may_come_back() -> None:
    servers = Servers(2, semi_sync=False)
    before = servers.observe(servers.nodes["s1"])
    servers.nodes["s1"].stopped = True
    with pytest.raises(PromotionRefused, match="only silent: it may come back and take writes"):
        planned(servers, before)


def test_a_replica_with_transactions_of_its_own_is_no_candidate() -> None:
    servers, before = primary_killed()
    servers.nodes["s2"].executed.add((2, 99))
    with pytest.raises(PromotionRefused, match="no replica that could be promoted"):
        planned(servers, before)


def replaced_with_a_write_of_its_own(count: int) -> tuple[Servers, Observation]:
    """The first primary died with a write that nobody had; the second one has been at work since."""
    servers, before = primary_killed(count)
    servers.nodes["s1"].executed.add((1, 99))
    made = planned(servers, before)
    assert made is not None
    for step in made.steps:
        servers.carry_out(step)
    servers.start(servers.nodes["s1"])
    servers.write(servers.nodes["s2"], set(servers.nodes))
    servers.replicate()
    found = diagnose(servers.observations(), servers.addresses)
    assert [finding.trouble for finding in found.findings][:1] == [Trouble.ERRANT]
    return servers, servers.observe(servers.nodes["s2"])


def test_a_former_primary_with_a_write_of_its_own_does_not_hinder_the_next_failover() -> None:
    """What it has alone was told, and given up, when it was replaced."""
    servers, before = replaced_with_a_write_of_its_own(3)
    servers.kill(servers.nodes["s2"])
    made = planned(servers, before)
    assert made is not None and made.promotes == "s3"
    for step in made.steps:
        servers.carry_out(step)
    (primary,) = servers.acknowledging()
    assert primary.name == "s3"
    assert servers.acknowledged <= primary.executed


def test_a_former_primary_with_a_write_of_its_own_does_not_hinder_opening_the_present_one_again() -> None:
    servers, before = replaced_with_a_write_of_its_own(2)
    servers.kill(servers.nodes["s2"])
    servers.start(servers.nodes["s2"])
    made = planned(servers, before)
    assert made is not None and made.promotes == "s2"
    for step in made.steps:
        servers.carry_out(step)
    assert [node.name for node in servers.acknowledging()] == ["s2"]
    # Where it is not known that the other one was replaced, its write may be an acknowledged one.
    servers.nodes["s2"].writable = False
    found = diagnose(servers.observations(), servers.addresses, primary_before="s2")
    with pytest.raises(PromotionRefused, match="no server has all"):
        plan(found, servers.observations())


def test_replicas_that_differ() -> None:
    servers, before = primary_killed(3)
    servers.nodes["s2"].received.add((1, 50))
    servers.nodes["s3"].received.add((1, 60))
    with pytest.raises(PromotionRefused, match="s2 lacks 1 of s3; s3 lacks"):
        planned(servers, before)


def test_one_that_was_opened_by_mistake_is_closed_unless_it_has_something_of_its_own() -> None:
    servers = Servers(3, True)
    servers.nodes["s3"].writable = True
    assert planned(servers, None) == Plan("close s3", (Close("s3"),))
    servers.nodes["s3"].waits = True  # a commit that waits keeps it from being closed
    assert planned(servers, None) == Plan("close s3", (Fence("s3"),))
    servers.write(servers.nodes["s3"], set())
    assert planned(servers, None) is None


def test_a_second_writable_server_that_nobody_follows_is_fenced() -> None:
    servers = Servers(3, True)
    servers.nodes["s3"].writable, servers.nodes["s3"].source = True, None
    assert planned(servers, None) == Plan("close s3", (Fence("s3"),))
    servers.write(servers.nodes["s3"], set())
    assert planned(servers, None) is None


def test_the_primary_forgets_whom_it_followed_where_it_was_promoted() -> None:
    servers, before = primary_killed()
    made = planned(servers, before)
    assert made is not None
    for step in made.steps[: made.steps.index(Open("s2")) + 1]:
        servers.carry_out(step)
    servers.start(servers.nodes["s1"])
    left = planned(servers, before)
    assert left is not None and left.steps == (Forget("s2"), Follow("s1", "s2"))


def test_nobody_follows_or_is_cloned_from_a_replica_that_was_only_opened() -> None:
    servers = Servers(3, True)
    servers.write(servers.nodes["s1"], {"s3"})
    servers.nodes["s2"].writable = True
    servers.kill(servers.nodes["s1"])
    assert planned(servers, None, clone=True) is None
    servers.start(servers.nodes["s1"])
    assert planned(servers, None, clone=True) is None


def test_a_returned_server_follows() -> None:
    servers = Servers(3, True)
    servers.replicate()
    servers.nodes["s3"].source = None
    made = planned(servers, None)
    assert made == Plan("mend s3", (Follow("s3", "s1"),))


def test_a_returned_primary_whose_commits_wait_is_cut_off_first() -> None:
    servers = Servers(3, True)
    servers.nodes["s3"].source = None
    servers.nodes["s3"].waits = True
    made = planned(servers, None)
    assert made is not None
    assert made.steps == (Fence("s3"), Follow("s3", "s1"))


def test_errant_transactions_are_never_followed() -> None:
    servers = Servers(2, False)
    servers.nodes["s2"].source = None
    servers.nodes["s2"].executed.add((2, 5))
    assert planned(servers, None) is None
    made = planned(servers, None, clone=True)
    assert made is not None
    assert made.steps == (Clone("s2", "s1"), Follow("s2", "s1"))


def test_protection_is_turned_on_when_a_replica_is_there() -> None:
    servers = Servers(2, True)
    servers.nodes["s1"].waits = False
    assert planned(servers, None) == Plan("mend s1", (Protect("s1", True),))


def test_all_read_only_after_a_restart() -> None:
    servers = Servers(3, True)
    servers.write(servers.nodes["s1"], {"s2"})
    for node in servers.nodes.values():
        servers.kill(node)
        servers.start(node)
    made = planned(servers, None)
    assert made is not None
    assert made.promotes == "s1"  # the one that the others follow
    servers.kill(servers.nodes["s1"])
    with pytest.raises(PromotionRefused, match="nobody saw whether s1 waited"):
        planned(servers, None)
    servers.start(servers.nodes["s1"])
    servers.kill(servers.nodes["s3"])
    with pytest.raises(PromotionRefused, match="s3 cannot be asked and may have more"):
        planned(servers, None)


def test_nothing_to_be_done() -> None:
    assert planned(Servers(3, True), None) is None
    nobody = [Observation("s1", Reach.REFUSED, "Connection refused")]
    found = diagnose(nobody, {})
    assert found.verdict is Verdict.NO_PRIMARY
    assert plan(found, nobody) is None


# --------------------------------------------------------------------------- switchover


def switched(servers: Servers, to: str | None = None) -> Plan:
    seen = servers.observations()
    return switchover(diagnose(seen, servers.addresses), seen, to)


def test_a_switchover_to_a_replica_by_name() -> None:
    servers = Servers(3, True)
    made = switched(servers, "s3")
    assert made.promotes == "s3"
    for step in made.steps:
        servers.carry_out(step)
    assert [node.name for node in servers.acknowledging()] == ["s3"]
    assert {node.source for node in servers.nodes.values()} == {None, "s3"}
    assert [node.waits for node in servers.nodes.values()] == [False, False, True]


@pytest.mark.parametrize(
    ("to", "reason"),
    [("s9", "there is no server s9; there are s1, s2, s3"), ("s1", "s1 is the primary already"),
     ("s2", "s2 is down"), ("s3", "s3 follows nobody")],
)  # fmt: skip
def test_what_is_in_the_way_of_a_switchover(to: str, reason: str) -> None:
    servers = Servers(3, True)
    servers.kill(servers.nodes["s2"])
    servers.nodes["s3"].source = None
    with pytest.raises(PromotionRefused, match=reason):
        switched(servers, to)


def test_a_switchover_needs_a_primary_and_a_replica() -> None:
    with pytest.raises(PromotionRefused, match="there is no replica"):
        switched(Servers(1, False))
    servers, _ = primary_killed()
    with pytest.raises(PromotionRefused, match="needs a primary that takes writes"):
        switched(servers)


def test_a_replica_that_does_not_know_its_lag() -> None:
    servers = Servers(2, False)
    one, two = servers.observations()
    assert two.link is not None
    seen = [one, replace(two, link=replace(two.link, lag=None))]
    with pytest.raises(PromotionRefused, match="does not know how far behind"):
        switchover(diagnose(seen, servers.addresses), seen)


def test_a_group_elects_by_itself() -> None:
    group = tuple(GroupMember(name, "ONLINE", "PRIMARY" if name == "a" else "SECONDARY") for name in "abc")
    seen = [Observation(f"s{name}", uuid=name, writable=name == "a", group=group) for name in "abc"]
    made = switchover(diagnose(seen, {}), seen, "sb")
    assert made.steps == (Elect("sb"),)
    dead = [Observation("sa", Reach.REFUSED), *(replace(one, writable=False) for one in seen[1:])]
    assert plan(diagnose(dead, {}), dead) is None


# --------------------------------------------------------------------------- no prefix makes two primaries


class Run:
    """Carries a plan out on a model while clients write and servers fail, and looks after every event."""

    def __init__(self, servers: Servers, data: Draw) -> None:
        self.servers = servers
        self.data = data
        self.faults = 0

    def check(self) -> None:
        found = [node.name for node in self.servers.acknowledging()]
        assert len(found) <= 1, f"{found} acknowledge writes"

    def disturb(self) -> None:
        """Clients write, and something may happen to a server."""
        nodes = sorted(self.servers.nodes)
        for name in nodes:
            self.servers.write(self.servers.nodes[name], set(self.data.draw(st.sets(st.sampled_from(nodes)))))
        node = self.servers.nodes[self.data.draw(st.sampled_from(nodes))]
        match self.data.draw(st.sampled_from(["nothing", "nothing", "kill", "stop", "start", "replicate"])):
            case "kill":
                self.servers.kill(node)
                self.faults += 1
            case "stop" if node.alive:
                node.stopped = True
                self.faults += 1
            case "start":
                self.servers.start(node)
            case "replicate":
                self.servers.replicate()
        self.check()

    def carry_out(self, made: Plan) -> bool:
        """As the performer does; whether it came to its end."""
        opening = False
        for step in made.steps:
            self.disturb()
            opening = opening or isinstance(step, Open)
            try:
                if self.data.draw(st.integers(0, 9), label=f"{step} fails") == 9:
                    if self.data.draw(st.booleans(), label="after it was carried out"):
                        self.servers.carry_out(step)
                    raise StepFailed(step)
                self.servers.carry_out(step)
            except StepFailed:
                if not opening:
                    self.undo(made)
                return False
            self.check()
        return True

    def undo(self, made: Plan) -> None:
        for step in made.undo:
            with contextlib.suppress(StepFailed):  # the others are tried all the same
                self.servers.carry_out(step)
            self.check()


@settings(max_examples=400, deadline=None)
@given(st.data(), st.integers(2, 4), st.booleans(), st.sampled_from(["kill", "stop"]), st.booleans())
def test_no_prefix_of_a_failover_makes_two_primaries_or_loses_a_write(
    data: Draw, count: int, semi_sync: bool, how: str, others_fail: bool
) -> None:
    servers = Servers(count, semi_sync)
    run = Run(servers, data)
    first = servers.nodes["s1"]
    for _ in range(data.draw(st.integers(0, 3))):
        servers.write(first, set(data.draw(st.sets(st.sampled_from(sorted(servers.nodes))))))
    before = servers.observe(first)
    if how == "kill":
        servers.kill(first)
    else:
        first.stopped = True
    if others_fail:
        servers.kill(servers.nodes[data.draw(st.sampled_from(sorted(servers.nodes)[1:]))])
    choice: OnPossibleLoss = "abort" if how == "stop" else data.draw(st.sampled_from(["abort", "promote"]))
    try:
        made = planned(servers, before, choice)
    except PromotionRefused:
        return
    if made is None:
        return
    acknowledged = set(servers.acknowledged)
    if run.carry_out(made) and not made.risks and made.promotes:
        new = servers.nodes[made.promotes]
        assert acknowledged <= new.executed
        if run.faults == 0:
            assert servers.acknowledged <= new.executed


@settings(max_examples=400, deadline=None)
@given(st.data(), st.integers(2, 4), st.booleans())
def test_no_prefix_of_a_switchover_makes_two_primaries_or_loses_a_write(
    data: Draw, count: int, semi_sync: bool
) -> None:
    servers = Servers(count, semi_sync)
    run = Run(servers, data)
    seen = servers.observations()
    made = switchover(diagnose(seen, servers.addresses), seen)
    run.carry_out(made)
    if run.faults == 0:
        assert all(servers.acknowledged <= node.executed for node in servers.acknowledging())


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(2, 4), st.booleans())
def test_no_repair_makes_two_primaries(data: Draw, count: int, semi_sync: bool) -> None:
    """Whatever state the servers are in, other than that two take writes already."""
    servers = Servers(count, semi_sync)
    run = Run(servers, data)
    for node in list(servers.nodes.values())[1:]:
        match data.draw(st.sampled_from(["fine", "idle", "restarted", "dead"])):
            case "idle":
                node.source, node.receiving, node.applying = None, False, False
                node.waits = data.draw(st.booleans())
            case "restarted":
                servers.kill(node)
                servers.start(node)
            case "dead":
                servers.kill(node)
    made = planned(servers, None, clone=data.draw(st.booleans()))
    if made is not None:
        run.carry_out(made)


class Watched:
    """The model as one who looks at it all the time sees it, with its operators."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.watch = Watch([Dsn(name).named(name) for name in servers.nodes], 1, 1)
        self.look()

    def look(self) -> None:
        for one in self.servers.observations():
            for _ in range(2 if one.reach is Reach.SILENT else 1):
                self.watch._keep(one)

    def plan(self, before: Observation, clone: bool) -> tuple[Diagnosis, Plan | None]:
        self.look()
        seen = self.watch.observations
        found = diagnose(seen, self.servers.addresses, replaced=self.watch.replaced)
        return found, plan(found, seen, before=before, clone=clone)


EVENTS = ["write", "write", "replicate", "open s2", "detach s2", "open s3", "detach s3", "stop s1", "kill s1",
          "start s1", "stop s2", "start s2", "kill s3", "start s3"]  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(st.data(), st.integers(2, 3), st.booleans(), st.booleans())
def test_whatever_is_opened_by_mistake_costs_no_write_and_not_the_primary(
    data: Draw, count: int, semi_sync: bool, clone: bool
) -> None:
    """Servers fail, operators open replicas; of each plan a part is carried out, with writes in between."""
    servers = Servers(count, semi_sync)
    watched = Watched(servers)
    before = servers.observe(servers.nodes["s1"])
    for _ in range(data.draw(st.integers(1, 8))):
        event, _, name = data.draw(st.sampled_from(EVENTS)).partition(" ")
        happen(servers, event, servers.nodes.get(name), data)
        try:
            found, made = watched.plan(before, clone)
        except PromotionRefused:
            continue
        for step in made.steps[: data.draw(st.integers(0, len(made.steps)))] if made else ():
            acknowledging = servers.acknowledging()
            if found.verdict is Verdict.SPLIT:
                spared(servers, step, watched)
            try:
                servers.carry_out(step)
            except StepFailed:
                break
            if not isinstance(step, Clone):
                assert len(servers.acknowledging()) <= max(1, len(acknowledging)), (step, found)
            happen(servers, "write", None, data)


def happen(servers: Servers, event: str, node: Node | None, data: Draw) -> None:
    if event == "replicate":
        servers.replicate()
    elif event == "write":
        for one in servers.nodes.values():
            servers.write(one, set(data.draw(st.sets(st.sampled_from(sorted(servers.nodes))))))
    elif node is not None and event in ("kill", "start"):
        (servers.kill if event == "kill" else servers.start)(node)
    elif node is not None and node.up and event == "stop":
        node.stopped = True
    elif node is not None and node.up and event == "open":
        node.writable, node.offline = True, False
    elif node is not None and node.up and event == "detach":
        node.receiving = node.applying = False


def spared(servers: Servers, step: Step, watched: Watched) -> None:
    """Closed is nobody from whom an open one replicates, nor one that has what the others lack, unless all
    have seen that it was replaced."""
    assert isinstance(step, Close | Fence)
    closed = servers.nodes[step.server]
    others = [node for node in servers.nodes.values() if node.up and node.writable and node is not closed]
    assert not any(node.source == closed.name and (node.receiving or node.applying) for node in others)
    if closed.name not in watched.watch.replaced:
        seen = {one.name: one for one in watched.watch.observations}
        assert any(
            not (seen[closed.name].received - seen[node.name].executed).sources.keys() - {node.uuid}
            for node in others
        )


def test_the_model_replicates() -> None:
    servers = Servers(2, True)
    servers.write(servers.nodes["s1"], set())
    assert servers.acknowledged == {(1, 1)}
    assert servers.nodes["s2"].executed == set()
    servers.replicate()
    assert servers.nodes["s2"].executed == {(1, 1)}
    assert servers.gtids({(1, 1), (1, 2)}) == GtidSet({servers.nodes["s1"].uuid: [(1, 2)]})
