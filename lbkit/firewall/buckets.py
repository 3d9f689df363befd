"""`Buckets`: a token bucket for each client, in bounded memory.

Strategy: the generic cell rate algorithm (ITU-T I.371), which is a token bucket as one number: the time at
which the client's bucket will be full again. A bucket that is full says nothing, so its client can be
forgotten. No timer fills anything.

Who finds the table full of clients with less than full buckets shares one of `SHARED` spare buckets with
others, chosen by a keyed hash. So the limit holds for every client also then; a newcomer may suffer from
others who share his bucket, and is therefore never reported as an offender.
"""

from __future__ import annotations

from lbkit.firewall.clients import ClientTable
from lbkit.firewall.rate import Rate

__all__ = ["SHARED", "Buckets"]

SHARED = 1024
"""Spare buckets for clients that find the table full."""
_ROUNDING = 1e-9


def _is_full(full_at: float, now: float) -> bool:
    return full_at <= now


class Buckets:
    """What each client has left of *rate*; at most *capacity* clients have a bucket of their own."""

    def __init__(self, rate: Rate, capacity: int, secret: int) -> None:
        """*secret* is a random number: with it nobody can tell who shares a bucket with whom."""
        self._clients: ClientTable[float] = ClientTable(capacity, _is_full)
        self._shared = [0.0] * SHARED
        self._secret = secret
        self._set_rate(rate)

    def _set_rate(self, rate: Rate) -> None:
        self._rate = rate
        self._interval = rate.interval
        self._depth = rate.interval * rate.burst + _ROUNDING

    def change(self, rate: Rate, capacity: int, now: float) -> None:
        """Another rate and number of clients; as many tokens as are missing in a bucket stay missing, at most
        all."""
        if rate != self._rate:
            ratio = rate.interval / self._interval
            self._set_rate(rate)

            def convert(full_at: float) -> float:
                return now + min(max(0.0, full_at - now) * ratio, self._depth)

            self._clients.convert(convert)
            self._shared = [convert(full_at) for full_at in self._shared]
        self._clients.resize(capacity, now)

    def __len__(self) -> int:
        return len(self._clients)

    def __contains__(self, client: int) -> bool:
        """Whether *client* has a bucket of its own."""
        return client in self._clients

    def take(self, client: int, now: float) -> float:
        """Take a token: 0 where there was one, else the seconds until there will be."""
        full_at = self._clients.get(client)
        if full_at is None:
            if self._clients.put(client, now + self._interval, now):
                return 0.0
            return self._take_shared(client, now)
        full_at = (full_at if full_at > now else now) + self._interval
        if (wait := full_at - now - self._depth) > 0:
            return wait
        self._clients.put(client, full_at, now)
        return 0.0

    def _take_shared(self, client: int, now: float) -> float:
        index = hash((self._secret, client)) % SHARED
        full_at = max(self._shared[index], now) + self._interval
        if (wait := full_at - now - self._depth) > 0:
            return wait
        self._shared[index] = full_at
        return 0.0
