"""Outlier ejection: servers that fail more than their neighbours are left out for a while.

Envoy's outlier detection with its defaults. Two detectors: some failures in a row eject at once; and
every interval a server is ejected whose success rate lies more than a number of standard deviations under
the mean, among at least so many servers with at least so many requests each. A server is out for the base
time × the times it was ejected; each interval that it spends in takes one of those off again. A failure
is a 5xx, a broken answer, silence, or a failed connect; what a client broke off does not count.

Unlike Envoy's, which looks once an interval, an ejection ends when its time is over. At most a share of
the servers is out at a time, but one may always be. (Whether that last one is used all the same where
nobody else is left is the pool's affair.)
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lbkit.server import Server

__all__ = ["OutlierDetector", "OutlierRules"]


@dataclass(frozen=True, slots=True)
class OutlierRules:
    """Durations are seconds; the defaults are Envoy's."""

    consecutive: int = 5
    interval: float = 10.0
    base_ejection: float = 30.0
    max_ejection: float = 300.0
    max_ejected_percent: float = 10.0
    """Of the pool's servers at a time; one may always be."""
    deviations: float = 1.9
    """Standard deviations under the mean success rate; 0 turns this detector off."""
    rate_servers: int = 5
    """Servers with enough requests that it takes to compare success rates."""
    rate_requests: int = 100
    """Requests in an interval that make a server comparable."""


class _Record:
    __slots__ = ("ejections", "failures", "in_row", "requests", "until")

    def __init__(self) -> None:
        self.in_row = 0
        self.requests = 0
        self.failures = 0
        self.ejections = 0
        self.until = 0.0
        """When the present ejection ends; 0 while there is none."""


class OutlierDetector:
    """Which servers are ejected. `count` results as they come and `advance` at `next_deadline`."""

    def __init__(self, rules: OutlierRules, now: float) -> None:
        self.rules = rules
        self._records: dict[Server, _Record] = {}
        self._sweep_at = now + rules.interval
        self._ejections = 0

    def take_ejections(self) -> int:
        """How many there were since the last call."""
        ejections, self._ejections = self._ejections, 0
        return ejections

    def keep(self, servers: Collection[Server]) -> None:
        """Forget everybody else."""
        self._records = {server: self._records.get(server) or _Record() for server in servers}

    def is_ejected(self, server: Server) -> bool:
        """Whether *server* is left out now."""
        return self._records[server].until > 0

    def ejected_until(self, server: Server) -> float:
        """When its ejection ends, monotonic seconds; 0 where it is not ejected."""
        return self._records[server].until

    def next_deadline(self) -> float:
        """When `advance` has something to do."""
        return min([self._sweep_at, *(record.until for record in self._records.values() if record.until)])

    def count(self, server: Server, failed: bool, now: float) -> bool:
        """One result of *server*; True when it is ejected for it. Results of strangers are ignored."""
        record = self._records.get(server)
        if record is None:
            return False
        record.requests += 1
        if not failed:
            record.in_row = 0
            return False
        record.failures += 1
        record.in_row += 1
        if record.in_row < self.rules.consecutive or record.until:
            return False
        record.in_row = 0
        return self._eject(record, now)

    def _eject(self, record: _Record, now: float) -> bool:
        ejected = sum(record.until > 0 for record in self._records.values())
        if ejected + 1 > max(1, math.floor(len(self._records) * self.rules.max_ejected_percent / 100)):
            return False
        record.ejections += 1
        self._ejections += 1
        record.until = now + min(self.rules.base_ejection * record.ejections, self.rules.max_ejection)
        return True

    def advance(self, now: float) -> bool:
        """End ejections whose time is over and compare success rates; True when anything changed."""
        changed = False
        for record in self._records.values():
            if 0 < record.until <= now:
                record.until = 0.0
                record.in_row = 0
                changed = True
        if now >= self._sweep_at:
            self._sweep_at = now + self.rules.interval
            changed = self._sweep(now) or changed
        return changed

    def _sweep(self, now: float) -> bool:
        outliers = self._outliers()
        changed = False
        for record in self._records.values():
            if record in outliers:
                changed = self._eject(record, now) or changed
            elif not record.until and record.ejections:
                record.ejections -= 1
            record.requests = record.failures = 0
        return changed

    def _outliers(self) -> Sequence[_Record]:
        rules = self.rules
        comparable = [
            record
            for record in self._records.values()
            if record.requests >= rules.rate_requests and not record.until
        ]
        if not rules.deviations or len(comparable) < rules.rate_servers:
            return ()
        rates = [1 - record.failures / record.requests for record in comparable]
        mean = math.fsum(rates) / len(rates)
        deviation = math.sqrt(math.fsum((rate - mean) ** 2 for rate in rates) / len(rates))
        bound = mean - rules.deviations * deviation
        # Where all are alike rounding alone must not make an outlier.
        return [
            record
            for record, rate in zip(comparable, rates, strict=True)
            if rate < bound and deviation > 1e-9
        ]
