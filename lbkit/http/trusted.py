"""`Trusted`: neighbours whose word about the client is taken."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

__all__ = ["UNIX", "Trusted"]

UNIX = "unix"
"""Stands for whoever comes over a Unix socket: its path's rights say who may."""
_MOST_KNOWN = 4096


class Trusted:
    """Networks, given as ``192.0.2.0/24``, ``2001:db8::/32``, single addresses or `UNIX`.

    ``address in trusted`` says whether one is in any; "" is a Unix socket. An IPv4 address that an IPv6
    socket shows as ``::ffff:192.0.2.1`` is what it is. Raises ValueError for what is no network.
    """

    def __init__(self, networks: Iterable[str]) -> None:
        names = list(networks)
        self._networks = [ipaddress.ip_network(name) for name in names if name != UNIX]
        self._known: dict[str, bool] = {"": UNIX in names}

    def __contains__(self, address: object) -> bool:
        known = self._known.get(address)  # type: ignore[call-overload]  # neighbours are few, and come again
        if known is None:
            known = isinstance(address, str) and self._judge(address)
            if len(self._known) < _MOST_KNOWN and isinstance(address, str):
                self._known[address] = known
        return bool(known)

    def _judge(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address.version == network.version and address in network for network in self._networks)
