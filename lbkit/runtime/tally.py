"""Counters of several workers: `Reporter` says what one has counted, `Tally` adds all of them up.

The parent carries no traffic, so its own servers and pools count nothing but checks: the sums are kept there,
and whatever shows a pool shows the sums. Totals of a worker that has ended stay in them, what is open
there does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from lbkit.admin import ListenerView, View
from lbkit.pool import Pool
from lbkit.runtime.messages import ListenerCount, PoolCount, Report, ServerCount
from lbkit.server import Server

__all__ = ["Reporter", "Tally"]

# Checks are counted where they are made: in the parent.
_SERVER = (
    "picks",
    "sessions",
    "requests",
    "connect_errors",
    "response_errors",
    "timeouts",
    "retries",
    "bytes_in",
    "bytes_out",
)
_POOL = ("unavailable", "queued", "queue_timeouts", "queue_refused", "retries_refused", "ejections")


class Reporter:
    """Makes the reports of one worker; of thousands of idle servers a report says nothing."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, str], ServerCount] = {}

    def report(self, view: View, open_sessions: int) -> Report:
        """What changed since the last report, and all that is open now."""
        unsettled: dict[Server, tuple[int, int]] = {}
        for server, bytes_in, bytes_out in view.unsettled:
            before_in, before_out = unsettled.get(server, (0, 0))
            unsettled[server] = before_in + bytes_in, before_out + bytes_out
        said, self._said = self._said, {}
        pools: dict[str, PoolCount] = {}
        for pool in view.pools:
            count = pools[pool.name] = _pool_count(pool)
            for server in pool:
                standing = pool.member(server.name).standing.value
                now = _server_count(server, standing, *unsettled.get(server, (0, 0)))
                self._said[pool.name, server.name] = now
                if said.get((pool.name, server.name)) != now:
                    count.servers[server.name] = now
        listeners = {
            item.name: ListenerCount(item.open_sessions, dict(item.counters), dict(item.responses))
            for item in view.listeners
        }
        return Report(open_sessions, listeners, pools)


def _pool_count(pool: Pool) -> PoolCount:
    return PoolCount(pool.open_sessions, pool.waiting, {key: getattr(pool, key) for key in _POOL})


def _server_count(server: Server, standing: str, bytes_in: int, bytes_out: int) -> ServerCount:
    counters = {key: getattr(server.counters, key) for key in _SERVER}
    counters["bytes_in"] += bytes_in
    counters["bytes_out"] += bytes_out
    return ServerCount(str(server.address), standing, server.open_sessions, counters)


@dataclass(slots=True)
class _Worker:
    """What one worker said last."""

    open_sessions: int = 0
    listeners: Mapping[str, ListenerCount] = field(default_factory=dict)
    pools: Mapping[str, PoolCount] = field(default_factory=dict)
    servers: dict[tuple[str, str], ServerCount] = field(default_factory=dict)


class Tally:
    """The sums, in the parent's pools and here."""

    def __init__(self) -> None:
        self._workers: dict[int, _Worker] = {}
        self._counters: dict[str, dict[str, int]] = {}
        self._responses: dict[str, dict[str, int]] = {}

    def take(self, number: int, report: Report, pools: Iterable[Pool]) -> None:
        """Add what worker *number* reports."""
        worker = self._workers.setdefault(number, _Worker())
        worker.open_sessions = report.open_sessions
        for name, now in report.listeners.items():
            before = worker.listeners.get(name)
            _add(self._counters.setdefault(name, {}), before.counters if before else {}, now.counters)
            _add(self._responses.setdefault(name, {}), before.responses if before else {}, now.responses)
        worker.listeners = report.listeners
        for pool in pools:
            count = report.pools.get(pool.name)
            if count is not None:
                self._take_pool(worker, pool, count)
        worker.pools = report.pools

    def _take_pool(self, worker: _Worker, pool: Pool, count: PoolCount) -> None:
        before = worker.pools.get(pool.name)
        for key, growth in _growth(before.counters if before else {}, count.counters).items():
            setattr(pool, key, getattr(pool, key) + growth)
        pool.open_sessions += count.open_sessions - (before.open_sessions if before else 0)
        for name, now in count.servers.items():
            place = pool.name, name
            last = worker.servers.get(place)
            if last is not None and last.address != now.address:
                last = None
            worker.servers[place] = now
            if name in pool and str(pool[name].address) == now.address:
                counters = pool[name].counters
                for key, growth in _growth(last.counters if last else {}, now.counters).items():
                    setattr(counters, key, getattr(counters, key) + growth)
                self._open_on(pool, pool[name])

    def _open_on(self, pool: Pool, server: Server) -> None:
        address = str(server.address)
        said = (worker.servers.get((pool.name, server.name)) for worker in self._workers.values())
        server.open_sessions = sum(one.open_sessions for one in said if one and one.address == address)

    def ended(self, number: int, pools: Iterable[Pool]) -> None:
        """Worker *number* is gone, and with it what was open there; the next one counts from 0."""
        worker = self._workers.pop(number, _Worker())
        for pool in pools:
            if pool.name in worker.pools:
                pool.open_sessions -= worker.pools[pool.name].open_sessions
            for server in pool:
                if (pool.name, server.name) in worker.servers:
                    self._open_on(pool, server)

    def keep(self, listeners: Iterable[str], pools: Iterable[Pool]) -> None:
        """Only these are left."""
        names = set(listeners)
        self._counters = {name: item for name, item in self._counters.items() if name in names}
        self._responses = {name: item for name, item in self._responses.items() if name in names}
        places = {(pool.name, server.name) for pool in pools for server in pool}
        for worker in self._workers.values():
            worker.servers = {place: item for place, item in worker.servers.items() if place in places}

    def open_sessions(self, number: int) -> int:
        """Of worker *number*."""
        worker = self._workers.get(number)
        return 0 if worker is None else worker.open_sessions

    def waiting(self) -> dict[str, int]:
        """By pool: those who wait for a place."""
        sums: dict[str, int] = {}
        for worker in self._workers.values():
            for name, count in worker.pools.items():
                sums[name] = sums.get(name, 0) + count.waiting
        return sums

    def standings(self, pools: Iterable[Pool]) -> dict[Server, dict[str, str]]:
        """By server and worker: its state there, where that is another one than in *pools*."""
        apart: dict[Server, dict[str, str]] = {}
        for pool in pools:
            for server in pool:
                mine, address = pool.member(server.name).standing.value, str(server.address)
                for number, worker in sorted(self._workers.items()):
                    one = worker.servers.get((pool.name, server.name))
                    if one is not None and one.address == address and one.standing != mine:
                        apart.setdefault(server, {})[str(number)] = one.standing
        return apart

    def listener(self, view: ListenerView) -> ListenerView:
        """The listener that *view* describes, with its numbers."""
        said = (worker.listeners.get(view.name) for worker in self._workers.values())
        return replace(
            view,
            open_sessions=sum(one.open_sessions for one in said if one),
            counters=dict(self._counters.get(view.name, {})),
            responses=dict(self._responses.get(view.name, {})),
        )


def _growth(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """By how much each total grew; one that is smaller than before was begun anew."""
    grown = {key: value - before.get(key, 0) for key, value in now.items()}
    return {key: growth if growth >= 0 else now[key] for key, growth in grown.items()}


def _add(sums: dict[str, int], before: Mapping[str, int], now: Mapping[str, int]) -> None:
    for key, growth in _growth(before, now).items():
        sums[key] = sums.get(key, 0) + growth
