"""`diagnose`: what is the matter with a set of servers, as a value, before anybody does anything.

Pure. The primary is dead only if it cannot be reached *and* none of the replicas that can be asked is
connected to it any more (orchestrator's rule): what only we cannot reach is our own network's trouble.
Who the primary is when it does not answer is told by its replicas, which keep its address, and else by who
it was when it last answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from lbkit.mysql.dialect import dialect_of
from lbkit.mysql.gtid import GtidSet
from lbkit.mysql.observation import Observation, Reach
from lbkit.server import Address

__all__ = ["Diagnosis", "Finding", "Trouble", "Verdict", "diagnose", "foreign"]

SHOWN = 200  # characters of a set of transactions that a message shows


class Verdict(Enum):
    """About the primary."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """The primary takes writes; something is wrong elsewhere, see the findings."""
    PRIMARY_DEAD = "primary dead"
    PRIMARY_UNREACHABLE = "primary unreachable"
    """Its replicas still replicate, or nobody is left to ask."""
    NO_PRIMARY = "no primary"
    SPLIT = "split roles"
    GROUP = "group without a primary"
    """Group Replication elects one by itself, or waits for its majority."""


class Trouble(Enum):
    """With one server that is not the primary, or with how the primary is protected."""

    DOWN = "down"
    IDLE = "follows nobody"
    STRAY = "follows another server"
    BROKEN = "replication broken"
    STOPPED = "receives nothing"
    """Without an error: somebody stopped it, such as a failover that was not carried through."""
    LAGGING = "too far behind"
    ERRANT = "errant transactions"
    OFFLINE = "offline"
    REPLACED = "replaced while it was away"
    """A former primary that takes writes again."""
    MISTAKEN = "open by mistake"
    """It takes writes although it still replicates from the primary, as nothing that was promoted does."""
    RIVAL = "a second one that takes writes"
    """Promoted or opened by mistake: who knows."""
    REPLICATES = "primary replicates"
    """From one of its own servers, or would if it were told to."""
    UNPROTECTED = "primary does not wait for replicas"
    WAITING = "primary waits for a replica"
    MINORITY = "outside of the group's majority"


@dataclass(frozen=True, slots=True)
class Finding:
    """*server* has *trouble*; `text` tells it, `cure` what is to be done."""

    server: str
    trouble: Trouble
    text: str
    cure: str = ""
    errant: GtidSet | None = None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`verdict` with its `reason` in words, what is `to_do`, and what else was found."""

    verdict: Verdict
    primary: str | None
    reason: str
    to_do: str = ""
    findings: tuple[Finding, ...] = ()

    @property
    def healthy(self) -> bool:
        return self.verdict is Verdict.HEALTHY

    def of(self, server: str) -> list[Finding]:
        """What was found on *server*."""
        return [finding for finding in self.findings if finding.server == server]


def diagnose(
    observations: Sequence[Observation],
    addresses: Mapping[str, Address],
    *,
    primary_before: str | None = None,
    max_lag: float = 10.0,
    replaced: Collection[str] = (),
    heard: Mapping[str, Observation] | None = None,
) -> Diagnosis:
    """*addresses* says by name where replicas follow a server; *max_lag* in seconds is "too far behind".

    *replaced* and *heard*: see `lbkit.mysql.watch.Watch`.
    """
    by_name = {one.name: one for one in observations}
    names = {address: name for name, address in addresses.items()}
    writable = [one for one in observations if one.answers and one.writable and one.in_majority]
    if any(one.group for one in observations if one.answers):
        return _group(observations, writable)
    if len(writable) > 1:
        return _split(writable, observations, names, replaced)
    if writable:
        successor = (heard or {}).get(primary_before or "")
        if successor and writable[0].name in replaced and foreign(successor.received, writable[0]):
            return _outdated(writable[0], successor)
        findings = tuple(_findings(writable[0], observations, names, max_lag))
        return _with_primary(writable[0], findings)
    followed = _followed(observations, names)
    primary = by_name.get(followed or primary_before or "")
    if primary is None or primary.answers:
        return _without(primary, observations)
    return _unreachable(primary, observations, names)


def _with_primary(primary: Observation, findings: tuple[Finding, ...]) -> Diagnosis:
    if not findings:
        return Diagnosis(Verdict.HEALTHY, primary.name, f"{primary.name} takes writes")
    reason = "; ".join(finding.text for finding in findings)
    cures = "; ".join(dict.fromkeys(finding.cure for finding in findings if finding.cure))
    return Diagnosis(Verdict.DEGRADED, primary.name, reason, cures, findings)


def _outdated(one: Observation, successor: Observation) -> Diagnosis:
    """The only one that takes writes was replaced while it was away, and its successor has gone since then.
    To go on from where it stood still would lose what was written there, and keep that from coming back."""
    text = (
        f"{one.name} was replaced by {successor.name} while it was away, and lacks "
        f"{foreign(successor.received, one).count} transactions of it; {successor.name} takes no writes now"
    )
    close = f"{dialect_of(one.is_mariadb).close} on {one.name}"
    finding = Finding(one.name, Trouble.REPLACED, text, f"{close}, and bring {successor.name} back")
    return Diagnosis(Verdict.SPLIT, successor.name, text, finding.cure, (finding,))


def _split(
    writable: Sequence[Observation],
    observations: Sequence[Observation],
    names: Mapping[Address, str],
    replaced: Collection[str],
) -> Diagnosis:
    """Who of several that take writes is meant, and what each of the others is; None where that is in doubt.

    Nothing that was promoted replicates from its predecessor: a promotion stops that before it opens. So one
    that follows another one of them was opened by mistake, and that other one is meant. Else the one that
    took the place of all others while they were away, unless somebody follows one of these still; else the
    one that somebody follows.
    """
    by_name = {one.name: one for one in writable}
    sources = {one.name: _source(one, names) for one in observations}
    mistaken = [one for one in writable if sources[one.name] in by_name]
    rest = [one for one in writable if one not in mistaken]
    followed = {sources[one.name] for one in observations if one.link and one.link.connected}
    meant = by_name.get(_meant([one.name for one in rest], followed, replaced) or "")
    findings = []
    for one in writable:
        if one is not meant:
            trouble = Trouble.MISTAKEN if one in mistaken else Trouble.RIVAL
            if meant is not None and one in rest and one.name in replaced:
                trouble = Trouble.REPLACED
            findings.append(_of_open(one, trouble, meant, writable))
    reason = f"{' and '.join(by_name)} take writes at the same time"
    texts = "; ".join([reason, *(finding.text for finding in findings)])
    if meant is not None:
        to_do = "; ".join(finding.cure for finding in findings)
        return Diagnosis(Verdict.SPLIT, meant.name, texts, to_do, tuple(findings))
    to_do = (
        "who is meant to is in doubt, and nothing is changed: close one of them, because what both take "
        f"must be put together by hand ({', or '.join(finding.cure for finding in findings)})"
    )
    return Diagnosis(Verdict.SPLIT, None, texts, to_do, tuple(findings))


def _meant(rest: Sequence[str], followed: Collection[str | None], replaced: Collection[str]) -> str | None:
    """Who of *rest*, none of which replicates from another one of them, is the primary."""
    if len(rest) == 1:
        return rest[0]
    new = [name for name in rest if name not in replaced]
    with_followers = [name for name in rest if name in followed]
    if len(new) == 1 and with_followers in ([], new):
        return new[0]
    if len(new) == len(rest) and len(with_followers) == 1:
        return with_followers[0]
    return None


def _of_open(
    one: Observation, trouble: Trouble, meant: Observation | None, writable: Sequence[Observation]
) -> Finding:
    """What one that takes writes and is not known to be the primary is, and what is to be done."""
    others = [other for other in writable if other is not one] if meant is None else [meant]
    names = ", ".join(other.name for other in others)
    own = one.received
    for other in others:
        own = foreign(own, other)
    if trouble is Trouble.MISTAKEN:
        text = f"{one.name} was opened although it replicates from {names}"
    elif trouble is Trouble.REPLACED:
        text = f"{one.name} was replaced by {names} while it was away, and does not know it"
    else:
        text = f"{one.name} was promoted or opened by mistake" + "; nobody follows it" * (meant is not None)
    cure = f"{dialect_of(one.is_mariadb).close} on {one.name}"
    if not own:
        return Finding(one.name, trouble, f"{text}; {names} has all that it has", cure)
    text += f"; it has {own.count} transactions that {names} lacks: {_shown(own)}"
    if meant is not None:
        cure += f", then {_after_closing(one, meant)}"
    return Finding(one.name, trouble, text, cure, own)


def _source(one: Observation, names: Mapping[Address, str]) -> str | None:
    """Whom *one* replicates from, or is at least looking for."""
    if not one.answers or one.link is None or not one.link.at_work:
        return None
    return names.get(one.link.source)


def _followed(observations: Sequence[Observation], names: Mapping[Address, str]) -> str | None:
    """Whom most of the servers that answer have as their source."""
    votes = Counter(
        names[one.link.source]
        for one in observations
        if one.answers and one.link and one.link.source in names
    )
    return votes.most_common(1)[0][0] if votes else None


def _without(primary: Observation | None, observations: Sequence[Observation]) -> Diagnosis:
    name = primary.name if primary else None
    if primary is None and not any(one.answers for one in observations):
        reason = "no server answers: " + ", ".join(f"{one.name} {one.reason}" for one in observations)
        return Diagnosis(Verdict.NO_PRIMARY, None, reason, "start the servers, or mend the way to them")
    why = f"{name} is read-only" if primary else "nobody follows anybody"
    return Diagnosis(
        Verdict.NO_PRIMARY, name, f"no server takes writes: {why}", "open the most advanced one for writing"
    )


def _unreachable(
    primary: Observation, observations: Sequence[Observation], names: Mapping[Address, str]
) -> Diagnosis:
    replicas = [
        one for one in observations if one.answers and one.link and names.get(one.link.source) == primary.name
    ]
    connected = [one.name for one in replicas if one.link and one.link.connected]
    how = f"{primary.name} cannot be reached ({primary.reason or primary.reach.value})"
    if connected:
        reason = f"{how}, but {', '.join(connected)} still replicate from it"
        to_do = "nothing: it may be only the way from here; its replicas are asked again"
        return Diagnosis(Verdict.PRIMARY_UNREACHABLE, primary.name, reason, to_do)
    if primary.reach is Reach.DENIED:
        return Diagnosis(
            Verdict.PRIMARY_UNREACHABLE, primary.name, f"{how}, but it lives", "let lbkit's account in"
        )
    if not replicas and not any(one.answers for one in observations):
        return Diagnosis(
            Verdict.PRIMARY_UNREACHABLE, primary.name, f"{how}, and no replica either", "look at the network"
        )
    if not replicas:
        # Nobody's own link says that it is gone; whoever answers followed nobody.
        reason = f"{how}, and no server that answers follows it"
        to_do = "bring it back, or promote by hand"
        return Diagnosis(Verdict.PRIMARY_UNREACHABLE, primary.name, reason, to_do)
    reason = f"{how}, and {', '.join(one.name for one in replicas)} lost it too"
    return Diagnosis(Verdict.PRIMARY_DEAD, primary.name, reason, "promote a replica")


def _group(observations: Sequence[Observation], writable: Sequence[Observation]) -> Diagnosis:
    findings = []
    for one in observations:
        if not one.answers:
            findings.append(Finding(one.name, Trouble.DOWN, f"{one.name} is down: {one.reason}", "start it"))
        elif not one.in_majority:
            text = f"{one.name} is outside of the group's majority"
            cure = f"START GROUP_REPLICATION on {one.name}"
            findings.append(Finding(one.name, Trouble.MINORITY, text, cure))
    if writable:
        return _with_primary(writable[0], tuple(findings))
    return Diagnosis(
        Verdict.GROUP,
        None,
        "the group has no primary that can be seen",
        "nothing: MySQL elects one while more than half of the members are there",
        tuple(findings),
    )


def _findings(
    primary: Observation, observations: Sequence[Observation], names: Mapping[Address, str], max_lag: float
) -> list[Finding]:
    found: list[Finding] = []
    for one in observations:
        if one is not primary:
            found += _of_replica(one, primary, names, max_lag)
    if primary.link is not None and (source := names.get(primary.link.source)) is not None:
        text = f"{primary.name} takes writes and still has {source} as its source"
        forget = "; ".join((dialect_of(primary.is_mariadb).detach, dialect_of(primary.is_mariadb).forget))
        cure = f"{forget} on {primary.name}, once it has all that {source} has, if it is to stay the primary"
        found.append(Finding(primary.name, Trouble.REPLICATES, text, cure))
    if primary.offline:
        text = f"{primary.name} is offline: it lets no application in"
        found.append(Finding(primary.name, Trouble.OFFLINE, text, "SET GLOBAL offline_mode=OFF"))
    following = [
        one
        for one in observations
        if one.answers
        and one.semi_sync.acknowledges
        and one.link is not None
        and one.link.connected
        and names.get(one.link.source) == primary.name
    ]
    if following and not primary.semi_sync.waits:
        text = f"{primary.name} acknowledges writes before a replica has them"
        found.append(Finding(primary.name, Trouble.UNPROTECTED, text, "turn its semi-sync source side on"))
    if primary.semi_sync.waits and primary.semi_sync.clients < primary.semi_sync.replicas:
        text = f"writes on {primary.name} wait: {primary.semi_sync.clients} replicas acknowledge"
        found.append(Finding(primary.name, Trouble.WAITING, text, "bring a replica back"))
    return found


def _of_replica(
    one: Observation, primary: Observation, names: Mapping[Address, str], max_lag: float
) -> list[Finding]:
    if not one.answers:
        return [Finding(one.name, Trouble.DOWN, f"{one.name} is down: {one.reason}", f"start {one.name}")]
    if errant := foreign(one.received, primary):
        text = f"{one.name} has {errant.count} transactions that {primary.name} lacks: {_shown(errant)}"
        return [Finding(one.name, Trouble.ERRANT, text, _after_closing(one, primary), errant)]
    if one.link is None:
        text = f"{one.name} follows nobody"
        return [Finding(one.name, Trouble.IDLE, text, f"let it follow {primary.name}")]
    source = names.get(one.link.source)
    if source != primary.name:
        text = f"{one.name} follows {source or one.link.source}"
        return [Finding(one.name, Trouble.STRAY, text, f"let it follow {primary.name}")]
    if not one.link.connected and not one.link.error:
        text = f"{one.name} does not replicate: it is not connected"
        return [Finding(one.name, Trouble.STOPPED, text, f"let it follow {primary.name}")]
    if not one.link.running:
        what = one.link.error or "its applier is stopped"
        text = f"{one.name} does not replicate: {what}"
        return [Finding(one.name, Trouble.BROKEN, text, f"mend replication on {one.name}, or clone it")]
    if one.offline:
        text = f"{one.name} is offline: it lets no application in"
        return [Finding(one.name, Trouble.OFFLINE, text, "SET GLOBAL offline_mode=OFF")]
    if one.link.lag is not None and one.link.lag > max_lag:
        text = f"{one.name} is {one.link.lag:g} s behind"
        return [Finding(one.name, Trouble.LAGGING, text, "wait, or find what slows it down")]
    return []


def foreign(received: GtidSet, primary: Observation) -> GtidSet:
    """What of *received* the primary lacks, and did not write itself."""
    # Its answer may be older than the other one's, so what just came from it is not foreign.
    lacking = (received - primary.executed).sources
    return GtidSet({source: runs for source, runs in lacking.items() if not _is_own(source, primary)})


def _after_closing(one: Observation, primary: Observation) -> str:
    """What people do about transactions that only *one* has."""
    if one.is_mariadb:
        return (
            f"look at them (mariadb-binlog on {one.name}), carry over to {primary.name} what is needed, then "
            f"make {one.name} anew, because MariaDB cannot clone: mariadb-backup of {primary.name}, started "
            "read-only, SET GLOBAL gtid_slave_pos to the backup's position; then lbkit lets it follow"
        )
    return (
        f"look at them (mysqlbinlog --include-gtids on {one.name}), carry over to {primary.name} what is "
        f"needed, then clone {one.name} from {primary.name}: clone = true has lbkit do that"
    )


def _is_own(source: str, primary: Observation) -> bool:
    """Whether *source* is the primary itself: what it wrote itself is never errant."""
    if primary.is_mariadb:
        return source.rpartition("-")[2] == primary.uuid
    return source.partition(":")[0] == primary.uuid


def _shown(found: GtidSet) -> str:
    text = str(found)
    if found.is_mariadb:
        # MariaDB's way names the last one only.
        text = ",".join(
            f"{source}-{first}" + (f" to {last}" if last > first else "")
            for source, runs in sorted(found.sources.items())
            for first, last in runs
        )
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
