"""`Firewall`: a verdict for one client that connects, and for one request.

In this order, so that what costs least and is surest comes first: networks, bans, sessions open, rate.
Denials by a limit are offences that may lead to a ban; those by a network or a rule are not.

All of it is arithmetic on what is remembered of a client: about a microsecond, and memory for `max_clients`
of them, whatever number there is. The sessions that a client has open are counted only while it has any, so
that their number is bounded by the listener's.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from lbkit.firewall.bans import Bans
from lbkit.firewall.buckets import Buckets
from lbkit.firewall.networks import NetworkTable
from lbkit.firewall.places import client_at
from lbkit.firewall.rate import Rate
from lbkit.firewall.rules import Rule

__all__ = ["Denial", "Firewall", "FirewallSettings", "Refusal"]


class Denial(Enum):
    """Why somebody is not let in; the value names the counter."""

    NETWORK = "denied_network"
    BAN = "denied_ban"
    CONNECTIONS = "denied_connections"
    CONNECTION_RATE = "denied_connection_rate"
    REQUEST_RATE = "denied_request_rate"
    RULE = "denied_rule"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request is answered with `status`; where `retry_after` is not 0 it may come again after so many
    seconds."""

    reason: Denial
    status: int
    retry_after: float = 0.0


@dataclass(frozen=True, slots=True)
class FirewallSettings:
    """What is let in. A rate of None and a number of 0 are no limit."""

    networks: NetworkTable = field(default_factory=NetworkTable)
    connection_rate: Rate | None = None
    request_rate: Rate | None = None
    max_connections: int = 0
    """Sessions that one client may have open."""
    ban_after: int = 0
    ban_window: float = 60.0
    ban_time: float = 600.0
    ipv6_prefix: int = 64
    """Bits of an IPv6 address that make a client."""
    max_clients: int = 65_536
    """Clients remembered at a time, for each of the limits."""
    rules: tuple[Rule, ...] = ()

    @property
    def judges_requests(self) -> bool:
        """Whether requests have to be shown, too."""
        return self.request_rate is not None or bool(self.rules)


class Firewall:
    """Judges clients by their place (`place_of`). `change` keeps all that is known of them."""

    def __init__(self, settings: FirewallSettings, rng: random.Random) -> None:
        """*rng* gives a secret: see `Buckets`."""
        self._secret = rng.getrandbits(64)
        self._connections: Buckets | None = None
        self._requests: Buckets | None = None
        self._bans: Bans | None = None
        self._bans_before = 0
        self._open: dict[int, int] = {}
        self._denied = dict.fromkeys(Denial, 0)
        self.change(settings, 0.0)

    def change(self, settings: FirewallSettings, now: float) -> None:
        """Other settings from now on; bans, buckets and open sessions stay."""
        self.settings = settings
        self._networks = settings.networks
        self._limit = settings.max_connections
        self._prefix = settings.ipv6_prefix
        self._connections = self._buckets(self._connections, settings.connection_rate, now)
        self._requests = self._buckets(self._requests, settings.request_rate, now)
        self._change_bans(settings, now)
        limited = self._connections is not None or self._requests is not None
        self._has_limits = limited or bool(self._limit)

    def _buckets(self, known: Buckets | None, rate: Rate | None, now: float) -> Buckets | None:
        if rate is None:
            return None
        if known is None:
            return Buckets(rate, self.settings.max_clients, self._secret)
        known.change(rate, self.settings.max_clients, now)
        return known

    def _change_bans(self, settings: FirewallSettings, now: float) -> None:
        bans = self._bans
        if not settings.ban_after:
            self._bans_before += bans.given if bans is not None else 0
            self._bans = None
        elif bans is None:
            self._bans = Bans(
                settings.ban_after, settings.ban_window, settings.ban_time, settings.max_clients
            )
        else:
            bans.after, bans.window, bans.time = (
                settings.ban_after,
                settings.ban_window,
                settings.ban_time,
            )
            bans.resize(settings.max_clients, now)

    @property
    def counters(self) -> dict[str, int]:
        """Totals by name: denials by reason, and bans given."""
        given = self._bans_before + (self._bans.given if self._bans is not None else 0)
        return {reason.value: count for reason, count in self._denied.items()} | {"bans": given}

    def judge(self, place: int, now: float) -> Denial | None:
        """Whether the client at *place* may begin a session; None lets it in, and `began` must follow."""
        if not self._networks.admits(place):
            return self._deny(Denial.NETWORK)
        if not self._has_limits:
            return None
        client = client_at(place, self._prefix)
        if self._bans is not None and self._bans.left(client, now):
            return self._deny(Denial.BAN)
        if self._limit and self._open.get(client, 0) >= self._limit:
            return self._offence(client, Denial.CONNECTIONS, now)
        buckets = self._connections
        if buckets is not None and buckets.take(client, now):
            if client not in buckets:
                return self._deny(Denial.CONNECTION_RATE)
            return self._offence(client, Denial.CONNECTION_RATE, now)
        return None

    def began(self, place: int) -> int:
        """The client at *place* has a session more; the number that `ended` must be given once."""
        client = client_at(place, self._prefix)
        self._open[client] = self._open.get(client, 0) + 1
        return client

    def ended(self, client: int) -> None:
        """A session is over."""
        left = self._open[client] - 1
        if left:
            self._open[client] = left
        else:
            del self._open[client]

    def open_sessions(self, place: int) -> int:
        """How many the client at *place* has."""
        return self._open.get(client_at(place, self._prefix), 0)

    def judge_request(
        self,
        place: int | None,
        method: str,
        path: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        now: float,
    ) -> Refusal | None:
        """Whether a request is answered; None is yes. *place* None is a client without an IP address, to
        which only rules apply."""
        if place is not None and (refusal := self._judge_rate(client_at(place, self._prefix), now)):
            return refusal
        for rule in self.settings.rules:
            if rule.matches(method, path, headers):
                if not rule.status:
                    return None
                self._deny(Denial.RULE)
                return Refusal(Denial.RULE, rule.status)
        return None

    def _judge_rate(self, client: int, now: float) -> Refusal | None:
        if self._bans is not None and (left := self._bans.left(client, now)):
            return Refusal(self._deny(Denial.BAN), 429, left)
        buckets = self._requests
        if buckets is None or not (wait := buckets.take(client, now)):
            return None
        if client in buckets:
            self._offence(client, Denial.REQUEST_RATE, now)
        else:
            self._deny(Denial.REQUEST_RATE)
        return Refusal(Denial.REQUEST_RATE, 429, wait)

    def _deny(self, reason: Denial) -> Denial:
        self._denied[reason] += 1
        return reason

    def _offence(self, client: int, reason: Denial, now: float) -> Denial:
        if self._bans is not None:
            self._bans.offended(client, now)
        return self._deny(reason)
