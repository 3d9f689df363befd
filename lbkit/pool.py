"""`Pool`: interchangeable servers, a health record for each, and the balancer that picks among them.

Pure: it decides and counts; the shells connect, check and report back.

The list of candidates is worked out when something changes (health, weight, membership) and handed
to the balancer, so that a pick does not look at health at all. Servers at their connection limit
change too often for that; they are passed to the pick as excluded, and only pools in which some
server has a limit pay for it.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lbkit.balancing import ALGORITHMS, Balancer
from lbkit.errors import NoServerAvailable
from lbkit.health import Health, HealthState
from lbkit.registry import nearest
from lbkit.server import Outcome, Server

__all__ = ["HealthChange", "HealthRules", "Pool", "make_balancer"]


@dataclass(frozen=True, slots=True)
class HealthRules:
    """How results are judged. `checked` is False for a pool without a check: all servers are up."""

    checked: bool = False
    rise: int = 2
    fall: int = 3


@dataclass(frozen=True, slots=True)
class HealthChange:
    """A server went up or down; `reason` is the result that tipped it."""

    server: Server
    state: HealthState
    reason: str


def make_balancer(algorithm: str, rng: random.Random, options: Any = None) -> Balancer:
    """A balancer by its registered name; *options* is its options dataclass, None for the defaults.

    Raises ValueError for an unknown name.
    """
    entry = ALGORITHMS.get(algorithm)
    if entry is None:
        raise ValueError(f'unknown algorithm "{algorithm}"{nearest(algorithm, ALGORITHMS)}')
    return entry.factory(entry.options() if options is None else options, rng)


class Pool:
    """A named set of interchangeable servers.

    Use: `pick` a server, `acquire` it, connect, relay, `release` it. Report checks with `observe`.
    Iterating gives the servers in order.
    """

    def __init__(
        self,
        name: str,
        servers: Iterable[Server],
        balancer: Balancer,
        *,
        rules: HealthRules | None = None,
        retries: int = 3,
        now: float = 0.0,
    ) -> None:
        """`retries`: how many other servers are tried after a failed connection (HAProxy: 3).

        Raises ValueError when two servers share a name.
        """
        self.name = name
        self._take(balancer)
        self.rules = rules or HealthRules()
        self.retries = retries
        self.unavailable = 0
        """Picks that found nobody."""
        self._servers: dict[str, Server] = {}
        self._health: dict[str, Health] = {}
        self._limited = False
        self.change(servers, now)

    def _take(self, balancer: Balancer) -> None:
        kind = type(balancer)
        self.balancer = balancer
        self._hears_start = kind.started is not Balancer.started
        self._hears_response = kind.responded is not Balancer.responded
        self._hears_end = kind.ended is not Balancer.ended

    def __iter__(self) -> Iterator[Server]:
        return iter(self._servers.values())

    def __len__(self) -> int:
        return len(self._servers)

    def __getitem__(self, name: str) -> Server:
        return self._servers[name]

    def __contains__(self, name: str) -> bool:
        return name in self._servers

    def health(self, name: str) -> Health:
        """The health record of the server called *name*; KeyError where there is none."""
        return self._health[name]

    def pick(self, now: float, key: bytes | None = None, exclude: Collection[Server] = ()) -> Server:
        """The server for the next session or request, none of *exclude*; *key* is for keyed algorithms.

        Raises NoServerAvailable when nobody is left, with the state of each server in its message.
        """
        if self._limited:
            full = {server for server in self._servers.values() if server.is_full}
            exclude = full.union(exclude)
        server = self.balancer.pick(now, key, exclude)
        if server is None:
            self.unavailable += 1
            raise NoServerAvailable(self._why_nobody(exclude))
        server.counters.picks += 1
        return server

    def _why_nobody(self, exclude: Collection[Server]) -> str:
        if not self._servers:
            return f'pool "{self.name}" has no servers'
        reasons = ", ".join(f"{server.name} {self._why_not(server, exclude)}" for server in self)
        return f'no server available in pool "{self.name}": {reasons}'

    def _why_not(self, server: Server, exclude: Collection[Server]) -> str:
        health = self._health[server.name]
        if health.state is not HealthState.UP:
            return f"{health.state.value} ({health.reason})"
        if server.weight == 0:
            return "weight 0"
        if server.is_full:
            return f"full ({server.max_connections} connections)"
        return "already tried" if server in exclude else "standing by"

    def acquire(self, server: Server, now: float) -> None:
        """A session or request starts on *server*; pair it with exactly one `release`."""
        server.open_sessions += 1
        server.counters.sessions += 1
        if self._hears_start:
            self.balancer.started(server, now)

    def responded(self, server: Server, seconds: float, now: float) -> None:
        """The first byte of its answer came *seconds* after `acquire`."""
        if self._hears_response:
            self.balancer.responded(server, seconds, now)

    def release(
        self, server: Server, now: float, seconds: float = 0.0, outcome: Outcome = Outcome.DONE
    ) -> None:
        """The session or request on *server* is over, *seconds* after `acquire`, and how it ended."""
        server.open_sessions -= 1
        if self._hears_end:
            self.balancer.ended(server, seconds, outcome, now)

    def observe(self, name: str, passed: bool, reason: str, now: float) -> HealthChange | None:
        """Count one check result; the change it caused, if any.

        A result for a server that has left the pool in the meantime is ignored.
        """
        server = self._servers.get(name)
        if server is None:
            return None
        if passed:
            server.counters.checks_passed += 1
        else:
            server.counters.checks_failed += 1
        health = self._health[name]
        if not health.observe(passed, reason, now):
            return None
        self._refresh(now)
        return HealthChange(server, health.state, reason)

    def change(self, servers: Iterable[Server], now: float) -> None:
        """Take *servers* as the members; health and counters of those that stay are kept.

        A server stays when name and address are the same: then the old object takes over the new
        weight, backup flag and limit, so that sessions in progress still count on it.
        """
        new: dict[str, Server] = {}
        for server in servers:
            if server.name in new:
                raise ValueError(f'two servers of pool "{self.name}" are called "{server.name}"')
            new[server.name] = self._keep(server)
        self._health = {name: self._health_of(server, now) for name, server in new.items()}
        self._servers = new
        self._refresh(now)

    def _keep(self, server: Server) -> Server:
        old = self._servers.get(server.name)
        if old is None or old.address != server.address:
            return server
        old.weight = server.weight
        old.backup = server.backup
        old.max_connections = server.max_connections
        return old

    def _health_of(self, server: Server, now: float) -> Health:
        stays = self._servers.get(server.name) is server
        health = self._health[server.name] if stays else Health()
        health.rise, health.fall = self.rules.rise, self.rules.fall
        if not self.rules.checked and health.state is not HealthState.UP:
            health.assume_up(now)
        return health

    def reconfigure(
        self,
        servers: Iterable[Server],
        *,
        balancer: Balancer | None,
        rules: HealthRules,
        retries: int,
        now: float,
    ) -> None:
        """`change`, with new settings too; *balancer* None keeps the present one and what it knows.

        A pool that gains a check keeps its servers' present state until the first results.
        """
        self.rules = rules
        self.retries = retries
        if balancer is not None:
            self._take(balancer)
        self.change(servers, now)

    def candidates(self) -> list[Server]:
        """The servers that may be picked: up, weight above 0; backups only where nobody else is."""
        ready = [
            server for server in self if server.weight and self._health[server.name].state is HealthState.UP
        ]
        return [server for server in ready if not server.backup] or ready

    def _refresh(self, now: float) -> None:
        for server in self:
            server.effective_weight, server.limit = float(server.weight), server.max_connections
        self._limited = any(server.limit for server in self)
        self.balancer.update(self.candidates(), now)
