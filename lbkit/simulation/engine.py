"""The event loop: arrivals in their order, and between two of them whatever is due.

The decisions are those of real `Pool`s, one for each balancer, each with `Server` objects of its own that
stand for the same simulated machines: pick, acquire, responded and release are called as live, with virtual
time. So health, limits, queues, weights and retry budgets act here as they do there.

Cost: one heap entry for a request, for its end. Arrivals come from a stream and client timeouts, all equally
long, from a queue in which they are in order already. Ends that are due with an arrival come first: a server
that finishes at the moment a request comes is free for it.

Rejected: an object with a coroutine for each request, as in general simulation libraries, whose switches cost
more than the picks; and leaps over idle time or fluid approximations, in which algorithms would not see
single requests.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from typing import Any

from lbkit.errors import NoServerAvailable, PoolFull
from lbkit.pool import Pool, Waiter
from lbkit.server import Outcome, Server
from lbkit.simulation.machines import Machine, Request, Sharing
from lbkit.simulation.record import Recorder
from lbkit.simulation.scenario import Event, Scenario

__all__ = ["Engine", "Progress"]

Progress = Callable[[int, float], None]
"""Told now and then: requests so far, and the virtual time."""

Callback = Callable[[float], None]
_Waiting = tuple[Pool, float, float, bytes | None]
"""Pool, when it came, work, key."""
_STRIDE = 1 << 14
"""Requests between two looks at the buffer and the progress bar."""


class Engine:
    """One run of one algorithm. Make it, `run` it, read the records."""

    def __init__(
        self,
        scenario: Scenario,
        pools: list[Pool],
        machines: list[Machine],
        machine_of: dict[Server, Machine],
        *,
        picks: array[int] | None = None,
        as_recorded: bool = False,
    ) -> None:
        """*picks* gets the machine's index of every pick. *as_recorded* goes where the trace went."""
        self.scenario = scenario
        self.pools = pools
        self.machines = machines
        self.machine_of = machine_of
        self.picks = picks
        self.as_recorded = as_recorded
        self.now = 0.0
        self.lasted = 0.0
        """When the last request came."""
        self.requests = 0
        """Those that came, warm-up included."""
        self.record = Recorder()
        self.open = 0
        """Requests that wait for an answer now."""
        self.retries = 0
        self._heap: list[tuple[float, int, Request | Callback]] = []
        self._order = 0
        self._deadlines: deque[tuple[float, Request]] = deque()
        self._arriving = True
        self._woken: list[Waiter] = []
        self._waiting: dict[Waiter, _Waiting] = {}
        self._watched: set[Pool] = set()
        self._stuck: list[Request] = []
        """In servers that stand still."""
        self._retry_on = frozenset(scenario.pool.retry_on)
        self._is_probed = any(type(pool.balancer).probing for pool in pools)
        for pool in pools:
            pool.probe = self._prober(pool)

    # ------------------------------------------------------------ the loop

    def run(
        self,
        stream: Iterable[tuple[float, float, bytes | None, str | None]],
        progress: Progress | None = None,
    ) -> None:
        """Serve *stream* (time, work, key, recorded server) until the scenario's end, then let the rest
        end.
        """
        scenario = self.scenario
        end = math.inf if scenario.duration is None else float(scenario.duration)
        limit = scenario.requests or math.inf
        warmup = float(scenario.warmup)
        heap, deadlines, pools, start = self._heap, self._deadlines, self.pools, self._start
        several = len(pools) > 1
        record = self.record
        choose, count = scenario.rng("clients").random, len(pools)
        pool = pools[0]
        self._begin()
        requests, last = 0, 0.0
        for now, work, key, recorded in stream:
            if now >= end or requests >= limit:
                break
            if (heap and heap[0][0] <= now) or (deadlines and deadlines[0][0] <= now):
                self._advance(now)
            requests, last = requests + 1, now
            if now >= warmup:
                record.counted += 1
            if not requests % _STRIDE:
                self.requests = requests
                record.fold()
                self._forget_answered()
                if progress is not None:
                    progress(requests, now)
            if several:
                pool = pools[int(choose() * count)]
            self.open += 1
            start(pool, now, work, key, recorded)
            if self._woken:
                self._serve_woken(now)
        self.requests, self.lasted = requests, last
        self._arriving = False
        self._finish_up()

    def _forget_answered(self) -> None:
        """Take requests that were answered long before their deadline out of the queue of deadlines."""
        deadlines = self._deadlines
        if len(deadlines) > 2 * self.open + _STRIDE:
            left = [entry for entry in deadlines if entry[1].is_open]
            deadlines.clear()
            deadlines.extend(left)

    def _begin(self) -> None:
        """Put everything in the heap that happens by itself."""
        scenario = self.scenario
        for event in scenario.events:
            self._plan(event, 0)
        if scenario.health is not None:
            for number, pool in enumerate(self.pools):
                self._check(pool, 0.0)
                # Not all balancers at the same moment.
                first = scenario.health.interval * (number + 1) / len(self.pools)
                self.at(first, self._checker(pool, scenario.health.interval))
        self._sample_every(self._sample_length())

    def _sample_length(self) -> float:
        if self.scenario.sample:
            return float(self.scenario.sample)
        expected = self.scenario.expected_duration()
        return expected / 200 if 0 < expected < math.inf else 1.0

    def _finish_up(self) -> None:
        """Let what is open come to its end; what never will is an error."""
        while (self._heap or self._deadlines) and self.open:
            nearest = self._heap[0][0] if self._heap else math.inf
            if self._deadlines:
                nearest = min(nearest, self._deadlines[0][0])
            if nearest == math.inf:
                break
            self._advance(nearest)
        if unfinished := self.record.unanswered:
            self.record.errors["unfinished"] = unfinished
        self.record.close_window(self.now, self._loads())

    def at(self, when: float, what: Callback) -> None:
        """Call *what* with the time, at *when*."""
        self._order += 1
        heappush(self._heap, (when, self._order, what))

    def _advance(self, until: float) -> None:
        """Everything that is due until then."""
        heap, deadlines, done = self._heap, self._deadlines, self._done
        while True:
            while deadlines and not deadlines[0][1].is_open:
                deadlines.popleft()
            if heap and heap[0][0] <= until and not (deadlines and deadlines[0][0] < heap[0][0]):
                now, _, what = heappop(heap)
                self.now = now
                if what.__class__ is Request:
                    done(what, now)
                else:
                    what(now)  # type: ignore[operator]
            elif deadlines and deadlines[0][0] <= until:
                now, request = deadlines.popleft()
                self.now = now
                self._give_up(request, now)
            else:
                return
            if self._woken:
                self._serve_woken(self.now)

    # ------------------------------------------------------------ the life of a request

    def _start(self, pool: Pool, now: float, work: float, key: bytes | None, recorded: str | None) -> None:
        """A request comes: pick a server and send it there."""
        try:
            server = pool.pick(now, key) if recorded is None else self._recorded(pool, recorded, now, key)
        except PoolFull:
            self._queue(pool, now, work, key)
            return
        except NoServerAvailable:
            self._fail(now, now, "no server")
            return
        pool.acquire(server, now)
        self._send(Request(pool, server, self.machine_of[server], now, now, work, key), now)

    def _recorded(self, pool: Pool, name: str, now: float, key: bytes | None) -> Server:
        if not self.as_recorded:
            return pool.pick(now, key)
        server = pool[name]
        server.counters.picks += 1
        return server

    def _send(self, request: Request, now: float) -> None:
        machine = request.machine
        if self.picks is not None:
            self.picks.append(machine.index)
        if not machine.is_up:
            if machine.refuses:
                self._broken(request, now, Outcome.CONNECT_FAILED, "connect")
                return
        else:
            if self._is_probed:
                request.load = machine.in_flight
            due = machine.admit(request, now)
            if due < math.inf:
                self._order += 1
                heappush(self._heap, (due, self._order, request))
            elif isinstance(machine, Sharing):
                self._look_at(machine)
            else:
                self._stuck.append(request)
        timeout = self.scenario.timeout
        if timeout:
            self._deadlines.append((now + timeout, request))

    def _done(self, request: Request, now: float) -> None:
        """*request* has left its machine."""
        machine = request.machine
        machine.in_flight -= 1
        sent = request.sent
        if self._is_probed:
            machine.remember(request.load, now - sent)
        if not request.is_open:
            return
        request.is_open = False
        self.open -= 1
        pool, server = request.pool, request.server
        pool.responded(server, now - sent, now)
        pool.release(server, now, now - sent)
        if request.is_retry:
            pool.end_retry()
        began = request.began
        if began >= self.scenario.warmup:
            self.record.buffer.append(now - began)

    def _give_up(self, request: Request, now: float) -> None:
        """The client waits no longer; most servers do not notice."""
        machine = request.machine
        if isinstance(machine, Sharing) and machine.spec.drops and machine.is_up:
            machine.drop(request, now)
            self._look_at(machine)
        self._broken(request, now, Outcome.TIMEOUT, "timeout")

    def _broken(self, request: Request, now: float, outcome: Outcome, why: str) -> None:
        """A try failed: count it and try another server where that is allowed."""
        request.is_open = False
        pool = request.pool
        pool.release(request.server, now, now - request.sent, outcome)
        if request.is_retry:
            pool.end_retry()
        tried = (*request.tried, request.server)
        again = why in self._retry_on and len(tried) <= self.scenario.retries and not self.as_recorded
        if again and pool.start_retry():
            self.retries += 1
            self._retry(request, now, tried, why)
        else:
            self._fail(request.began, now, why)

    def _retry(self, request: Request, now: float, tried: tuple[Server, ...], why: str) -> None:
        pool = request.pool
        try:
            server = pool.pick(now, request.key, tried)
        except NoServerAvailable:
            # Retries do not stand in line: whoever does has a place there from the start.
            pool.end_retry()
            self._fail(request.began, now, why)
            return
        pool.acquire(server, now)
        machine = self.machine_of[server]
        retry = Request(pool, server, machine, request.began, now, request.work, request.key)
        retry.tried = tried
        if why == "connect":
            # Live it counts until it is connected, which takes no time here.
            pool.end_retry()
        else:
            retry.is_retry = True
        self._send(retry, now)

    def _fail(self, began: float, now: float, why: str) -> None:
        """The client gets an error."""
        self.open -= 1
        if began >= self.scenario.warmup:
            self.record.fail(why, now - began)

    # ------------------------------------------------------------ waiting for a place

    def _queue(self, pool: Pool, now: float, work: float, key: bytes | None) -> None:
        patience = self.scenario.pool.queue_timeout
        deadline = now + patience if patience else math.inf  # 0 is no limit, as live
        try:
            waiter = pool.wait(now, deadline, self._woken.append)
        except PoolFull:
            self._fail(now, now, "queue full")
            return
        self._waiting[waiter] = (pool, now, work, key)
        if pool not in self._watched and patience:
            self._watched.add(pool)
            self.at(deadline, self._watcher(pool))

    def _watcher(self, pool: Pool) -> Callback:
        """Lets *pool* wake those whose time in its queue is over, as long as somebody stands there."""

        def watch(now: float) -> None:
            pool.advance(now)
            if pool.waiting:
                self.at(pool.next_deadline(), watch)
            else:
                self._watched.discard(pool)

        return watch

    def _serve_woken(self, now: float) -> None:
        while self._woken:
            woken, self._woken[:] = list(self._woken), []
            for waiter in woken:
                pool, began, work, key = self._waiting.pop(waiter)
                server = waiter.server
                if server is None:
                    self._fail(began, now, "queue timeout")
                    continue
                self._send(Request(pool, server, self.machine_of[server], began, now, work, key), now)

    # ------------------------------------------------------------ shared machines

    def _look_at(self, machine: Sharing) -> None:
        """See to it that the engine looks at *machine* when its next request is done."""
        due = machine.next_due()
        if due < machine.tick:
            machine.tick = due
            self.at(due, lambda now: self._tick(machine, now))

    def _tick(self, machine: Sharing, now: float) -> None:
        if now != machine.tick:
            return  # something earlier came in between
        machine.tick = math.inf
        for request in machine.take_done(now):
            self._done(request, now)
        self._look_at(machine)

    # ------------------------------------------------------------ what happens to machines

    def _plan(self, event: Event, round_: int) -> None:
        names = {spec.name: spec.names() for spec in self.scenario.servers}.get(event.server, [event.server])
        wanted = [machine for machine in self.machines if machine.name in names]
        shift = 0.0 if event.every is None else round_ * event.every

        def begin(now: float) -> None:
            for machine in wanted:
                machine.begin(event)
                self._apply(machine, now)
            if event.every is not None and self._arriving:
                self._plan(event, round_ + 1)

        def undo(now: float) -> None:
            for machine in wanted:
                machine.end(event)
                self._apply(machine, now)

        self.at(event.at + shift, begin)
        if event.until is not None:
            self.at(event.until + shift, undo)

    def _apply(self, machine: Machine, now: float) -> None:
        """Put *machine* into the condition that events want it in."""
        speed, down = machine.condition()
        if speed != machine.speed:
            self._set_speed(machine, speed, now)
        was_up, machine.is_up, machine.refuses = machine.is_up, down is None, down == "refuse"
        if machine.is_up or not was_up:
            return
        lost = self._take_out(machine)
        machine.clear(now)
        for request in lost:
            # After a network failure the client hears nothing; its timeout, if it has one, will end it.
            if request.is_open and machine.refuses:
                self._broken(request, now, Outcome.ERROR, "error")

    def _set_speed(self, machine: Machine, speed: float, now: float) -> None:
        inside = [] if isinstance(machine, Sharing) else self._take_out(machine)
        machine.set_speed(speed, now)
        if isinstance(machine, Sharing):
            machine.tick = math.inf
            self._look_at(machine)
        for request in inside:
            due = machine.due(request, now)
            if due < math.inf:
                self._order += 1
                heappush(self._heap, (due, self._order, request))
            else:
                self._stuck.append(request)

    def _take_out(self, machine: Machine) -> list[Request]:
        """The requests in *machine*, in order, without their ends. Looks at all that are open: it is rare."""
        if isinstance(machine, Sharing):
            machine.tick = math.inf
            return machine.requests()
        mine: list[tuple[int, Request]] = []
        rest: list[Any] = []
        for entry in self._heap:
            what = entry[2]
            if isinstance(what, Request) and what.machine is machine:
                mine.append((entry[1], what))
            else:
                rest.append(entry)
        self._heap[:] = rest
        heapify(self._heap)
        stuck = [request for request in self._stuck if request.machine is machine]
        self._stuck = [request for request in self._stuck if request.machine is not machine]
        return [request for _, request in sorted(mine, key=lambda pair: pair[0])] + stuck

    # ------------------------------------------------------------ checks and probes

    def _check(self, pool: Pool, now: float) -> None:
        for server in list(pool):
            machine = self.machine_of[server]
            why = "answered" if machine.is_up else "refused" if machine.refuses else "no answer"
            pool.observe(server.name, machine.is_up, why, now)

    def _checker(self, pool: Pool, interval: float) -> Callback:
        def check(now: float) -> None:
            self._check(pool, now)
            if self._arriving:
                self.at(now + interval, check)

        return check

    def _prober(self, pool: Pool) -> Callable[[Server, float], None]:
        delay = self.scenario.probe_delay

        def answer(server: Server, now: float) -> None:
            machine = self.machine_of[server]
            if machine.is_up:
                pool.balancer.probed(server, machine.in_flight, machine.latency(), now)

        def probe(server: Server, now: float) -> None:
            if delay:
                self.at(now + delay, lambda then: answer(server, then))
            else:
                answer(server, now)

        return probe

    # ------------------------------------------------------------ records

    def _sample_every(self, length: float) -> None:
        record = self.record

        def sample(now: float) -> None:
            record.close_window(now, self._loads())
            # A product and no running sum, so that windows do not drift.
            end = (len(record.windows) + 1) * length
            record.open_window(now, end)
            if self._arriving:
                self.at(end, sample)

        record.open_window(0.0, length)
        self.at(length, sample)

    def _loads(self) -> Iterable[int]:
        return (machine.in_flight for machine in self.machines)
