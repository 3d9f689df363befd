from __future__ import annotations

from lbkit.admin import ListenerView, View
from lbkit.pool import AdminState, Pool
from lbkit.runtime.tally import Reporter, Tally
from lbkit.server import Server
from tests.support.servers import make_pool, make_servers


class Counting:
    """A worker's side: a pool with traffic, and what it reports."""

    def __init__(self) -> None:
        self.pool = make_pool(*make_servers(1, 1))
        self.sessions = 0
        self.unsettled: list[tuple[Server, int, int]] = []
        self._reporter = Reporter()

    def begin(self, name: str = "a") -> None:
        self.sessions += 1
        self.pool.acquire(self.pool[name], 0.0)

    def end(self, name: str = "a") -> None:
        self.pool.release(self.pool[name], 0.0)

    def report(self):  # type: ignore[no-untyped-def]
        open_now = self.pool.open_sessions
        listener = ListenerView("l", "", "http", "p", open_now, {"sessions": self.sessions}, {"2xx": 2})
        view = View(0.0, [listener], [self.pool], self.unsettled)
        return self._reporter.report(view, open_now)


EMPTY = ListenerView("l", "127.0.0.1:80", "http", "p", 0, {})


def parent() -> tuple[Tally, Pool]:
    return Tally(), make_pool(*make_servers(1, 1))


def test_counters_and_gauges_of_all_workers_are_added_up() -> None:
    tally, pool = parent()
    workers = [Counting(), Counting()]
    for number, worker in enumerate(workers, 1):
        for _ in range(number):
            worker.begin()
        tally.take(number, worker.report(), [pool])
    assert (pool["a"].counters.sessions, pool["a"].open_sessions, pool.open_sessions) == (3, 3, 3)
    assert [tally.open_sessions(number) for number in (1, 2, 3)] == [1, 2, 0]
    shown = tally.listener(EMPTY)
    assert (shown.address, shown.open_sessions, shown.counters) == ("127.0.0.1:80", 3, {"sessions": 3})
    assert shown.responses == {"2xx": 4}
    workers[1].end()
    tally.take(2, workers[1].report(), [pool])
    assert (pool["a"].counters.sessions, pool["a"].open_sessions, pool.open_sessions) == (3, 2, 2)
    assert pool["b"].open_sessions == 0


def test_totals_of_a_worker_that_ended_stay_and_the_next_one_counts_from_nothing() -> None:
    tally, pool = parent()
    first = Counting()
    first.begin()
    first.pool.unavailable = 4
    tally.take(1, first.report(), [pool])
    tally.ended(1, [pool])
    assert (pool["a"].counters.sessions, pool["a"].open_sessions, pool.open_sessions) == (1, 0, 0)
    assert tally.listener(EMPTY).counters == {"sessions": 1}
    assert tally.listener(EMPTY).open_sessions == 0
    second = Counting()
    second.begin()
    second.begin()
    tally.take(1, second.report(), [pool])
    assert (pool["a"].counters.sessions, pool["a"].open_sessions) == (3, 2)
    assert tally.listener(EMPTY).counters == {"sessions": 3}
    assert pool.unavailable == 4


def test_bytes_in_progress_count_once() -> None:
    tally, pool = parent()
    worker = Counting()
    a = worker.pool["a"]
    worker.unsettled = [(a, 10, 100), (a, 1, 2)]
    tally.take(1, worker.report(), [pool])
    worker.unsettled = []
    a.counters.bytes_in, a.counters.bytes_out = 11, 102
    tally.take(1, worker.report(), [pool])
    assert (pool["a"].counters.bytes_in, pool["a"].counters.bytes_out) == (11, 102)


def test_a_report_says_nothing_of_servers_where_nothing_happened() -> None:
    worker = Counting()
    assert set(worker.report().pools["p"].servers) == {"a", "b"}
    worker.begin()
    assert set(worker.report().pools["p"].servers) == {"a"}
    assert worker.report().pools["p"].servers == {}


def test_another_server_under_the_same_name_begins_with_nothing() -> None:
    tally, pool = parent()
    worker = Counting()
    worker.begin()
    tally.take(1, worker.report(), [pool])
    moved = [Server("a", "127.0.0.1:99"), pool["b"]]
    pool.change(moved, 0.0)
    worker.begin()
    tally.take(1, worker.report(), [pool])
    assert pool["a"].counters.sessions == 0, "that was the old one"
    worker.pool.change([Server("a", "127.0.0.1:99"), worker.pool["b"]], 0.0)
    worker.begin()
    tally.take(1, worker.report(), [pool])
    assert (pool["a"].counters.sessions, pool["a"].open_sessions) == (1, 1)


def test_those_who_wait_and_what_is_left() -> None:
    tally, pool = parent()
    worker = Counting()
    worker.pool.wait(0.0, 9.0, lambda _: None)
    tally.take(1, worker.report(), [pool])
    tally.take(2, worker.report(), [pool])
    assert tally.waiting() == {"p": 2}
    tally.keep([], [])
    assert tally.listener(EMPTY).counters == {}


def test_what_a_worker_alone_thinks_of_a_server_is_known() -> None:
    tally, pool = parent()
    workers = [Counting(), Counting()]
    workers[1].pool.set_state("b", AdminState.MAINT, 0.0)
    for number, worker in enumerate(workers, 1):
        tally.take(number, worker.report(), [pool])
    assert tally.standings([pool]) == {pool["b"]: {"2": "maint"}}
    pool.set_state("b", AdminState.MAINT, 0.0)
    assert tally.standings([pool]) == {pool["b"]: {"1": "up"}}
    pool.change([pool["a"], Server("b", "127.0.0.1:99")], 0.0)
    assert tally.standings([pool]) == {}, "that is another server"
