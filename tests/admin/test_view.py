from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

from lbkit.admin.view import ListenerView, View, WorkerView, families, status
from tests.support.servers import make_pool, make_servers


def make_view() -> View:
    a, b = make_servers(1, 2)
    pool = make_pool(a, b, rise=1, fall=1)
    pool.observe("a", True, "connected", 10.0)
    pool.pick(11.0)
    pool.acquire(a, 0)
    a.counters.bytes_in, a.counters.bytes_out = 100, 1000
    listener = ListenerView("web", "127.0.0.1:80", "tcp", "p", 1, {"sessions": 5}, {"2xx": 7})
    return View(now=15.0, listeners=[listener], pools=[pool], unsettled=[(a, 1, 2), (b, 50, 60)], reloads=3)


def test_status_says_state_and_why() -> None:
    data = json.loads(json.dumps(status(make_view())))
    servers = data["pools"]["p"]["servers"]
    assert data["pools"]["p"]["available"] == ["a"]
    assert (servers["a"]["state"], servers["a"]["reason"], servers["a"]["since_seconds"]) == (
        "up",
        "connected",
        5.0,
    )
    assert (servers["b"]["state"], servers["b"]["reason"]) == ("unknown", "not checked yet")
    assert (servers["a"]["picks"], servers["a"]["open_sessions"], servers["b"]["weight"]) == (1, 1, 2)
    assert data["listeners"]["web"]["responses"] == {"2xx": 7}
    assert data["reloads"] == 3


def test_bytes_of_sessions_in_progress_are_included() -> None:
    servers = status(make_view())["pools"]["p"]["servers"]
    assert (servers["a"]["bytes_in"], servers["a"]["bytes_out"]) == (101, 1002)
    assert (servers["b"]["bytes_in"], servers["b"]["bytes_out"]) == (50, 60)


def test_families() -> None:
    found = {family.name: family.samples for family in families(make_view())}
    assert found["lbkit_server_up"] == {("p", "a"): 1, ("p", "b"): 0}
    assert found["lbkit_server_bytes"]["p", "a", "out"] == 1002
    assert found["lbkit_server_picks"]["p", "a"] == 1
    assert found["lbkit_server_checks_passed"]["p", "a"] == 1
    assert found["lbkit_listener_open_sessions"] == {("web",): 1}
    assert found["lbkit_http_responses"] == {("web", "2xx"): 7}
    assert found["lbkit_reloads"] == {(): 3}


def test_a_scrape_does_not_look_at_every_session_for_every_server() -> None:
    class Counted(list):  # type: ignore[type-arg]
        looks = 0

        def __iter__(self):  # type: ignore[no-untyped-def]
            self.looks += 1
            return super().__iter__()

    servers = make_servers(*[1] * 50)
    unsettled = Counted((server, 1, 2) for server in servers for _ in range(2))
    view = View(now=1.0, listeners=[], pools=[make_pool(*servers)], unsettled=unsettled)
    shown = status(view)["pools"]["p"]["servers"]
    assert {(row["bytes_in"], row["bytes_out"]) for row in shown.values()} == {(2, 4)}
    assert families(view)
    assert unsettled.looks <= 2


def test_when_certificates_run_out() -> None:
    when = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)
    listener = ListenerView("web", "127.0.0.1:1", "http", "p", 0, {}, certificates={"a.example": when})
    view = replace(make_view(), listeners=[listener])
    assert status(view)["listeners"]["web"]["certificates"] == {"a.example": "2027-01-02T03:04:05Z"}
    found = {family.name: family.samples for family in families(view)}
    assert found["lbkit_certificate_expiry_seconds"] == {("web", "a.example"): when.timestamp()}
    assert "certificates" not in status(make_view())["listeners"]["web"]


def test_workers_are_shown_where_there_are_any() -> None:
    alone = make_view()
    assert "workers" not in status(alone)
    assert not any(family.name.startswith("lbkit_worker") for family in families(alone))
    (pool,) = alone.pools
    workers = [WorkerView(1, 4711, 5, 0), WorkerView(2, 0, 0, 3)]
    view = replace(alone, workers=workers, waiting={"p": 4}, standings={pool["a"]: {"2": "ejected"}})
    shown = status(view)
    assert shown["workers"] == {
        "1": {"pid": 4711, "open_sessions": 5, "replaced": 0},
        "2": {"pid": 0, "open_sessions": 0, "replaced": 3},
    }
    assert shown["pools"]["p"]["waiting"] == 4
    assert shown["pools"]["p"]["servers"]["a"]["in_workers"] == {"2": "ejected"}
    assert "in_workers" not in shown["pools"]["p"]["servers"]["b"]
    found = {family.name: family.samples for family in families(view)}
    assert found["lbkit_worker_open_sessions"] == {("1",): 5, ("2",): 0}
    assert found["lbkit_worker_replaced"] == {("1",): 0, ("2",): 3}
    assert found["lbkit_pool_waiting"] == {("p",): 4}


def test_databases() -> None:
    servers = [
        {"name": "db1", "reach": "answers", "lag": 0.0},
        {"name": "db2", "reach": "refused", "lag": None},
    ]
    database = {"name": "main", "healthy": False, "promotions": 2, "primary": "db1", "servers": servers}
    lock = {"kept_on": "etcd", "holder": "", "obstacle": "etcd does not answer"}
    watched = {**database, "name": "watched", "lock": lock}
    view = replace(make_view(), databases=[{**database, "lock": None}, watched])
    assert status(view)["mysql"]["main"]["primary"] == "db1"
    found = {family.name: dict(family.samples) for family in families(view)}
    assert found["lbkit_mysql_lock_ok"] == {("watched",): 0}
    found = {
        name: {key: value for key, value in of.items() if key[:1] == ("main",)} for name, of in found.items()
    }
    assert found["lbkit_mysql_healthy"] == {("main",): 0}
    assert found["lbkit_mysql_promotions"] == {("main",): 2}
    assert found["lbkit_mysql_primary"] == {("main", "db1"): 1, ("main", "db2"): 0}
    assert found["lbkit_mysql_up"] == {("main", "db1"): 1, ("main", "db2"): 0}
    assert found["lbkit_mysql_lag_seconds"] == {("main", "db1"): 0.0}
    assert "mysql" not in status(make_view())
