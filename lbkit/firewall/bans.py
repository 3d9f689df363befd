"""`Bans`: who was denied too often by a limit is let in no more for a while.

An offence is a denial by a limit, not one by a list or by a ban. A window begins with a client's first
offence; the one that makes `after` within it brings the ban. A ban ends at its time whatever is tried
meanwhile: a client that only retries is not shut out for ever.

Where the table of offences is full of others a new client's are not counted, and where that of bans is full
it is not banned: it stays under the limit that it offended, which is what the ban would have spared us to
work out. Nobody's ban ends early for it (see `clients`).
"""

from __future__ import annotations

from typing import TypeAlias

from lbkit.firewall.clients import ClientTable

__all__ = ["Bans"]

_Offences: TypeAlias = tuple[float, int]
"""When the window ends, and how many there were."""


def _window_is_over(offences: _Offences, now: float) -> bool:
    return offences[0] <= now


def _ban_is_over(until: float, now: float) -> bool:
    return until <= now


class Bans:
    """*after* offences within *window* seconds ban for *time* seconds; at most *capacity* clients."""

    def __init__(self, after: int, window: float, time: float, capacity: int) -> None:
        self.after = after
        self.window = window
        self.time = time
        self.given = 0
        """Bans so far."""
        self._offences: ClientTable[_Offences] = ClientTable(capacity, _window_is_over)
        self._until: ClientTable[float] = ClientTable(capacity, _ban_is_over)

    def resize(self, capacity: int, now: float) -> None:
        """As `ClientTable.resize`."""
        self._offences.resize(capacity, now)
        self._until.resize(capacity, now)

    def left(self, client: int, now: float) -> float:
        """Seconds that *client* is still banned; 0 where it is not."""
        until = self._until.get(client)
        return 0.0 if until is None or until <= now else until - now

    def offended(self, client: int, now: float) -> None:
        """*client* was denied by a limit."""
        known = self._offences.get(client)
        end, count = (now + self.window, 0) if known is None or known[0] <= now else known
        count += 1
        if count >= self.after and self._until.put(client, now + self.time, now):
            self.given += 1
            end, count = now, 0  # after the ban it begins anew
        self._offences.put(client, (end, count), now)
