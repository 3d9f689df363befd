"""`Failover`: watches a database's servers and, where it may, does what their diagnosis asks for.

One round: look, diagnose, plan, and if there is a plan take the lock, look and plan again under it, and carry
it out. Rounds follow every change that the watch sees, so that the time of a failover is that of its steps.
A primary that only this process cannot reach is asked for through its replicas: one that hangs keeps its
connections, so their receiving threads are told to connect again (orchestrator's emergency restart), and then
they know.

What only people can decide is said once in the log and shown by `status`: PromotionRefused has the reasons.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from lbkit.errors import ConfigError, LbkitError, PromotionRefused
from lbkit.mysql.diagnosis import Diagnosis, Verdict, diagnose
from lbkit.mysql.dialect import dialect_of
from lbkit.mysql.driver import connect, password_of
from lbkit.mysql.dsn import Dsn
from lbkit.mysql.failover_lock import FailoverLock, LockState
from lbkit.mysql.majority_lock import MajorityLock
from lbkit.mysql.observation import Observation
from lbkit.mysql.performer import Performer, StepLimits
from lbkit.mysql.plan import OnPossibleLoss, Plan, plan, switchover
from lbkit.mysql.watch import Watch
from lbkit.server import Address

__all__ = ["Failover", "FailoverOptions"]

log = logging.getLogger("lbkit.mysql")

ASK_AGAIN = 5.0  # seconds between two times that replicas are told to connect again
REPAIR_AGAIN = 5.0  # seconds after a repair that failed
YOUNG = 0.25  # seconds before a state is told that most often passes by itself, or asked about
PASSING = (Verdict.PRIMARY_UNREACHABLE, Verdict.NO_PRIMARY, Verdict.SPLIT)
LOOK_AT_LOCK = 5.0  # seconds between two looks at a lock that is not on the servers
SOON = 0.05  # seconds to the next look while it is being found out whether a primary is dead


@dataclass(frozen=True, slots=True)
class FailoverOptions:
    """Times in seconds. The defaults notice a killed primary at once and a silent one within 3 s."""

    interval: float = 0.5
    """Between two looks at a server; what ends or refuses connections is seen at once."""
    timeout: float = 1.0
    """Longest time for one look; two silent ones in a row make a server silent."""
    auto: bool = True
    """Whether it acts; else it only watches and tells."""
    on_possible_loss: OnPossibleLoss = "abort"
    """What to do where a failover might lose acknowledged writes, or leave a silent primary that may come
    back. "abort" leaves it to people."""
    recovery_block: float = 60.0
    """After a failover no second one is begun for so long: what comes back that soon is more than a dead
    server (orchestrator: an hour). A planned switchover is not counted."""
    settle: float = 1.0
    """A state without any primary lasts this long before one is opened, because a switchover passes through
    it."""
    clone: bool = False
    """Whether a server with errant transactions is replaced by a clone of the primary (MySQL)."""
    max_lag: float = 10.0
    """A replica further behind is told as a finding, and is no candidate of a switchover."""
    limits: StepLimits = field(default_factory=StepLimits)


class Failover:
    """``async with Failover(dsns)``: watches, and acts with ``options.auto``.

    *dsns*: accounts that may see and change replication (MySQL: REPLICATION CLIENT, REPLICATION_SLAVE_ADMIN,
    SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN, REPLICATION SLAVE, and with `clone` CLONE_ADMIN and
    BACKUP_ADMIN). Applications need another one: to fence a server cuts all sessions but those of this one.
    *replication*: user and password with which replicas log in; None is those of the DSNs. *addresses*: where
    replicas follow a server, where that is not the address of its DSN. *lock* lets one of several that watch
    the same servers act: by default one on the servers (`MajorityLock`); see `lbkit.mysql.etcd_lock`, too.
    """

    def __init__(
        self,
        dsns: Sequence[Dsn],
        options: FailoverOptions | None = None,
        *,
        name: str = "main",
        replication: tuple[str, str] | None = None,
        addresses: Mapping[str, Address] | None = None,
        lock: FailoverLock | None = None,
    ) -> None:
        if not dsns:
            raise ConfigError("servers: at least one database server is needed")
        self.name = name
        self.options = options or FailoverOptions()
        self.promotions = 0
        self.warnings: list[str] = []
        """What `look` found that would hinder a failover."""
        self.refusal = ""
        """Why the last plan was not carried out; "" when there was nothing to refuse."""
        # Without a database its sessions are told from those of applications that use its account.
        self._dsns = {dsn.name: replace(dsn, database="") for dsn in dsns}
        if len(self._dsns) != len(dsns):
            raise ConfigError("servers: two servers have the same name")
        self._addresses = {**{dsn.name: dsn.address for dsn in dsns}, **(addresses or {})}
        self._replication = replication
        self._watch = Watch(self.dsns, self.options.interval, self.options.timeout)
        self._lock: FailoverLock = lock or MajorityLock(self._dsns, self.options.timeout)
        self._lock_state: LockState | None = None
        self._primary: str | None = None
        self._diagnosis: Diagnosis | None = None
        self._since = 0.0
        self._promoted_at: float | None = None
        self._asked_at: float | None = None
        self._failed = ("", 0.0)  # what could not be carried out, and when that is due again
        self._acting = asyncio.Lock()
        self._told: tuple[Verdict, str] | None = None
        self._task: asyncio.Task[None] | None = None
        self._lock_task: asyncio.Task[None] | None = None
        self._stopped = False

    async def __aenter__(self) -> Failover:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Look at all servers once, and go on in the background."""
        self._stopped = False
        try:
            await self._watch.start()
        except BaseException:
            await self._watch.stop()
            raise
        self._task = asyncio.create_task(self._run())
        if self._lock.apart:
            self._lock_task = asyncio.create_task(self._watch_lock())
        self._diagnose()

    async def stop(self) -> None:
        """Stop watching. A plan at work is given up, and undone unless it may have opened a server; that of a
        `switch` goes on where its steps have begun, and is refused where they have not."""
        self._stopped = True
        tasks = [task for task in (self._task, self._lock_task) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._watch.stop()

    async def look(self) -> Diagnosis:
        """One look at all servers without `start`, for a command."""
        seen = await self._watch.look_once()
        found = await asyncio.gather(*(self._shared_account(one) for one in seen if one.answers))
        self.warnings = [text for text in found if text]
        return self._diagnose()

    async def look_at_lock(self) -> LockState:
        """Whether it could act now, and who acts; changes nothing."""
        primary = self._diagnosis.primary if self._diagnosis else None
        before = self._lock_state
        found = await self._lock.look({one.name for one in self.observations if one.answers}, primary)
        self._lock_state = found
        if self._lock_task and found.obstacle and not (before and before.obstacle):
            log.warning("%s: no failover until the lock can be taken: %s", self.name, found.obstacle)
        elif before and before.obstacle and not found.obstacle:
            log.info("%s: the lock can be taken again", self.name)
        return found

    @property
    def lock_state(self) -> LockState | None:
        """What `look_at_lock` found last; None before it."""
        return self._lock_state

    @property
    def diagnosis(self) -> Diagnosis:
        """As of the last look; RuntimeError before the first."""
        if self._diagnosis is None:
            raise RuntimeError("nothing was looked at yet")
        return self._diagnosis

    @property
    def dsns(self) -> list[Dsn]:
        """The servers, in the given order."""
        return list(self._dsns.values())

    @property
    def _account(self) -> tuple[str, str]:
        """With what replicas log in. Raises ConnectFailed where its password is not where the DSN says."""
        first = self.dsns[0]
        return self._replication or (first.user, password_of(first))

    @property
    def observations(self) -> list[Observation]:
        """What was seen last of each server."""
        return self._watch.observations

    async def switch(self, to: str | None = None, on_possible_loss: OnPossibleLoss | None = None) -> Plan:
        """Make *to*, or the best replica, the primary: planned where the present one lives.

        Returns the plan that was carried out. Raises PromotionRefused with what is in the way.
        """
        diagnosis = self._diagnose()
        refusal = await self._locked(diagnosis, lambda: self._switch_plan(to, on_possible_loss))
        if isinstance(refusal, str):
            raise PromotionRefused(refusal)
        return refusal

    def planned(self, to: str | None = None) -> Plan:
        """What `switch` would do now, without doing it."""
        return self._switch_plan(to, None)

    def status(self) -> dict[str, Any]:
        """Plain data for a status page and for JSON."""
        diagnosis = self._diagnosis
        servers = [_server_status(one, self._addresses[one.name], diagnosis) for one in self.observations]
        return {
            "name": self.name,
            "failover": "auto" if self.options.auto else "off",
            "verdict": diagnosis.verdict.value if diagnosis else "unknown",
            "healthy": bool(diagnosis and diagnosis.healthy),
            "primary": diagnosis.primary if diagnosis else None,
            "reason": diagnosis.reason if diagnosis else "",
            "to_do": diagnosis.to_do if diagnosis else "",
            "refusal": self.refusal,
            "lock": self._lock_state.as_data() if self._lock_state else None,
            "warnings": self.warnings,
            "promotions": self.promotions,
            "servers": servers,
        }

    async def _watch_lock(self) -> None:
        """That nobody could act is told before somebody must."""
        while True:
            await self.look_at_lock()
            await asyncio.sleep(LOOK_AT_LOCK)

    # ------------------------------------------------------------------------------------ rounds

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            async with self._acting:
                pass  # `switch` is at it: what is seen meanwhile is no diagnosis
            self._watch.changed.clear()
            diagnosis = self._diagnose()
            wait = self.options.interval
            try:
                if self.options.auto and await self._round(diagnosis, loop.time()):
                    wait = 0.0
            except PromotionRefused as error:
                self._refuse(str(error))
            except LbkitError as error:
                log.warning("%s: %s", self.name, error)
            except Exception:
                log.exception("%s: a fault of lbkit; the servers are looked at again", self.name)
            if diagnosis.verdict is Verdict.PRIMARY_UNREACHABLE:
                wait = SOON
                self._watch.wake()
            with contextlib.suppress(TimeoutError):  # then it is time for a round all the same
                async with asyncio.timeout(wait):
                    await self._watch.changed.wait()

    async def _round(self, diagnosis: Diagnosis, now: float) -> bool:
        """Do what the diagnosis asks for; whether something was done."""
        if diagnosis.verdict is Verdict.PRIMARY_UNREACHABLE:
            await self._ask_again(diagnosis, now)
            return False
        if diagnosis.verdict is Verdict.NO_PRIMARY and now - self._since < self.options.settle:
            return False
        wanted = self._plan()
        if wanted is None:
            self.refusal = ""
            return False
        self._check_flapping(wanted, now)
        purpose, due = self._failed
        if not wanted.promotes and wanted.purpose == purpose and now < due:
            return False
        self._failed = wanted.purpose, now + REPAIR_AGAIN
        outcome = await self._locked(diagnosis, self._plan)
        self._failed = ("", 0.0)
        if isinstance(outcome, str):
            self._refuse(outcome)
            return False
        self.refusal = ""
        if outcome.promotes:
            self.promotions += 1
            self._promoted_at = asyncio.get_running_loop().time()
        return True

    def _check_flapping(self, wanted: Plan, now: float) -> None:
        last = self._promoted_at
        if wanted.promotes and last is not None and now - last < self.options.recovery_block:
            ago = now - last
            raise PromotionRefused(
                f"{wanted.purpose}: the last one was {ago:.0f} s ago, "
                f"and a second within {self.options.recovery_block:g} s is left to people"
            )

    def _diagnose(self) -> Diagnosis:
        found = diagnose(
            self.observations,
            self._addresses,
            primary_before=self._primary,
            max_lag=self.options.max_lag,
            replaced=self._watch.replaced,
            heard=self._watch.heard,
        )
        before, self._diagnosis = self._diagnosis, found
        if found.verdict in (Verdict.HEALTHY, Verdict.DEGRADED):
            self._primary = found.primary
        if before is None or before.verdict is not found.verdict:
            self._since = asyncio.get_running_loop().time()
        self._tell(found)
        return found

    def _tell(self, found: Diagnosis) -> None:
        """Say it once, and nothing of what a death or somebody else's switchover looks like in between."""
        if self._task is None or self._acting.locked() or (found.verdict, found.reason) == self._told:
            return
        young = asyncio.get_running_loop().time() - self._since < YOUNG
        if found.verdict in PASSING and young and self._told is not None:
            return
        self._told = found.verdict, found.reason
        level = logging.INFO if found.healthy else logging.WARNING
        to_do = f"; to do: {found.to_do}" if found.to_do else ""
        log.log(level, "%s is %s: %s%s", self.name, found.verdict.value, found.reason, to_do)

    def _plan(self) -> Plan | None:
        diagnosis = self._diagnose()
        return plan(
            diagnosis,
            self.observations,
            on_possible_loss=self.options.on_possible_loss,
            before=self._before(diagnosis),
            clone=self.options.clone,
        )

    def _before(self, diagnosis: Diagnosis) -> Observation | None:
        """What the primary said when it took writes the last time, if it was the last to do so."""
        if diagnosis.primary is None or self._primary != diagnosis.primary:
            return None
        return self._watch.last_writable.get(diagnosis.primary)

    def _switch_plan(self, to: str | None, on_possible_loss: OnPossibleLoss | None) -> Plan:
        diagnosis = self._diagnose()
        if diagnosis.verdict in (Verdict.HEALTHY, Verdict.DEGRADED):
            return switchover(diagnosis, self.observations, to)
        made = plan(
            diagnosis,
            self.observations,
            on_possible_loss=on_possible_loss or self.options.on_possible_loss,
            before=self._before(diagnosis),
        )
        if made is None or not made.promotes:
            to_do = f"; to do: {diagnosis.to_do}" if diagnosis.to_do else ""
            raise PromotionRefused(f"{diagnosis.verdict.value}: {diagnosis.reason}{to_do}")
        if to not in (None, made.promotes):
            raise PromotionRefused(f"{to} is not the most advanced one; {made.promotes} is")
        return made

    async def _locked(self, diagnosis: Diagnosis, make: Any) -> Plan | str:
        """Under the lock look and plan again, and carry it out; a text when there was no leave to."""
        async with self._acting:
            done = await self._act(diagnosis, make)
        self._diagnose()
        return done

    async def _act(self, diagnosis: Diagnosis, make: Any) -> Plan | str:
        lock = self._lock
        answering = {one.name for one in self.observations if one.answers}
        if reason := await lock.take(answering, diagnosis.primary):
            return reason
        try:
            await (self._watch.look_again() if self._task else self._watch.look_once())
            if self._stopped:
                raise PromotionRefused(f"{self.name} is no longer watched")
            made: Plan | None = make()
            if made is None:
                return ""
            performer = Performer(
                self._dsns, self._addresses, self._account, self.options.limits, lambda: lock.held
            )
            if self._diagnosis and self._diagnosis.verdict is Verdict.SPLIT:
                log.warning("%s: %s", self.name, self._diagnosis.reason)
            if made.risks:
                log.warning("%s, although %s", made.purpose, "; ".join(made.risks))
            away = self._watch.away
            try:
                async with performer:
                    await performer.perform(made)
            finally:
                if made.promotes and performer.opening:
                    # Also where a later step failed: who is away now is the primary no more.
                    self._primary = made.promotes
                    self._watch.replaced |= away - {made.promotes}
            log.info("%s: done", made.purpose)
            await (self._watch.look_again() if self._task else self._watch.look_once())
            return made
        finally:
            await lock.release()

    def _refuse(self, reason: str) -> None:
        # Seconds in it go by; all else that is new is told.
        if reason and _without_numbers(reason) != _without_numbers(self.refusal):
            log.warning("%s: %s", self.name, reason)
        self.refusal = reason

    async def _ask_again(self, diagnosis: Diagnosis, now: float) -> None:
        """Have replicas of a primary that is silent here connect anew, so that they find out, too."""
        if self._asked_at is not None and now - self._asked_at < ASK_AGAIN:
            return
        if now - self._since < YOUNG:
            return  # a replica sees by itself that a connection ended
        primary = next((one for one in self.observations if one.name == diagnosis.primary), None)
        connected = [one for one in self.observations if one.answers and one.link and one.link.connected]
        if primary is None or primary.answers or not connected:
            return
        self._asked_at = now
        for one in connected:
            log.info("%s: %s connects to %s again, to see if it lives", self.name, one.name, primary.name)
            await self._connect_again(one)
        self._watch.wake()

    async def _shared_account(self, one: Observation) -> str:
        """That others use lbkit's account on a server, in words; "" where none do, or where it can't tell."""
        try:
            async with asyncio.timeout(self.options.timeout):
                connection = await connect(self._dsns[one.name], self.options.timeout)
                try:
                    (row,) = await connection.fetch(dialect_of(one.is_mariadb).strangers)
                finally:
                    connection.drop()
        except (LbkitError, TimeoutError):
            return ""
        if not row["sessions"]:
            return ""
        user = self._dsns[one.name].user
        return (
            f"lbkit's own account {user} has {row['sessions']} other sessions on {one.name}: to fence it "
            "would not cut them; give applications an account of their own"
        )

    async def _connect_again(self, one: Observation) -> None:
        words = dialect_of(one.is_mariadb)
        try:
            async with asyncio.timeout(self.options.limits.step):
                connection = await connect(self._dsns[one.name], self.options.timeout)
                try:
                    await connection.execute(words.stop_receiving)
                    await connection.execute(words.start_receiving)
                finally:
                    connection.drop()
        except (LbkitError, TimeoutError) as error:
            log.warning("%s: %s", one.name, str(error) or "not in time")


def _without_numbers(text: str) -> str:
    return "".join(letter for letter in text if not letter.isdigit())


def _server_status(one: Observation, address: Address, diagnosis: Diagnosis | None) -> dict[str, Any]:
    link = one.link
    return {
        "name": one.name,
        "address": str(address),
        "role": ("primary" if one.writable and one.in_majority else "replica") if one.answers else "unknown",
        "reach": one.reach.value,
        "reason": one.reason,
        "writable": one.writable,
        "offline": one.offline,
        "lag": one.lag,
        "source": str(link.source) if link else None,
        "replicating": link.running if link else None,
        "error": link.error if link else "",
        "executed": str(one.executed),
        "semi_sync": {"waits": one.semi_sync.waits, "acknowledges": one.semi_sync.acknowledges},
        "findings": [finding.text for finding in diagnosis.of(one.name)] if diagnosis else [],
    }
