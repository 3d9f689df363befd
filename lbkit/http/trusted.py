"""`Trusted`: neighbours whose word about the client is taken."""

from __future__ import annotations

from collections.abc import Iterable

from lbkit.firewall import Network, NetworkTable, place_of

__all__ = ["UNIX", "Trusted"]

UNIX = "unix"
"""Stands for whoever comes over a Unix socket: its path's rights say who may."""
_MOST_KNOWN = 4096


class Trusted:
    """Networks, given as ``192.0.2.0/24``, ``2001:db8::/32``, single addresses or `UNIX`.

    ``address in trusted`` says whether one is in any; "" is a Unix socket. Raises ValueError for what is no
    network.
    """

    def __init__(self, networks: Iterable[str]) -> None:
        names = list(networks)
        trusted = [Network.parse(name) for name in names if name != UNIX]
        self._table = NetworkTable(trusted) if trusted else None
        self._known: dict[object, bool] = {"": UNIX in names}

    def __contains__(self, address: object) -> bool:
        known = self._known.get(address)  # neighbours are few, and come again
        if known is None:
            known = isinstance(address, str) and self._judge(address)
            if len(self._known) < _MOST_KNOWN:
                self._known[address] = known
        return known

    def _judge(self, text: str) -> bool:
        try:
            return self._table is not None and self._table.admits(place_of(text))
        except ValueError:
            return False
