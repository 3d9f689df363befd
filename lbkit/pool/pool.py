"""`Pool`: interchangeable servers, what is known of each, and the balancer that picks among them.

Pure: it decides and counts; the shells connect, check and report back, live or in virtual time.

The candidates are worked out when something changes (health, weight, membership) and handed to the
balancer, so that a pick looks at none of that. That costs as much as there are servers: who has many
changes at a time makes them `together`. Servers at their connection limit change too often for it;
they are kept in a set that `acquire` and `release` maintain and that goes to the pick as excluded. Whoever
finds all of them full may wait: a server that frees up goes to the first in line at once, so that newcomers
never overtake.

What only time changes (slow start, ejections, places in the queue) is due at `next_deadline`: then the
owner calls `advance`. A pool without such an owner (`driven` is False) looks at each pick itself, and so does
one whose owner is late: owners look while they have sessions, and a first one must not go by old news.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lbkit.balancing import ALGORITHMS, Balancer
from lbkit.errors import NoServerAvailable, PoolFull
from lbkit.health import Advice, Health, HealthState, OutlierDetector
from lbkit.pool.explain import Explanation
from lbkit.pool.known import Known
from lbkit.pool.member import AdminState, Member, Standing
from lbkit.pool.queue import Queue, Waiter
from lbkit.pool.settings import HealthRules, PoolSettings
from lbkit.registry import nearest
from lbkit.server import Outcome, Server

__all__ = ["Change", "Pool", "make_balancer"]

_NAMED = 20  # servers that an error message tells about
_LATE = 1.0  # seconds after which the owner of a driven pool is taken to be idle


@dataclass(frozen=True, slots=True)
class Change:
    """A server's standing is another one now; `reason` says why."""

    server: Server
    standing: Standing
    reason: str


def make_balancer(algorithm: str, rng: random.Random, options: Any = None) -> Balancer:
    """A balancer by its registered name; *options* is its options dataclass, None for the defaults.

    Raises ValueError for an unknown name.
    """
    entry = ALGORITHMS.get(algorithm)
    if entry is None:
        known = nearest(algorithm, ALGORITHMS, listed=True)
        raise ValueError(f'unknown algorithm "{algorithm}"{known}')
    return entry.factory(entry.options() if options is None else options, rng)


class Pool:
    """A named set of interchangeable servers.

    Use: `pick` a server, `acquire` it, connect, relay, `release` it. Report checks with `observe`.
    Iterating gives the servers in order.
    """

    __slots__ = (
        "_candidate_set",
        "_candidates",
        "_due",
        "_freed",
        "_full",
        "_hears_end",
        "_hears_response",
        "_hears_start",
        "_is_panicking",
        "_is_serving",
        "_is_unsettled",
        "_judges",
        "_members",
        "_outliers",
        "_pick",
        "_probing",
        "_queue",
        "_retrying",
        "_steps_due",
        "_together",
        "_tokens",
        "_weights",
        "balancer",
        "driven",
        "ejections",
        "hears",
        "name",
        "on_change",
        "on_suspect",
        "open_sessions",
        "probe",
        "queue_refused",
        "queue_timeouts",
        "queued",
        "retries_refused",
        "rules",
        "settings",
        "unavailable",
    )

    def __init__(
        self,
        name: str,
        servers: Iterable[Server],
        balancer: Balancer,
        *,
        rules: HealthRules | None = None,
        settings: PoolSettings | None = None,
        now: float = 0.0,
    ) -> None:
        """Raises ValueError when two servers share a name."""
        self.name = name
        self.rules = rules or HealthRules()
        self.settings = settings or PoolSettings()
        self.on_change: Callable[[Change], None] | None = None
        """Told of every server whose standing changed, after the pool took it in."""
        self.on_suspect: Callable[[Server], None] | None = None
        """Told of a server that live traffic has errors with: check it soon."""
        self.probe: Callable[[Server, float], None] | None = None
        """Probes a server for the balancer and answers it with `probed`; without it the pool answers
        with what it counts itself."""
        self.driven = False
        """Whether the owner calls `advance` at `next_deadline`."""
        self.open_sessions = 0
        self.unavailable = 0
        """Picks that found nobody."""
        self.queued = 0
        """Those who had to wait since the start."""
        self.queue_timeouts = 0
        self.queue_refused = 0
        """Those who found the queue full."""
        self.retries_refused = 0
        """Retries that the budget did not allow."""
        self.ejections = 0
        self._retrying = 0
        self._members: dict[str, Member] = {}
        self._candidates: list[Server] = []
        self._candidate_set: frozenset[Server] = frozenset()
        self._weights: list[float] = []
        self._full: set[Server] = set()
        """The candidates at their limit."""
        self._tokens: dict[str, Server] = {}
        self._queue = Queue()
        self._freed: deque[Server] = deque()
        self._is_serving = False
        self._together = 0
        self._is_unsettled = False
        self._is_panicking = False
        self._outliers: OutlierDetector | None = None
        self._steps_due = self._due = math.inf
        self._take(balancer)
        self._watch(now)
        self.change(servers, now)

    def _take(self, balancer: Balancer) -> None:
        kind = type(balancer)
        self.balancer = balancer
        self._pick = balancer.pick
        self._hears_start = kind.started is not Balancer.started
        self._hears_response = kind.responded is not Balancer.responded
        self._hears_end = kind.ended is not Balancer.ended
        self._probing = kind.probing
        self.hears = self._hears_response or self._hears_end
        """Whether the algorithm learns from how long things take."""
        self._candidates, self._weights = [], []

    def _watch(self, now: float) -> None:
        """Begin or stop to judge by live traffic, as the rules say."""
        outlier = self.rules.outlier
        if outlier is None:
            self._outliers = None
        elif self._outliers is None or self._outliers.rules != outlier:
            self._outliers = OutlierDetector(outlier, now)
        self._judges = self.rules.outlier is not None or self.rules.passive is not None

    def __iter__(self) -> Iterator[Server]:
        return (member.server for member in self._members.values())

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, name: str) -> Server:
        return self._members[name].server

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def member(self, name: str) -> Member:
        """What is known of the server called *name*; KeyError where there is none."""
        return self._members[name]

    def health(self, name: str) -> Health:
        """The health record of the server called *name*; KeyError where there is none."""
        return self._members[name].health

    @property
    def hears_responses(self) -> bool:
        """Whether the algorithm learns from first bytes, so that it is worth to time them."""
        return self._hears_response

    @property
    def retries(self) -> int:
        """How many other servers are tried after a failed connection."""
        return self.settings.retries

    # ------------------------------------------------------------ the life of a session

    def pick(self, now: float, key: bytes | None = None, exclude: Collection[Server] = ()) -> Server:
        """The server for the next session or request, none of *exclude*; *key* is for keyed algorithms.

        Raises PoolFull where one would do but is at its connection limit, so that `wait` makes sense, and
        NoServerAvailable when nobody is left, with the state of each server in its message.
        """
        if now >= self._due and self._must_look(now):
            self.advance(now)
        full = self._full
        if full and len(full) == len(self._candidates):
            raise self._nobody(exclude)
        server = self._pick(now, key, exclude if not full else full.union(exclude) if exclude else full)
        if server is None:
            raise self._nobody(exclude)
        server.counters.picks += 1
        if self._probing:
            self._answer_probes(now)
        return server

    def offer(self, now: float) -> Server | None:
        """`pick` and `acquire` in one, for a session of no key.

        None, and nothing has happened, where these are to be called because there is more to it: somebody is
        full, nobody is there, or there are probes.
        """
        if now >= self._due and self._must_look(now):
            self.advance(now)
        if self._full or self._probing:
            return None
        server = self._pick(now)
        if server is None:
            return None
        counters = server.counters
        counters.picks += 1
        counters.sessions += 1
        server.open_sessions += 1
        self.open_sessions += 1
        if 0 < server.limit <= server.open_sessions:
            self._full.add(server)
        if self._hears_start:
            self.balancer.started(server, now)
        return server

    def _must_look(self, now: float) -> bool:
        """Whether nobody else looks at the time."""
        return not self.driven or now > self._due + _LATE

    def _nobody(self, exclude: Collection[Server]) -> NoServerAvailable:
        for server in self._full:
            if server not in exclude:
                return PoolFull(f'every server available in pool "{self.name}" is at its connection limit')
        self.unavailable += 1
        if not self._members:
            return NoServerAvailable(f'pool "{self.name}" has no servers')
        members = list(self._members.values())
        reasons = [f"{member.server.name} {self._why_not(member, exclude)}" for member in members[:_NAMED]]
        if len(members) > _NAMED:
            reasons.append(f"and {len(members) - _NAMED} more")
        return NoServerAvailable(f'no server available in pool "{self.name}": {", ".join(reasons)}')

    def _why_not(self, member: Member, exclude: Collection[Server]) -> str:
        if member.standing is not Standing.UP:
            return f"{member.standing.value} ({member.why})"
        if member.server.is_full:
            return f"full ({member.server.limit} connections)"
        return "already tried" if member.server in exclude else "standing by"

    def _answer_probes(self, now: float) -> None:
        for server in self.balancer.take_probes():
            if self.probe is not None:
                self.probe(server, now)
            else:
                self.balancer.probed(server, server.open_sessions, None, now)

    def acquire(self, server: Server, now: float) -> None:
        """A session or request starts on *server*; pair it with exactly one `release`."""
        server.open_sessions += 1
        self.open_sessions += 1
        server.counters.sessions += 1
        if 0 < server.limit <= server.open_sessions and server in self._candidate_set:
            self._full.add(server)
        if self._hears_start:
            self.balancer.started(server, now)

    def responded(self, server: Server, seconds: float, now: float) -> None:
        """The first byte of its answer came *seconds* after `acquire`."""
        if self._hears_response:
            self.balancer.responded(server, seconds, now)

    def release(
        self, server: Server, now: float, seconds: float = 0.0, outcome: Outcome = Outcome.DONE
    ) -> None:
        """The session or request on *server* is over, *seconds* after `acquire`, and how it ended.

        Its place may go to somebody in the queue, who is woken before this returns.
        """
        server.open_sessions -= 1
        self.open_sessions -= 1
        if self._hears_end:
            self.balancer.ended(server, seconds, outcome, now)
        if self._judges and outcome is not Outcome.CANCELLED:
            self._judge(server, outcome, now)
        if server.limit and server.open_sessions < server.limit:
            self._full.discard(server)
            if self._queue:
                self._freed.append(server)
                self._serve(now)

    def _judge(self, server: Server, outcome: Outcome, now: float) -> None:
        """Count live traffic for or against *server*."""
        member = self._members.get(server.name)
        if member is None or member.server is not server:
            return
        passive = self.rules.passive
        if passive is not None and member.errors.count(outcome, passive):
            reason = f"{passive.error_limit} errors in a row in live traffic, the last one: {outcome.value}"
            checks = {"fail_check": 1, "fast_check": 0, "mark_down": self.rules.fall}[passive.on_error]
            if any(member.health.observe(False, reason, now) for _ in range(checks)):
                self._refresh(now)
            if self.on_suspect is not None:
                self.on_suspect(server)
        if self._outliers is not None and self._outliers.count(server, outcome.is_failure, now):
            self.ejections += self._outliers.take_ejections()
            self._refresh(now)

    # ------------------------------------------------------------ retries

    def start_retry(self) -> bool:
        """Whether the budget allows one more try at another server; if so `end_retry` must follow.

        At a time `retry_percent` of the open sessions may be retries, and at least `retry_minimum` (Envoy's
        retry budget), so that an outage does not double the load of those that are left.
        """
        if self._retrying >= self._most_retries:
            self.retries_refused += 1
            return False
        self._retrying += 1
        return True

    @property
    def is_retrying(self) -> bool:
        """Whether `start_retry` says no until a try that is under way has ended."""
        return 0 < self._most_retries <= self._retrying

    @property
    def _most_retries(self) -> float:
        settings = self.settings
        return max(settings.retry_minimum, settings.retry_percent * self.open_sessions // 100)

    def end_retry(self) -> None:
        """A try that `start_retry` allowed has come to its end."""
        self._retrying -= 1

    # ------------------------------------------------------------ waiting for a place

    @property
    def waiting(self) -> int:
        """How many wait for a place now."""
        return len(self._queue)

    def wait(
        self,
        now: float,
        deadline: float,
        wake: Callable[[Waiter], None],
        exclude: Collection[Server] = (),
        only: Server | None = None,
    ) -> Waiter:
        """Stand in line for a server, none of *exclude*, or just for *only*, as long as that can be had.

        *wake* is called with the waiter once: it then has a `server`, acquired for it, or at *deadline*
        none. Raises PoolFull when the queue is full. Whoever gives up calls `leave`.
        """
        if len(self._queue) >= self.settings.max_queue:
            self.queue_refused += 1
            raise PoolFull(
                f'the queue of pool "{self.name}" is full ({self.settings.max_queue} waiting)'
                if self.settings.max_queue
                else f'every server available in pool "{self.name}" is at its connection limit'
            )
        waiter = Waiter(deadline, wake, exclude, only)
        self.queued += 1
        self._queue.add(waiter)
        self._due = min(self._due, deadline)
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """*waiter* waits no more. No effect once it was woken: then its server must be released."""
        self._queue.remove(waiter)

    def _serve(self, now: float) -> None:
        """Give freed places to the queue. Those woken may free others at once, which is no recursion."""
        if self._is_serving:
            return
        self._is_serving = True
        try:
            while self._freed and self._queue:
                server = self._freed.popleft()
                is_candidate = server in self._candidate_set
                while self._queue and not server.is_full and (is_candidate or self._is_draining(server)):
                    waiter = self._queue.take(server, only=not is_candidate)
                    if waiter is None:
                        break
                    waiter.server = server
                    server.counters.picks += 1
                    self.acquire(server, now)
                    waiter.wake(waiter)
        finally:
            self._is_serving = False
            if not self._queue:
                self._freed.clear()

    def _is_draining(self, server: Server) -> bool:
        """Whether it still takes what sticks to it."""
        member = self._members.get(server.name)
        return member is not None and member.server is server and member.standing is Standing.DRAIN

    # ------------------------------------------------------------ stickiness

    def token_of(self, server: Server) -> str:
        """What a cookie says of *server*: 16 hexadecimal digits that tell nothing about its name."""
        text = f"{self.name}\0{server.name}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, digest_size=8).hexdigest()

    def stuck_to(self, token: str) -> Server | None:
        """The server that *token* names, where it may still take what sticks to it: up, or draining."""
        server = self._tokens.get(token)
        if server is None:
            return None
        return server if server in self._candidate_set or self._is_draining(server) else None

    # ------------------------------------------------------------ what is known of the servers

    def observe(self, name: str, passed: bool, reason: str, now: float) -> Change | None:
        """Count one check result; the change it caused, if any.

        A result for a server that has left the pool in the meantime is ignored.
        """
        member = self._members.get(name)
        if member is None:
            return None
        if passed:
            member.server.counters.checks_passed += 1
        else:
            member.server.counters.checks_failed += 1
        if not member.health.observe(passed, reason, now):
            member.explain()
            return None
        return self._change_of(member, now)

    def advise(self, name: str, advice: Advice, now: float) -> Change | None:
        """Take in what a server's agent says; the change it caused, if any. Strangers are ignored."""
        member = self._members.get(name)
        if member is None:
            return None
        member.take(advice)
        return self._change_of(member, now)

    def forget_advice(self, now: float) -> None:
        """Nobody asks the servers' agents any more: what they said last must not hold for ever."""
        for member in self._members.values():
            member.forget_advice()
        self._refresh(now)

    @contextmanager
    def together(self, now: float) -> Iterator[None]:
        """Take in all that is observed, advised or set within the block at its end, as one change.

        Until then nobody's standing changes, and `observe` and `advise` return None.
        """
        self._together += 1
        try:
            yield
        finally:
            self._together -= 1
            if self._is_unsettled and not self._together:
                self._refresh(now)

    def set_state(self, name: str, state: AdminState, now: float) -> None:
        """The operator wants the server called *name* ready, draining or in maintenance.

        Raises KeyError for an unknown name. Sessions in progress go on. A reload keeps it.
        """
        self._members[name].admin = state
        self._refresh(now)

    def set_weight(self, name: str, weight: int, now: float) -> None:
        """Another weight, 0–256, until a reload brings another configured one.

        Raises KeyError for an unknown name and ValueError for a weight out of range.
        """
        server = self._members[name].server
        if not 0 <= weight <= 256:
            raise ValueError(f"weight {weight} is not from 0 to 256")
        server.weight = weight
        self._refresh(now)

    def set_limit(self, name: str, max_connections: int, now: float) -> None:
        """Another connection limit, 0 for none, until a reload brings another configured one.

        Raises KeyError for an unknown name and ValueError for a negative number.
        """
        server = self._members[name].server
        if max_connections < 0:
            raise ValueError(f"max_connections {max_connections} is negative")
        server.max_connections = max_connections
        self._refresh(now)

    def _change_of(self, member: Member, now: float) -> Change | None:
        before = member.standing
        self._refresh(now)
        return None if member.standing is before else Change(member.server, member.standing, member.why)

    # ------------------------------------------------------------ membership

    def change(self, servers: Iterable[Server], now: float) -> None:
        """Take *servers* as the members; health and counters of those that stay are kept.

        A server stays when name and address are the same: then the old object takes over the new
        weight, backup flag and limits, so that sessions in progress still count on it. Raises ValueError
        when two share a name, and then nothing has changed. Where only the name is the same, it is another
        server, in the state that the operator chose.
        """
        self._enter(self._by_name(servers), now)

    def _by_name(self, servers: Iterable[Server]) -> dict[str, Server]:
        wanted: dict[str, Server] = {}
        for server in servers:
            if server.name in wanted:
                raise ValueError(f'two servers of pool "{self.name}" are called "{server.name}"')
            wanted[server.name] = server
        return wanted

    def _enter(self, wanted: dict[str, Server], now: float) -> None:
        is_first = not self._members
        self._members = {name: self._keep_or_make(server, now) for name, server in wanted.items()}
        self._tokens = {self.token_of(server): server for server in self}
        if self._outliers is not None:
            self._outliers.keep(list(self))
        self._refresh(now)
        if is_first:
            for member in self._members.values():
                member.start_at_once()
            self._refresh(now)

    def _keep_or_make(self, server: Server, now: float) -> Member:
        member = self._members.get(server.name)
        if member is None or member.server.address != server.address:
            admin = AdminState.READY if member is None else member.admin
            member = Member(server, Health())
            member.admin = admin
        elif member.server is not server:
            member.reconfigure(server)
        health = member.health
        health.rise, health.fall = self.rules.rise, self.rules.fall
        if not self.rules.checked and health.state is not HealthState.UP:
            health.assume_up(now)
        return member

    def reconfigure(
        self,
        servers: Iterable[Server],
        *,
        balancer: Balancer | None,
        rules: HealthRules,
        settings: PoolSettings,
        now: float,
    ) -> None:
        """`change`, with new settings too; *balancer* None keeps the present one and what it knows.

        A pool that gains a check keeps its servers' present state until the first results. Raises ValueError
        as `change` does.
        """
        wanted = self._by_name(servers)
        self.rules = rules
        self.settings = settings
        if balancer is not None:
            self._take(balancer)
        self._watch(now)
        self._enter(wanted, now)

    # ------------------------------------------------------------ one pool in several processes

    def known(self, now: float) -> list[Known]:
        """All that is known of the servers, in order, for the same pool in another process."""
        return [Known.of(member, now) for member in self._members.values()]

    def learn(self, known: Iterable[Known], now: float) -> None:
        """Take over members, and what operator and agents want of them, from another process.

        Health only for servers that nothing is known of here; one that was ready there does not start slowly.
        """
        known = list(known)
        was_up = {name for name, member in self._members.items() if member.standing is Standing.UP}
        with self.together(now):
            self.change([one.server() for one in known], now)
            for one in known:
                one.teach(self._members[one.name], now)
        for one in known:
            member = self._members[one.name]
            if one.name not in was_up and member.standing is Standing.UP:
                member.ready_since = one.ready_since(now)
        self._refresh(now)

    # ------------------------------------------------------------ time, and what follows from a change

    def next_deadline(self) -> float:
        """When `advance` has something to do, monotonic seconds; infinity for never."""
        return self._due

    def advance(self, now: float) -> None:
        """Do what time brings: slow start goes on, ejections end, waiters whose time is over are woken."""
        over = self._queue.expire(now)
        changed = self._steps_due <= now
        if self._outliers is not None and self._outliers.next_deadline() <= now:
            changed = self._outliers.advance(now) or changed
            self.ejections += self._outliers.take_ejections()
        if changed:
            self._refresh(now)
        else:
            self._set_due()
        self.queue_timeouts += len(over)
        self._wake_all(over)

    def _wake_all(self, waiters: Iterable[Waiter]) -> None:
        """They are in no line any more: one that fails must not keep the others asleep."""
        failures: list[Exception] = []
        for waiter in waiters:
            try:
                waiter.wake(waiter)
            except Exception as error:  # noqa: BLE001 - raised below, when all are awake
                failures.append(error)
        if failures:
            raise failures[0]

    def candidates(self) -> list[Server]:
        """The servers that may be picked now; those at their limit are among them."""
        return list(self._candidates)

    def _choose(self) -> list[Server]:
        """Who is up; backups only where nobody else is; in a panic all that may be alive."""
        members = list(self._members.values())
        up = [member.server for member in members if member.standing is Standing.UP]
        self._is_panicking = False
        if self.settings.panic_threshold:
            # Of those in use: backups that are up answer for servers that are down, with no panic (Envoy's
            # lower priorities do the same).
            on_backups = bool(up) and all(server.backup for server in up)
            group = [member for member in members if member.server.backup is on_backups or not up]
            known = [m for m in group if m.is_wanted and m.health.state is not HealthState.UNKNOWN]
            alive = sum(member.standing is Standing.UP for member in group)
            self._is_panicking = alive * 100 < self.settings.panic_threshold * len(known)
            if self._is_panicking:
                up = [member.server for member in known]
        if not up:
            # Ejected ones are alive: better than nobody.
            up = [member.server for member in members if member.standing is Standing.EJECTED]
        return [server for server in up if not server.backup] or up

    def _refresh(self, now: float) -> None:
        """Judge every server anew and give the balancer what follows from it."""
        self._is_unsettled = self._together > 0
        if self._is_unsettled:
            return
        changes: list[Change] = []
        for member in self._members.values():
            before = member.standing
            ejected = self._outliers is not None and self._outliers.is_ejected(member.server)
            member.judge(now, ejected)
            if member.standing is not before:
                changes.append(Change(member.server, member.standing, member.why))
        candidates = self._choose()
        weights = [server.effective_weight for server in candidates]
        if candidates != self._candidates or weights != self._weights:
            self._candidates, self._weights = candidates, weights
            self._candidate_set = frozenset(candidates)
            self.balancer.update(tuple(candidates), now)
        self._full = {server for server in candidates if server.is_full}
        self._steps_due = min(
            (m.next_step(now) for m in self._members.values() if m.server.slow_start), default=math.inf
        )
        self._set_due()
        if self.on_change is not None:
            for change in changes:
                self.on_change(change)
        if self._queue:
            self._queue.let_go(lambda server: server in self._candidate_set or self._is_draining(server))
            self._freed.extend(m.server for m in self._members.values() if m.standing is Standing.DRAIN)
            self._freed.extend(self._candidates)
            self._serve(now)

    def _set_due(self) -> None:
        outliers = math.inf if self._outliers is None else self._outliers.next_deadline()
        self._due = min(self._steps_due, outliers, self._queue.next_deadline())

    # ------------------------------------------------------------ for people

    def explain(self, now: float) -> list[Explanation]:
        """For each server, in order: whether it is a candidate, why or why not, and its score."""
        if now >= self._due and self._must_look(now):
            self.advance(now)
        total = sum(server.effective_weight for server in self._candidates) or 1.0
        return [self._explain(member, total, now) for member in self._members.values()]

    def _explain(self, member: Member, total: float, now: float) -> Explanation:
        server = member.server
        chosen = server in self._candidate_set
        return Explanation(
            name=server.name,
            address=str(server.address),
            candidate=chosen and not server.is_full,
            standing=member.standing.value,
            reason=self._reason(member, chosen, now),
            weight=server.weight,
            effective_weight=server.effective_weight,
            share=server.effective_weight / total if chosen else 0.0,
            open_sessions=server.open_sessions,
            limit=server.limit,
            score=self.balancer.score(server, now) if chosen else None,
        )

    def _reason(self, member: Member, chosen: bool, now: float) -> str:
        server = member.server
        if chosen and server.is_full:
            return f"full: {server.open_sessions} of {server.limit} connections"
        if chosen and self._is_panicking and member.standing is not Standing.UP:
            return f"{member.why}; used in a panic: under {self.settings.panic_threshold:g} % are up"
        if chosen and member.standing is Standing.EJECTED:
            return f"{member.why}; used because nobody else is left"
        if member.standing is Standing.EJECTED and self._outliers is not None:
            left = self._outliers.ejected_until(server) - now
            return f"{member.why}; back in {left:.0f} s"
        if not chosen and member.standing is Standing.UP:
            return "a backup; others are up"
        if chosen and member.next_step(now) < math.inf:
            left = server.slow_start - (now - member.ready_since)
            return f"{member.why}; slow start for another {left:.1f} s"
        return member.why
