"""What the administration endpoint shows, and how: as metric families and as plain JSON data.

The runtime hands in a `View`; nothing here holds on to pools or listeners between two requests, so a
reload needs to tell nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from lbkit.metrics import Family
from lbkit.pool import Pool, Standing
from lbkit.server import Server

__all__ = ["ListenerView", "View", "WorkerView", "families", "status"]


@dataclass(frozen=True, slots=True)
class ListenerView:
    """A listener's numbers at one moment. `counters` are totals since the start, by name."""

    name: str
    address: str
    mode: str
    pool: str | None
    open_sessions: int
    counters: Mapping[str, int]
    responses: Mapping[str, int] = field(default_factory=dict)
    """http mode: responses by class, ``"2xx"``."""
    certificates: Mapping[str, datetime] = field(default_factory=dict)
    """By name of the certificate: when it runs out."""


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker process, or its place while there is none: then `pid` is 0. `replaced` counts earlier ones."""

    number: int
    pid: int
    open_sessions: int
    replaced: int


@dataclass(frozen=True, slots=True)
class View:
    """Everything at one moment. `now` is monotonic seconds.

    `unsettled` are bytes in and out, by server, of sessions in progress: the hot path adds a
    session's bytes to its server only when it ends.
    """

    now: float
    listeners: Sequence[ListenerView]
    pools: Sequence[Pool]
    unsettled: Sequence[tuple[Server, int, int]] = ()
    reloads: int = 0
    failed_reloads: int = 0
    workers: Sequence[WorkerView] = ()
    waiting: Mapping[str, int] = field(default_factory=dict)
    """By pool: those who wait for a place in worker processes."""
    standings: Mapping[Server, Mapping[str, str]] = field(default_factory=dict)
    """By server and worker: its state there, where live traffic has made it another one than here."""
    databases: Sequence[Mapping[str, Any]] = ()
    """What `lbkit.mysql.failover.Failover.status` says of each."""

    def waiting_in(self, pool: Pool) -> int:
        """How many wait for a place in *pool* now."""
        return pool.waiting + self.waiting.get(pool.name, 0)


_SERVER_COUNTERS = {
    "picks": "Times the balancer picked the server.",
    "sessions": "Sessions or requests given to the server, retried ones included.",
    "requests": "HTTP requests sent to the server.",
    "connect_errors": "Failed attempts to connect to the server.",
    "response_errors": "Answers broken off or malformed.",
    "timeouts": "Times the server was silent for too long.",
    "retries": "Times another server was tried after this one failed.",
    "checks_passed": "Health checks passed.",
    "checks_failed": "Health checks failed.",
}


def families(view: View) -> list[Family]:
    """The metrics of one scrape."""
    return [
        *_listener_families(view),
        *_server_families(view),
        *_pool_families(view),
        *_worker_families(view),
        *_database_families(view),
        Family("lbkit_reloads", "Reloads carried out.", "counter", [], {(): view.reloads}),
        Family("lbkit_reloads_failed", "Reloads refused.", "counter", [], {(): view.failed_reloads}),
    ]


_POOL_COUNTERS = {
    "unavailable": "Picks that found no server.",
    "queued": "Sessions or requests that had to wait for a place at a server.",
    "queue_timeouts": "Of those, the ones that waited in vain.",
    "queue_refused": "Sessions or requests that found the queue full.",
    "retries_refused": "Retries that the budget did not allow.",
    "ejections": "Servers ejected as outliers.",
}


def _pool_families(view: View) -> list[Family]:
    return [
        *(
            Family(
                f"lbkit_pool_{key}",
                text,
                "counter",
                ["pool"],
                {(pool.name,): getattr(pool, key) for pool in view.pools},
            )
            for key, text in _POOL_COUNTERS.items()
        ),
        Family(
            "lbkit_pool_waiting",
            "Waiting for a place at a server now.",
            "gauge",
            ["pool"],
            {(pool.name,): view.waiting_in(pool) for pool in view.pools},
        ),
    ]


def _worker_families(view: View) -> list[Family]:
    if not view.workers:
        return []
    open_sessions = Family("lbkit_worker_open_sessions", "Sessions open now.", "gauge", ["worker"])
    replaced = Family("lbkit_worker_replaced", "Workers that ended and were replaced.", "counter", ["worker"])
    for worker in view.workers:
        open_sessions.add([str(worker.number)], worker.open_sessions)
        replaced.add([str(worker.number)], worker.replaced)
    return [open_sessions, replaced]


def _database_families(view: View) -> list[Family]:
    if not view.databases:
        return []
    labels = ["database", "server"]
    healthy = Family("lbkit_mysql_healthy", "1 where nothing is the matter.", "gauge", ["database"])
    promotions = Family("lbkit_mysql_promotions", "Failovers carried out.", "counter", ["database"])
    primary = Family("lbkit_mysql_primary", "1 for the server that takes writes.", "gauge", labels)
    up = Family("lbkit_mysql_up", "1 where the server answers.", "gauge", labels)
    lag = Family("lbkit_mysql_lag_seconds", "Behind the primary; absent is unknown.", "gauge", labels)
    lock = Family("lbkit_mysql_lock_ok", "0 where nobody could act: etcd is gone.", "gauge", ["database"])
    for database in view.databases:
        healthy.add([database["name"]], database["healthy"])
        promotions.add([database["name"]], database["promotions"])
        if database["lock"]:
            lock.add([database["name"]], not database["lock"]["obstacle"])
        for server in database["servers"]:
            where = [database["name"], server["name"]]
            primary.add(where, server["name"] == database["primary"])
            up.add(where, server["reach"] == "answers")
            if server["lag"] is not None:
                lag.add(where, server["lag"])
    return [healthy, promotions, primary, up, lag, lock]


def _listener_families(view: View) -> list[Family]:
    open_sessions = Family("lbkit_listener_open_sessions", "Sessions open now.", "gauge", ["listener"])
    events = Family(
        "lbkit_listener_events", "What happened at the listener.", "counter", ["listener", "event"]
    )
    expiry = Family(
        "lbkit_certificate_expiry_seconds",
        "When the certificate runs out, in seconds since 1970.",
        "gauge",
        ["listener", "certificate"],
    )
    responses = Family("lbkit_http_responses", "Responses sent, by class.", "counter", ["listener", "class"])
    for listener in view.listeners:
        open_sessions.add([listener.name], listener.open_sessions)
        for event, count in listener.counters.items():
            events.add([listener.name, event], count)
        for group, count in listener.responses.items():
            responses.add([listener.name, group], count)
        for name, when in listener.certificates.items():
            expiry.add([listener.name, name], when.timestamp())
    return [open_sessions, events, responses, expiry]


def _server_families(view: View) -> list[Family]:
    labels = ["pool", "server"]
    up = Family("lbkit_server_up", "1 where the server may take traffic.", "gauge", labels)
    open_sessions = Family("lbkit_server_open_sessions", "Sessions open now.", "gauge", labels)
    weight = Family("lbkit_server_weight", "Configured weight.", "gauge", labels)
    bytes_moved = Family(
        "lbkit_server_bytes", "Bytes moved: in is towards the server.", "counter", [*labels, "direction"]
    )
    counted = {
        key: Family(f"lbkit_server_{key}", text, "counter", labels) for key, text in _SERVER_COUNTERS.items()
    }
    moved = _bytes(view)
    for pool in view.pools:
        for server in pool:
            where = [pool.name, server.name]
            up.add(where, pool.member(server.name).standing is Standing.UP)
            open_sessions.add(where, server.open_sessions)
            weight.add(where, server.weight)
            bytes_in, bytes_out = moved[server]
            bytes_moved.add([*where, "in"], bytes_in)
            bytes_moved.add([*where, "out"], bytes_out)
            for key, family in counted.items():
                family.add(where, getattr(server.counters, key))
    return [up, open_sessions, weight, bytes_moved, *counted.values()]


_Bytes: TypeAlias = dict[Server, tuple[int, int]]


def _bytes(view: View) -> _Bytes:
    """Bytes in and out of each server, sessions in progress included; each session is looked at once."""
    total = {
        server: (server.counters.bytes_in, server.counters.bytes_out)
        for pool in view.pools
        for server in pool
    }
    for server, bytes_in, bytes_out in view.unsettled:
        if server in total:
            before_in, before_out = total[server]
            total[server] = before_in + bytes_in, before_out + bytes_out
    return total


def status(view: View) -> dict[str, Any]:
    """The same as plain data for JSON: pools, servers, their state and why."""
    moved = _bytes(view)
    return {
        "listeners": {
            listener.name: {
                "address": listener.address,
                "mode": listener.mode,
                "pool": listener.pool,
                "open_sessions": listener.open_sessions,
                **listener.counters,
                **({"responses": dict(listener.responses)} if listener.responses else {}),
                **({"certificates": _expiries(listener)} if listener.certificates else {}),
            }
            for listener in view.listeners
        },
        "pools": {pool.name: _pool_status(pool, view, moved) for pool in view.pools},
        **({"workers": _workers_status(view)} if view.workers else {}),
        **({"mysql": {one["name"]: one for one in view.databases}} if view.databases else {}),
        "reloads": view.reloads,
        "failed_reloads": view.failed_reloads,
    }


def _expiries(listener: ListenerView) -> dict[str, str]:
    return {name: f"{when:%Y-%m-%dT%H:%M:%SZ}" for name, when in listener.certificates.items()}


def _workers_status(view: View) -> dict[str, Any]:
    return {
        str(worker.number): {
            "pid": worker.pid,
            "open_sessions": worker.open_sessions,
            "replaced": worker.replaced,
        }
        for worker in view.workers
    }


def _pool_status(pool: Pool, view: View, moved: _Bytes) -> dict[str, Any]:
    return {
        "available": [server.name for server in pool.candidates()],
        "waiting": view.waiting_in(pool),
        **{key: getattr(pool, key) for key in _POOL_COUNTERS},
        "servers": {server.name: _server_status(pool, server, view, moved[server]) for server in pool},
    }


def _server_status(pool: Pool, server: Server, view: View, moved: tuple[int, int]) -> dict[str, Any]:
    member = pool.member(server.name)
    bytes_in, bytes_out = moved
    return {
        "address": str(server.address),
        "state": member.standing.value,
        "reason": member.why,
        "since_seconds": round(view.now - member.changed_at, 3),
        **({"in_workers": dict(view.standings[server])} if server in view.standings else {}),
        "admin": member.admin.value,
        "weight": server.weight,
        "effective_weight": server.effective_weight,
        "backup": server.backup,
        "open_sessions": server.open_sessions,
        "limit": server.limit,
        "bytes_in": bytes_in,
        "bytes_out": bytes_out,
        **{key: getattr(server.counters, key) for key in _SERVER_COUNTERS},
    }
