"""`plan`: from a diagnosis to the steps that mend it, as plain data that can be read before it is run.

No prefix of a plan, whatever fails in it, leaves two servers that acknowledge writes (a model that runs
every prefix with servers failing at every step is in the tests). How that is kept:

* A primary that is alive is closed before another one is opened.
* One that is gone (its port refuses) can come back only by starting anew, and servers start read-only.
* One that is silent may go on at any moment where it was. It cannot be fenced, so it counts as harmless only
  if its commits wait for a replica without an end: the plan's first steps stop every replica from receiving,
  and from then on it acknowledges nothing. Otherwise promoting is a risk that is taken only when told to.

Where several take writes already, one is closed only if it was seen to be replaced while it was away, or has
nothing that the primary lacks. All else is left to people, because both may have acknowledged writes.

No acknowledged write is lost, unless told to take that chance: with semi-synchronous replication at least
one replica has each of them, and the candidate is confirmed to have what all others received after they
stopped receiving. That proves it only while fewer replicas are missing than the primary waited for.

Rejected: fencing by killing processes or machines, which needs rights outside of the database; and choosing
the candidate by what it has carried out, because what is in its relay log was acknowledged, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from lbkit.errors import PromotionRefused
from lbkit.mysql.diagnosis import Diagnosis, Trouble, Verdict
from lbkit.mysql.gtid import GtidSet
from lbkit.mysql.observation import Observation, Reach

__all__ = [
    "Apply",
    "Approach",
    "CatchUp",
    "Clone",
    "Close",
    "Confirm",
    "Detach",
    "Elect",
    "Fence",
    "Follow",
    "Forget",
    "OnPossibleLoss",
    "Open",
    "Plan",
    "Prepare",
    "Protect",
    "Receive",
    "Start",
    "Step",
    "StopReceiving",
    "plan",
    "possible_losses",
    "switchover",
]

OnPossibleLoss: TypeAlias = Literal["abort", "promote"]


@dataclass(frozen=True, slots=True)
class StopReceiving:
    """Stop the thread of replica *server* that receives; what it has stays."""

    server: str


@dataclass(frozen=True, slots=True)
class Receive:
    """Let replica *server* receive and apply again, from where it did; whether its source is there or not."""

    server: str


@dataclass(frozen=True, slots=True)
class Confirm:
    """Look again: *server* has received all that *others* have. Changes nothing."""

    server: str
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Apply:
    """Wait until *server* has carried out all that it received."""

    server: str


@dataclass(frozen=True, slots=True)
class Approach:
    """Wait, but not for ever, until *server* is close behind *source*, which goes on to take writes."""

    server: str
    source: str


@dataclass(frozen=True, slots=True)
class CatchUp:
    """Wait until *server* has carried out all that *source*, which takes no writes any more, has."""

    server: str
    source: str


@dataclass(frozen=True, slots=True)
class Detach:
    """*server* neither receives nor carries out any more; whom it followed is kept."""

    server: str


@dataclass(frozen=True, slots=True)
class Forget:
    """*server* follows nobody any more, also after a restart. Slow, so it is done behind an `Open`."""

    server: str


@dataclass(frozen=True, slots=True)
class Protect:
    """Whether *server*'s commits wait for a replica."""

    server: str
    on: bool


@dataclass(frozen=True, slots=True)
class Close:
    """*server* takes no writes any more; those in progress end first."""

    server: str


@dataclass(frozen=True, slots=True)
class Fence:
    """*server* takes no writes any more, at once: sessions of applications are cut, commits that wait for a
    replica with them, so that nobody hears that these are acknowledged."""

    server: str


@dataclass(frozen=True, slots=True)
class Open:
    """*server* takes writes."""

    server: str


@dataclass(frozen=True, slots=True)
class Follow:
    """*server*, closed for writing, replicates from *source*."""

    server: str
    source: str


@dataclass(frozen=True, slots=True)
class Prepare:
    """*server* will replicate from *source* when it is told to start."""

    server: str
    source: str


@dataclass(frozen=True, slots=True)
class Start:
    """*server*, closed for writing, replicates as it was prepared to."""

    server: str


@dataclass(frozen=True, slots=True)
class Clone:
    """*server*'s data is replaced by that of *source*; it starts anew."""

    server: str
    source: str


@dataclass(frozen=True, slots=True)
class Elect:
    """Ask the group that *server* is a member of to make it the primary."""

    server: str


Step: TypeAlias = (
    StopReceiving
    | Receive
    | Confirm
    | Apply
    | Approach
    | CatchUp
    | Detach
    | Forget
    | Protect
    | Close
    | Fence
    | Open
    | Follow
    | Prepare
    | Start
    | Clone
    | Elect
)


@dataclass(frozen=True, slots=True)
class Plan:
    """*steps* in order; the first that fails ends it.

    *undo* is run when one fails before the first `Open` of *steps*, and never later: an `Open` without an
    answer may have been carried out.
    """

    purpose: str
    steps: tuple[Step, ...] = ()
    undo: tuple[Step, ...] = ()
    promotes: str | None = None
    """The new primary, where there is one."""
    risks: tuple[str, ...] = ()
    """What may be lost, in words; taken only with ``on_possible_loss = "promote"``."""


def plan(
    diagnosis: Diagnosis,
    observations: Sequence[Observation],
    *,
    on_possible_loss: OnPossibleLoss = "abort",
    before: Observation | None = None,
    clone: bool = False,
) -> Plan | None:
    """What mends *diagnosis*; None where nothing is to be done, or only people can.

    *before* is the primary's last answer. *clone*: one with errant transactions is cloned, and not only told.
    Raises PromotionRefused with every reason.
    """
    match diagnosis.verdict:
        case Verdict.PRIMARY_DEAD:
            return _failover(diagnosis, observations, on_possible_loss, before)
        case Verdict.NO_PRIMARY if diagnosis.primary or any(one.answers for one in observations):
            return _reopening(diagnosis, observations, on_possible_loss, before)
        case Verdict.SPLIT if diagnosis.primary:
            return _have_one(diagnosis, observations)
        case Verdict.DEGRADED:
            return _repair(diagnosis, observations, clone)
    return None


def possible_losses(
    primary: str, observations: Sequence[Observation], before: Observation | None
) -> list[str]:
    """Why promoting a replica of a dead *primary* might lose acknowledged writes, or leave two primaries."""
    now = _named(observations, primary)
    if before is None:
        return [f"nobody saw whether {primary} waited for its replicas"]
    risks = []
    semi_sync = before.semi_sync
    waited = semi_sync.waits and semi_sync.endless
    missing = [one.name for one in observations if not one.answers and one.name != primary]
    if not semi_sync.waits:
        risks.append(f"{primary} did not wait for its replicas: its last acknowledged writes may be on none")
    elif not semi_sync.endless:
        risks.append(f"{primary} waited for its replicas only for a time")
    if waited and len(missing) >= semi_sync.replicas:
        gone = ", ".join(missing)
        risks.append(f"{primary} waited for {semi_sync.replicas} of its replicas, and {gone} cannot be asked")
    if now is not None and now.reach is not Reach.REFUSED and not waited:
        risks.append(f"{primary} is only silent: it may come back and take writes")
    return risks


def _failover(
    diagnosis: Diagnosis,
    observations: Sequence[Observation],
    on_possible_loss: OnPossibleLoss,
    before: Observation | None,
) -> Plan:
    old = str(diagnosis.primary)
    risks = possible_losses(old, observations, before)
    answering = [one for one in observations if one.answers]
    able = [one for one in answering if one.link and not _own_errant(one, observations, before)]
    aside = _aside(old, observations, before)
    candidate = _most_advanced(able, answering, aside)
    if risks and on_possible_loss == "abort":
        raise PromotionRefused(
            f"{candidate.name} is not promoted: {'; '.join(risks)}"
            ' (on_possible_loss = "promote" takes that chance)'
        )
    receivers = [one.name for one in observations if one.answers and one.link]
    steps = _take_over(candidate, observations, receivers, aside)
    undo = tuple(Receive(name) for name in receivers)
    return Plan(f"failover from {old} to {candidate.name}", tuple(steps), undo, candidate.name, tuple(risks))


def _reopening(
    diagnosis: Diagnosis,
    observations: Sequence[Observation],
    on_possible_loss: OnPossibleLoss,
    before: Observation | None,
) -> Plan:
    """All are read-only: the most advanced one is opened, the former primary where it is."""
    answering = [one for one in observations if one.answers]
    missing = [one.name for one in observations if not one.answers]
    first = sorted(answering, key=lambda one: one.name != diagnosis.primary)
    aside = _aside(str(diagnosis.primary), observations, before)
    candidate = _most_advanced([one for one in first if one.name not in aside], answering, aside)
    risks = [f"{', '.join(missing)} cannot be asked and may have more"] if missing else []
    if risks and on_possible_loss == "abort":
        raise PromotionRefused(
            f'{candidate.name} is not opened: {risks[0]} (on_possible_loss = "promote" takes that chance)'
        )
    receivers = [one.name for one in answering if one.link and candidate.name != diagnosis.primary]
    steps = _take_over(candidate, observations, receivers, aside)
    undo = tuple(Receive(name) for name in receivers)
    return Plan(f"open {candidate.name} for writing", tuple(steps), undo, candidate.name, tuple(risks))


def _take_over(
    candidate: Observation,
    observations: Sequence[Observation],
    receivers: Sequence[str],
    aside: Mapping[str, GtidSet],
) -> Iterable[Step]:
    """Nobody receives any more; then *candidate*, which has everything, is opened and the others follow."""
    others = [one for one in observations if one.answers and one is not candidate]
    yield from (StopReceiving(name) for name in receivers)
    if confirmed := tuple(one.name for one in others if one.name not in aside):
        yield Confirm(candidate.name, confirmed)
    if candidate.link:
        yield Apply(candidate.name)
        yield Detach(candidate.name)
    # With nobody to acknowledge, every write would wait for ever; with somebody none may be ahead of it.
    yield Protect(candidate.name, any(one.semi_sync.acknowledges and one.link for one in others))
    yield Open(candidate.name)
    if candidate.link:
        yield Forget(candidate.name)
    for one in others:
        if one.name in receivers and not _own_errant(one, observations, candidate):
            yield Follow(one.name, candidate.name)


def _aside(
    primary: str, observations: Sequence[Observation], before: Observation | None
) -> dict[str, GtidSet]:
    """Who was replaced by *primary* and came back with transactions of its own, and which these are: they
    were told and given up then. Only where *before* tells that *primary* was the last one to take writes; and
    nobody who replicates, because that may have acknowledged something since."""
    if before is None:
        return {}
    return {
        one.name: own
        for one in observations
        if one.answers and one.name != primary and not (one.link and one.link.at_work)
        if (own := _own_errant(one, observations, before))
    }


def _most_advanced(
    able: Sequence[Observation], all_: Sequence[Observation], aside: Mapping[str, GtidSet]
) -> Observation:
    """The first that has received all that *all_* have, but for what is *aside*. Raises PromotionRefused."""
    if not able:
        raise PromotionRefused("there is no replica that could be promoted")
    all_ = [replace(one, received=one.received - aside.get(one.name, GtidSet())) for one in all_]
    complete = [one for one in able if all(other.received <= one.received for other in all_)]
    if not complete:
        raise PromotionRefused(f"no server has all that the others have: {_differences(able, all_)}")
    return min(complete, key=lambda one: (one.received - one.executed).count)


def _differences(able: Sequence[Observation], all_: Sequence[Observation]) -> str:
    return "; ".join(
        f"{one.name} lacks {(other.received - one.received).count} of {other.name}"
        for one in able
        for other in all_
        if not other.received <= one.received
    )


def _own_errant(
    one: Observation, observations: Sequence[Observation], before: Observation | None
) -> GtidSet | None:
    """What *one* wrote itself and nobody else has; None where nothing."""
    known = before.received if before else None
    for other in observations:
        if other is not one and other.answers:
            known = other.received if known is None else known | other.received
    if known is None:
        return None
    own = {source: runs for source, runs in one.received.sources.items() if _wrote(one, source)}
    return (GtidSet(own) - known) or None


def _wrote(one: Observation, source: str) -> bool:
    if one.is_mariadb:
        return source.rpartition("-")[2] == one.uuid
    return source.partition(":")[0] == one.uuid


def _have_one(diagnosis: Diagnosis, observations: Sequence[Observation]) -> Plan | None:
    """Close those that are not the primary. One that was not seen to be replaced only where it has nothing
    that the primary lacks: what it has acknowledged would else be missing."""
    steps: list[Step] = []
    for finding in diagnosis.findings:
        one = _named(observations, finding.server)
        if one is None or (finding.errant and finding.trouble is not Trouble.REPLACED):
            continue
        # Commits that wait keep a server from being closed.
        closes = finding.trouble is Trouble.MISTAKEN and not one.semi_sync.waits
        steps.append(Close(finding.server) if closes else Fence(finding.server))
    if not steps:
        return None
    return Plan(f"close {', '.join(step.server for step in steps)}", tuple(steps))


def _repair(diagnosis: Diagnosis, observations: Sequence[Observation], clone: bool) -> Plan | None:
    primary = str(diagnosis.primary)
    steps: list[Step] = []
    if _has(diagnosis, primary, Trouble.REPLICATES):
        new = _named(observations, primary)
        if new is None or new.link is None or new.link.at_work or not new.received <= new.executed:
            # Opened without being promoted: the others may have more, and must not give it up for that.
            return None
        steps.append(Forget(primary))
    for finding in diagnosis.findings:
        one = _named(observations, finding.server)
        match finding.trouble:
            case Trouble.IDLE | Trouble.STRAY | Trouble.STOPPED:
                if one is not None and one.semi_sync.waits:
                    # Commits may wait there: to let them end would acknowledge them.
                    steps.append(Fence(finding.server))
                steps.append(Follow(finding.server, primary))
            case Trouble.ERRANT if clone and one is not None and not one.is_mariadb:
                steps += [Clone(finding.server, primary), Follow(finding.server, primary)]
            case Trouble.UNPROTECTED:
                steps.append(Protect(primary, True))
    if not steps:
        return None
    names = ", ".join(dict.fromkeys(step.server for step in steps))
    return Plan(f"mend {names}", tuple(steps))


def switchover(diagnosis: Diagnosis, observations: Sequence[Observation], to: str | None = None) -> Plan:
    """The planned way: close the primary, let *to* (or the most advanced replica) catch up, swap.

    Raises PromotionRefused with everything that is in the way.
    """
    if diagnosis.verdict not in (Verdict.HEALTHY, Verdict.DEGRADED) or diagnosis.primary is None:
        raise PromotionRefused(f"a planned switchover needs a primary that takes writes: {diagnosis.reason}")
    if to == diagnosis.primary:
        raise PromotionRefused(f"{to} is the primary already")
    if to is not None and not any(one.name == to for one in observations):
        known = ", ".join(one.name for one in observations)
        raise PromotionRefused(f"there is no server {to}; there are {known}")
    asked = [one for one in observations if one.name != diagnosis.primary and to in (None, one.name)]
    able = [one for one in asked if not _blockers(one, diagnosis)]
    if not able:
        reasons = [reason for one in asked for reason in _blockers(one, diagnosis)]
        raise PromotionRefused("; ".join(reasons) or "there is no replica")
    primary = _named(observations, diagnosis.primary)
    assert primary is not None
    candidate = min(able, key=lambda one: (primary.executed - one.executed).count)
    if candidate.group:
        return Plan(f"switchover to {candidate.name}", (Elect(candidate.name),), (), candidate.name)
    return _swap(primary, candidate, diagnosis, observations)


def _swap(
    old: Observation, new: Observation, diagnosis: Diagnosis, observations: Sequence[Observation]
) -> Plan:
    protect = old.semi_sync.waits
    others = [
        one
        for one in observations
        if one.answers and one not in (old, new) and not _has(diagnosis, one.name, Trouble.ERRANT)
    ]
    # What takes long and can be done while the old primary still takes writes is done first.
    steps: list[Step] = [Prepare(old.name, new.name), Approach(new.name, old.name), Close(old.name)]
    steps += [CatchUp(new.name, old.name), Detach(new.name)]
    if protect:
        # The old primary follows before the new one is opened: then its first write is waited for, too. Its
        # own source side goes off last, because that takes MySQL a second: it receives all the same.
        start = Start(old.name)
        steps += [start, Protect(new.name, True), Open(new.name), Protect(old.name, False)]
    else:
        steps += [Open(new.name), Start(old.name)]
    steps.append(Forget(new.name))
    steps += [Follow(one.name, new.name) for one in others]
    undo: list[Step] = [Protect(new.name, False), Forget(old.name), Follow(new.name, old.name)]
    if protect:
        undo.append(Protect(old.name, True))
    undo.append(Open(old.name))
    return Plan(f"switchover from {old.name} to {new.name}", tuple(steps), tuple(undo), new.name)


def _blockers(one: Observation, diagnosis: Diagnosis) -> list[str]:
    """Why *one* cannot be the next primary of a switchover."""
    found = [finding.text for finding in diagnosis.of(one.name)]
    if not found and one.link is not None and one.link.lag is None:
        found = [f"{one.name} does not know how far behind it is"]
    return found


def _has(diagnosis: Diagnosis, server: str, trouble: Trouble) -> bool:
    return any(finding.trouble is trouble for finding in diagnosis.of(server))


def _named(observations: Sequence[Observation], name: str) -> Observation | None:
    return next((one for one in observations if one.name == name), None)
