from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from lbkit.mysql.diagnosis import Diagnosis, Trouble, Verdict, diagnose
from lbkit.mysql.gtid import GtidSet
from lbkit.mysql.observation import GroupMember, Observation, Reach
from tests.support.replication import Servers


def diagnosed(servers: Servers, before: str | None = None) -> Diagnosis:
    return diagnose(servers.observations(), servers.addresses, primary_before=before)


def test_healthy() -> None:
    found = diagnosed(Servers(3, True))
    assert found.healthy
    assert (found.primary, found.reason, found.to_do) == ("s1", "s1 takes writes", "")


def dead(servers: Servers) -> None:
    servers.kill(servers.nodes["s1"])


def cut_off_from_us(servers: Servers) -> None:
    """We cannot reach it; its replicas can."""
    observe = servers.observe

    def seen(node: object) -> Observation:
        one = observe(node)  # type: ignore[arg-type]  # the model's own
        return Observation("s1", Reach.SILENT, "silent for 1 s") if one.name == "s1" else one

    servers.observe = seen  # type: ignore[assignment, method-assign]  # as a network does it


def all_dead(servers: Servers) -> None:
    for node in servers.nodes.values():
        servers.kill(node)


def two_open(servers: Servers) -> None:
    servers.nodes["s3"].writable = True


def all_closed(servers: Servers) -> None:
    servers.nodes["s1"].writable = False


def lives_but_is_full(servers: Servers) -> None:
    dead(servers)
    observe = servers.observe

    def seen(node: object) -> Observation:
        one = observe(node)  # type: ignore[arg-type]  # the model's own
        return replace(one, reach=Reach.DENIED, reason="Too many connections") if not one.answers else one

    servers.observe = seen  # type: ignore[assignment, method-assign]  # as a full server does it


@pytest.mark.parametrize(
    ("happens", "verdict", "primary", "reason"),
    [
        (
            dead,
            Verdict.PRIMARY_DEAD,
            "s1",
            "s1 cannot be reached (Connection refused), and s2, s3 lost it too",
        ),
        (cut_off_from_us, Verdict.PRIMARY_UNREACHABLE, "s1", "but s2, s3 still replicate from it"),
        (lives_but_is_full, Verdict.PRIMARY_UNREACHABLE, "s1", "(Too many connections), but it lives"),
        (all_dead, Verdict.PRIMARY_UNREACHABLE, "s1", "no replica either"),
        (two_open, Verdict.SPLIT, "s1", "s1 and s3 take writes at the same time"),
        (all_closed, Verdict.NO_PRIMARY, "s1", "no server takes writes: s1 is read-only"),
    ],
)
def test_verdicts(happens: Callable[[Servers], None], verdict: Verdict, primary: str, reason: str) -> None:
    servers = Servers(3, True)
    happens(servers)
    found = diagnosed(servers, "s1")
    assert (found.verdict, found.primary) == (verdict, primary)
    assert reason in found.reason
    assert found.to_do


def opened(server: str = "s2", count: int = 2, detached: bool = False) -> Servers:
    """Somebody opens a replica while the primary is well."""
    servers = Servers(count, False)
    servers.write(servers.nodes["s1"], set(servers.nodes))
    servers.replicate()
    servers.nodes[server].writable = True
    if detached:
        servers.nodes[server].receiving = servers.nodes[server].applying = False
    return servers


def split(servers: Servers, *replaced: str) -> Diagnosis:
    found = diagnose(servers.observations(), servers.addresses, primary_before="s2", replaced=replaced)
    assert found.verdict is Verdict.SPLIT
    return found


def test_one_that_still_replicates_was_opened_by_mistake() -> None:
    servers = opened()
    found = split(servers)
    assert found.primary == "s1"
    assert found.reason == (
        "s1 and s2 take writes at the same time; s2 was opened although it replicates from s1; "
        "s1 has all that it has"
    )
    assert found.to_do == "SET GLOBAL read_only=ON, GLOBAL super_read_only=ON on s2"
    assert split(servers, "s1").primary == "s1"  # whatever was seen before
    servers.nodes["s2"].receiving = False  # it looks for its source, or its applier runs
    assert split(servers).primary == split(servers, "s1").primary == "s1"


def test_what_was_written_there_is_named_with_what_to_do_about_it() -> None:
    servers = opened()
    servers.write(servers.nodes["s2"], set())
    (finding,) = split(servers).findings
    assert (finding.trouble, finding.errant and finding.errant.count) == (Trouble.MISTAKEN, 1)
    assert "it has 1 transactions that s1 lacks: 00000002-" in finding.text
    assert "SET GLOBAL read_only=ON, GLOBAL super_read_only=ON on s2, then look at them" in finding.cure
    assert "clone s2 from s1" in finding.cure


def test_two_that_were_both_there_and_follow_nobody_are_left_in_doubt() -> None:
    found = split(opened(detached=True))
    assert found.primary is None
    assert "nothing is changed" in found.to_do
    assert (
        "(SET GLOBAL read_only=ON, GLOBAL super_read_only=ON on s1, or SET GLOBAL read_only=ON, GLOBAL super_read_only=ON on s2)"
        in found.to_do
    )


def test_two_that_follow_one_another_are_left_in_doubt() -> None:
    servers = opened()
    servers.nodes["s1"].source, servers.nodes["s1"].receiving = "s2", True
    found = split(servers)
    assert found.primary is None
    assert {finding.trouble for finding in found.findings} == {Trouble.MISTAKEN}


def test_one_that_was_replaced_while_it_was_away() -> None:
    servers = opened(count=3, detached=True)
    servers.write(servers.nodes["s1"], set())
    servers.nodes["s3"].source = "s2"
    found = split(servers, "s1")
    assert found.primary == "s2"
    assert [finding.trouble for finding in found.findings] == [Trouble.REPLACED]
    servers.nodes["s3"].source = "s1"  # somebody still gets its writes: it may acknowledge more of them
    assert split(servers, "s1").primary is None
    servers.nodes["s3"].receiving = False
    assert split(servers, "s1").primary == "s2"


def test_of_two_the_one_is_meant_that_somebody_follows() -> None:
    servers = opened(count=3, detached=True)
    found = split(servers)
    assert found.primary == "s1"
    assert [finding.trouble for finding in found.findings] == [Trouble.RIVAL]
    assert "nobody follows it" in found.reason
    assert split(servers, "s3").primary == "s1"  # that was another one


def test_a_primary_that_still_has_a_source() -> None:
    servers = opened()
    servers.kill(servers.nodes["s1"])
    found = diagnosed(servers)
    assert found.primary == "s2"
    (finding,) = found.of("s2")
    assert finding.trouble is Trouble.REPLICATES
    assert "STOP REPLICA; RESET REPLICA ALL on s2, once it has all that s1 has" in found.to_do


def test_a_primary_that_nobody_follows_is_not_dead_for_that() -> None:
    servers = Servers(2, True)
    servers.nodes["s2"].source = None
    dead(servers)
    found = diagnosed(servers, "s1")
    assert found.verdict is Verdict.PRIMARY_UNREACHABLE
    assert "no server that answers follows it" in found.reason
    assert diagnosed(servers).verdict is Verdict.NO_PRIMARY


def stray(servers: Servers) -> None:
    servers.nodes["s3"].source = "s2"


def behind(servers: Servers) -> None:
    observe = servers.observe

    def seen(node: object) -> Observation:
        one = observe(node)  # type: ignore[arg-type]  # the model's own
        return replace(one, link=replace(one.link, lag=60.0)) if one.link and one.name == "s3" else one

    servers.observe = seen  # type: ignore[assignment, method-assign]  # as a slow replica does it


def set_on(name: str, **values: object) -> Callable[[Servers], None]:
    def change(servers: Servers) -> None:
        for key, value in values.items():
            setattr(servers.nodes[name], key, value)

    return change


@pytest.mark.parametrize(
    ("happens", "server", "trouble", "text"),
    [
        (
            lambda servers: servers.kill(servers.nodes["s3"]),
            "s3",
            Trouble.DOWN,
            "s3 is down: Connection refused",
        ),
        (set_on("s3", source=None), "s3", Trouble.IDLE, "s3 follows nobody"),
        (stray, "s3", Trouble.STRAY, "s3 follows s2"),
        (set_on("s3", applying=False), "s3", Trouble.BROKEN, "its applier is stopped"),
        (set_on("s3", receiving=False), "s3", Trouble.STOPPED, "it is not connected"),
        (
            set_on("s3", executed={(3, 1)}),
            "s3",
            Trouble.ERRANT,
            "s3 has 1 transactions that s1 lacks: 00000003-",
        ),
        (set_on("s3", offline=True), "s3", Trouble.OFFLINE, "s3 is offline"),
        (set_on("s1", offline=True), "s1", Trouble.OFFLINE, "s1 is offline"),
        (behind, "s3", Trouble.LAGGING, "s3 is 60 s behind"),
        (set_on("s1", waits=False), "s1", Trouble.UNPROTECTED, "before a replica has them"),
    ],
)
def test_findings(happens: Callable[[Servers], None], server: str, trouble: Trouble, text: str) -> None:
    servers = Servers(3, True)
    happens(servers)
    found = diagnosed(servers)
    assert found.verdict is Verdict.DEGRADED
    (finding,) = found.of(server)
    assert finding.trouble is trouble
    assert text in finding.text
    assert text in found.reason


def test_writes_that_wait_for_a_replica() -> None:
    servers = Servers(2, True)
    servers.kill(servers.nodes["s2"])
    (finding,) = diagnosed(servers).of("s1")
    assert finding.trouble is Trouble.WAITING
    assert "writes on s1 wait" in finding.text


def test_what_has_just_come_from_the_primary_is_not_errant() -> None:
    """The look at the replica may be later than that at the primary."""
    servers = Servers(2, True)
    servers.nodes["s2"].received.add((1, 9))
    assert diagnosed(servers).healthy


def test_mariadb_names_its_servers_by_number() -> None:
    one = Observation("a", is_mariadb=True, uuid="1", writable=True, executed=GtidSet.parse("0-1-7"))
    link = Servers(2, False).observations()[1].link
    assert link is not None
    addresses = {"a": link.source}
    two = Observation("b", is_mariadb=True, uuid="2", link=replace(link), received=GtidSet.parse("0-1-9"))
    assert diagnose([one, two], addresses).healthy
    errant = replace(two, received=GtidSet.parse("0-1-7,0-2-8"))
    found = diagnose([one, errant], addresses)
    assert [item.trouble for item in found.findings] == [Trouble.ERRANT]
    assert "b has 8 transactions that a lacks: 0-2-1 to 8" in found.reason
    for order in (
        "mariadb-binlog on b",
        "carry over to a",
        "make b anew",
        "mariadb-backup of a",
        "gtid_slave_pos",
    ):
        assert order in found.to_do


def test_a_long_list_of_transactions_is_cut() -> None:
    servers = Servers(2, False)
    servers.nodes["s2"].executed = {(2, 2 * n) for n in range(1, 200)}
    (finding,) = diagnosed(servers).of("s2")
    assert finding.text.endswith("…")
    assert len(finding.text) < 300
    assert finding.errant is not None
    assert finding.errant.count == 199


def group(*states: str) -> tuple[GroupMember, ...]:
    return tuple(
        GroupMember(name, state, "PRIMARY" if name == "a" else "SECONDARY")
        for name, state in zip("abc", states, strict=False)
    )


def test_a_group_is_only_followed() -> None:
    whole = group("ONLINE", "ONLINE", "ONLINE")
    seen = [Observation(name, uuid=name, writable=name == "a", group=whole) for name in "abc"]
    assert diagnose(seen, {}).healthy
    minority = group("ONLINE", "UNREACHABLE", "UNREACHABLE")
    majority = group("UNREACHABLE", "ONLINE", "ONLINE")
    cut = [replace(seen[0], group=minority), *(replace(one, group=majority) for one in seen[1:])]
    found = diagnose(cut, {})
    assert found.verdict is Verdict.GROUP  # its own consensus elects another one
    assert [finding.trouble for finding in found.of("a")] == [Trouble.MINORITY]
    elected = [cut[0], replace(cut[1], writable=True), Observation("c", Reach.REFUSED, "Connection refused")]
    found = diagnose(elected, {})
    assert (found.verdict, found.primary) == (Verdict.DEGRADED, "b")
    assert {finding.trouble for finding in found.findings} == {Trouble.MINORITY, Trouble.DOWN}
