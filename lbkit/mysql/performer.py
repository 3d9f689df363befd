"""`Performer`: carries out the steps of a plan on the servers.

Each step has a time limit. One whose connection was lost before an answer came is tried once more, because
every step may be carried out twice; one that was refused or took too long is not, because the plan was made
for servers that do what they are asked. What is done is said in the log, one line a step.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lbkit.errors import ConnectFailed, ConnectionLost, LbkitError, PromotionRefused, QueryFailed
from lbkit.mysql.dialect import Statement, dialect_of
from lbkit.mysql.driver import Connection, connect
from lbkit.mysql.dsn import Dsn
from lbkit.mysql.gtid import GtidSet
from lbkit.mysql.observation import Observation
from lbkit.mysql.plan import (
    Apply,
    Approach,
    CatchUp,
    Clone,
    Close,
    Confirm,
    Detach,
    Elect,
    Fence,
    Follow,
    Forget,
    Open,
    Plan,
    Prepare,
    Protect,
    Receive,
    Start,
    Step,
    StopReceiving,
)
from lbkit.mysql.probe import look
from lbkit.server import Address

__all__ = ["Performer", "StepLimits", "step_text"]

log = logging.getLogger("lbkit.mysql")

QUIET, QUIET_LOOKS = 0.02, 50  # seconds between two looks at what sessions do, and how many
NEAR = 0.02  # seconds behind
POLL = 0.005  # seconds between two looks at how far a server is
UNKNOWN_VARIABLE = 1193  # the plugin is not there, so there is nothing to be switched off
GONE_TO_CLONE = 3707  # the clone is complete; the server ended and whoever supervises it starts it again


@dataclass(frozen=True, slots=True)
class StepLimits:
    """Longest times in seconds."""

    step: float = 5.0
    """For a step that only has to be told to a server."""
    apply: float = 60.0
    """For carrying out the relay log before a replica is promoted."""
    approach: float = 3.0
    """For a moment to come in which the new primary is close behind, in a planned switchover."""
    close: float = 2.0
    """For writes in progress to end, and for the new primary to catch up, in a planned switchover."""
    clone: float = 600.0
    """For copying all data and starting anew."""


@dataclass(slots=True)
class Performer:
    """Runs plans on *dsns*, by name; *addresses* is where replicas follow a server, with *account*.

    *may_go_on* is asked before each step. ``async with`` closes its connections.
    """

    dsns: Mapping[str, Dsn]
    addresses: Mapping[str, Address]
    account: tuple[str, str] = field(repr=False)
    limits: StepLimits = field(default_factory=StepLimits)
    may_go_on: Callable[[], bool] = lambda: True
    opening: bool = False
    """Whether an `Open` was begun: its server may be the primary by now."""
    _held: dict[str, Connection] = field(default_factory=dict)
    _features: dict[str, Any] = field(default_factory=dict)

    async def __aenter__(self) -> Performer:
        return self

    async def __aexit__(self, *_: object) -> None:
        held, self._held = self._held, {}
        await asyncio.gather(*(connection.close() for connection in held.values()))

    async def perform(self, plan: Plan) -> None:
        """Carry out *plan*. Raises PromotionRefused with the step that failed, after undoing what can be.

        When cancelled it undoes, too.
        """
        self.opening = False
        for number, step in enumerate(plan.steps, 1):
            if not self.may_go_on():
                raise PromotionRefused(f"{plan.purpose}: given up before {step_text(step)}: the lock is lost")
            self.opening = self.opening or isinstance(step, Open)
            log.info("%s: %s (%d of %d)", plan.purpose, step_text(step), number, len(plan.steps))
            try:
                await self._try(step)
            except (LbkitError, TimeoutError) as error:
                why = str(error) or "not in time"
                if plan.undo and not self.opening:
                    await self._undo(plan)
                raise PromotionRefused(f"{plan.purpose}: could not {step_text(step)}: {why}") from None
            except asyncio.CancelledError:
                # A Ctrl-C in the middle of a switchover must not leave all of them closed.
                if plan.undo and not self.opening:
                    await self._undo(plan)
                raise

    async def _undo(self, plan: Plan) -> None:
        """Each step whatever became of the others: the last one opens the old primary again."""
        for step in plan.undo:
            log.warning("%s failed, undoing: %s", plan.purpose, step_text(step))
            try:
                await self._try(step)
            except (LbkitError, TimeoutError) as error:
                log.error("could not %s: %s", step_text(step), str(error) or "not in time")

    async def _try(self, step: Step) -> None:
        held = self._held.get(step.server)
        try:
            async with asyncio.timeout(self._limit(step)):
                try:
                    await self._do(step)
                except ConnectionLost:
                    await self._do(step)
        except (TimeoutError, asyncio.CancelledError):
            await self._abandon(step.server, self._held.get(step.server) or held)
            raise

    async def _abandon(self, server: str, held: Connection | None) -> None:
        """Have the server give up what took too long: it would be carried out in the end, after an undo."""
        self._drop(server)
        if held is None:
            return
        try:
            async with asyncio.timeout(self.limits.step):
                await self._run(server, f"KILL CONNECTION {held.id}")
        except (LbkitError, TimeoutError) as error:
            log.debug("%s: connection %d was not killed: %s", server, held.id, error)

    def _limit(self, step: Step) -> float:
        match step:
            case Apply():
                return self.limits.apply
            case Approach():
                return self.limits.approach + self.limits.step
            case Close() | CatchUp():
                return self.limits.close
            case Clone():
                return self.limits.clone
        return self.limits.step

    async def _do(self, step: Step) -> None:
        server = step.server
        words = dialect_of((await self._connection(server)).is_mariadb)
        match step:
            case StopReceiving():
                await self._run(server, words.stop_receiving)
            case Receive():
                await self._run(server, words.start_replication)
            case Confirm(others=others):
                await self._confirm(server, others)
            case Apply():
                received = (await self._look(server)).received
                await self._until(server, partial(_has, received))
            case Approach(source=source):
                await self._approach(server, source)
            case CatchUp(source=source):
                executed = (await self._look(source)).executed
                await self._until(server, partial(_caught_up, executed))
            case Detach():
                await self._run(server, words.detach)
            case Forget():
                await self._run(server, words.detach, words.forget)
            case Protect(on=on):
                await self._protect(server, on)
            case Close():
                await self._run(server, words.close)
            case Fence():
                await self._fence(server)
            case Open():
                await self._run(server, *words.open)
            case Follow(source=source):
                await self._follow(server, source)
            case Prepare(source=source):
                await self._run(server, words.prepare(*self._link(source)))
            case Start():
                await self._run(server, *words.start)
                await self._until(server, _is_connected)
            case Clone(source=source):
                await self._clone(server, source)
            case Elect():
                uuid = (await self._look(server)).uuid
                await self._run(server, ("SELECT group_replication_set_as_primary(%s)", (uuid,)))

    async def _confirm(self, server: str, others: tuple[str, ...]) -> None:
        """All of them must answer: one that is gone may have acknowledged something since the plan began."""
        received = (await self._look(server)).received
        for other in others:
            theirs = (await self._look(other)).received
            if not theirs <= received:
                lacks = (theirs - received).count
                raise PromotionRefused(f"{other} has {lacks} transactions that {server} lacks")

    async def _approach(self, server: str, source: str) -> None:
        """As far as a replica is behind, so long would nobody take writes: wait for a good moment."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self.limits.approach
        while loop.time() < until:
            executed = (await self._look(source)).executed
            asked = loop.time()
            try:
                async with asyncio.timeout_at(until):
                    await self._until(server, partial(_caught_up, executed))
            except TimeoutError:
                self._drop(server)
                break
            if loop.time() - asked <= NEAR:
                return
        log.info("%s does not come close to %s; going on all the same", server, source)

    async def _protect(self, server: str, on: bool) -> None:
        words = dialect_of((await self._connection(server)).is_mariadb)
        try:
            await self._run(server, words.protect(on))
        except QueryFailed as error:
            if on or error.code != UNKNOWN_VARIABLE:
                raise

    async def _fence(self, server: str) -> None:
        """Cut applications off, then close.

        Commits that wait for a replica keep a server from being closed, and nothing ends them but switching
        the waiting off, which acknowledges them. So that comes when nobody is left to hear it, and nobody
        new can come: closing is begun before, and while it waits it keeps new writes waiting, too.
        """
        words = dialect_of((await self._connection(server)).is_mariadb)
        if words.shut_out:
            await self._run(server, words.shut_out)
        closer = await connect(self.dsns[server], self.limits.step)
        closing = asyncio.ensure_future(closer.execute(words.close))
        try:
            await self._until_begun(server, closer.id, closing)
            await self._cut_sessions(server, words.sessions)
            await self._protect(server, False)
            await closing
        finally:
            closing.cancel()
            await asyncio.gather(closing, return_exceptions=True)
            await closer.close()
        await self._cut_sessions(server, words.sessions)

    async def _until_begun(self, server: str, id_: int, statement: asyncio.Future[Any]) -> None:
        """Wait until session *id_* is at its statement, or has done with it."""
        query = f"SELECT 1 FROM information_schema.processlist WHERE id = {id_} AND info LIKE 'SET GLOBAL%'"
        while True:
            if statement.done() or await self._fetch(server, query):
                return
            await asyncio.sleep(POLL)

    async def _cut_sessions(self, server: str, query: str) -> None:
        """Cut all sessions, those whose commits wait for a replica last.

        To cut one ends its wait on MariaDB, and with it that of all commits of its group: they must be deaf
        by then. So nothing is cut before everybody has come to wait for something.
        """
        await self._until_quiet(server, query)
        for row in await self._fetch(server, query):
            if "semi-sync" not in str(row["state"]):
                await self._kill(server, int(row["id"]))
        for row in await self._fetch(server, query):
            await self._kill(server, int(row["id"]))

    async def _until_quiet(self, server: str, query: str) -> None:
        """Until no session changes its state any more, for a second at most."""
        before: Any = None
        for _ in range(QUIET_LOOKS):
            now = sorted((row["id"], row["state"]) for row in await self._fetch(server, query))
            if now == before:
                return
            before = now
            await asyncio.sleep(QUIET)

    async def _kill(self, server: str, id_: int) -> None:
        try:
            await self._run(server, f"KILL CONNECTION {id_}")
        except QueryFailed as error:
            log.debug("%s: session %d had ended: %s", server, id_, error)

    async def _follow(self, server: str, source: str) -> None:
        words = dialect_of((await self._connection(server)).is_mariadb)
        await self._run(server, *words.follow(*self._link(source)))
        await self._until(server, _is_connected)

    async def _clone(self, server: str, source: str) -> None:
        words = dialect_of((await self._connection(server)).is_mariadb)
        try:
            statements = words.clone(*self._link(source))
        except ValueError as error:
            raise PromotionRefused(str(error)) from None
        try:
            await self._run(server, *statements)
        except ConnectionLost:
            pass  # the server ends itself when the clone is complete
        except QueryFailed as error:
            if error.code != GONE_TO_CLONE:
                await self._run(server, words.close)
                raise
        self._drop(server)
        while True:
            try:
                await self._look(server)
                return
            except (ConnectFailed, ConnectionLost):
                await asyncio.sleep(POLL * 20)

    def _link(self, source: str) -> tuple[Address, str, str, bool]:
        """How *source* is followed: by TLS where that is how it is to be reached."""
        return self.addresses[source], *self.account, self.dsns[source].tls != "off"

    async def _until(self, server: str, done: Callable[[Observation], bool]) -> None:
        while True:
            if done(await self._look(server)):
                return
            await asyncio.sleep(POLL)

    async def _look(self, server: str) -> Observation:
        connection = await self._connection(server)
        try:
            return await look(connection, self._features[server])
        except ValueError as error:
            raise PromotionRefused(f"{server}: {error}") from None

    async def _run(self, server: str, *statements: str | Statement) -> None:
        for statement in statements:
            sql, args = (statement, None) if isinstance(statement, str) else statement
            await (await self._connection(server)).execute(sql, args)

    async def _fetch(self, server: str, sql: str) -> Any:
        return await (await self._connection(server)).fetch(sql)

    async def _connection(self, server: str) -> Connection:
        held = self._held.get(server)
        if held is None or held.closed:
            self._drop(server)
            held = self._held[server] = await connect(self.dsns[server], self.limits.step)
            self._features[server] = await held.fetch(dialect_of(held.is_mariadb).features)
        return held

    def _drop(self, server: str) -> None:
        if held := self._held.pop(server, None):
            held.drop()


def _has(transactions: GtidSet, seen: Observation) -> bool:
    return transactions <= seen.executed


def _caught_up(executed: GtidSet, seen: Observation) -> bool:
    """Whether a replica has carried out what its source had, *executed*, and which it gets in order.

    A MariaDB that was made from a backup knows only the last server of each domain, and not those that wrote
    before.
    """
    lacking = (executed - seen.executed).sources
    if not lacking or not seen.is_mariadb:
        return not lacking
    last: dict[str, int] = {}
    for source, runs in executed.sources.items():
        domain = source.partition("-")[0]
        last[domain] = max(last.get(domain, 0), runs[-1][1])
    return all(
        source not in seen.executed.sources and runs[-1][1] < last[source.partition("-")[0]]
        for source, runs in lacking.items()
    )


def _is_connected(seen: Observation) -> bool:
    return seen.link is not None and seen.link.connected


def step_text(step: Step) -> str:
    """A step as an order, for logs and people."""
    name = step.server
    match step:
        case StopReceiving():
            return f"stop receiving on {name}"
        case Receive():
            return f"let {name} receive again"
        case Confirm():
            return f"confirm that {name} has all that the others have"
        case Apply():
            return f"wait until {name} has carried out what it received"
        case Approach():
            return f"wait until {name} is close behind {step.source}"
        case CatchUp():
            return f"wait until {name} has all that {step.source} has"
        case Detach():
            return f"stop replication on {name}"
        case Forget():
            return f"make {name} follow nobody"
        case Protect():
            return f"{'let' if step.on else 'do not let'} commits on {name} wait for a replica"
        case Close():
            return f"close {name} for writing"
        case Fence():
            return f"fence {name}"
        case Open():
            return f"open {name} for writing"
        case Follow():
            return f"let {name} follow {step.source}"
        case Prepare():
            return f"tell {name} to follow {step.source} later"
        case Start():
            return f"start replication on {name}"
        case Clone():
            return f"clone {name} from {step.source}"
        case Elect():
            return f"ask the group to make {name} its primary"
