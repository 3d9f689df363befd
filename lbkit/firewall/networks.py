"""Networks in CIDR, and the table that tells for an address whether it is let in.

The most specific network that holds an address decides, wherever it stands in the lists; where the same
network is both allowed and denied it is denied. An address that is in none is let in, unless something is
allowed: then only what is allowed comes in.

Strategy: networks are nested or apart and never overlap otherwise, so the longest prefix of every address can
be worked out beforehand. The line of all places is cut into stretches with one verdict each, and a look-up is
one binary search in C: log2 of twice the number of networks, which is never more than the bits of an address.

Rejected: a dict of masked numbers for each prefix length that occurs, which takes up to 33 look-ups for IPv4
and 129 for IPv6 (3 to 15 µs); a binary trie, whose every bit is a step of Python.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from lbkit.firewall.places import IPV6

__all__ = ["Network", "NetworkTable", "read_networks"]


@dataclass(frozen=True, slots=True)
class Network:
    """`size` places from `first` on, a power of two."""

    first: int
    size: int

    @classmethod
    def parse(cls, text: str) -> Network:
        """Read ``192.0.2.0/24``, ``2001:db8::/32`` or a single address. Raises ValueError that says what is
        wrong; also where bits behind the prefix are set, which is mostly a slip of the pen."""
        try:
            network = ipaddress.ip_network(text)
        except ValueError:
            try:
                meant = ipaddress.ip_network(text, strict=False)
            except ValueError:
                raise ValueError(
                    f'"{text}" is not a network: expected one such as "192.0.2.0/24" or "2001:db8::/32"'
                ) from None
            raise ValueError(f'"{text}" has bits behind its prefix: write "{meant}"') from None
        first, size = int(network.network_address), network.num_addresses
        if network.version == 4:
            return cls(first, size)
        if first >> 32 == 0xFFFF and size <= IPV6:  # IPv4 written as IPv6: clients are known by the former
            return cls(first & 0xFFFF_FFFF, size)
        return cls(IPV6 + first, size)

    @property
    def is_ipv6(self) -> bool:
        """Whether it is of IPv6 addresses."""
        return self.first >= IPV6

    def __str__(self) -> str:
        bits = self.size.bit_length() - 1
        if self.is_ipv6:
            return f"{ipaddress.IPv6Address(self.first - IPV6)}/{128 - bits}"
        return f"{ipaddress.IPv4Address(self.first)}/{32 - bits}"


class NetworkTable:
    """Which addresses are let in, of any number of networks."""

    __slots__ = ("_starts", "_verdicts")

    def __init__(self, allow: Iterable[Network] = (), deny: Iterable[Network] = ()) -> None:
        marked = dict.fromkeys(allow, True)
        default = not marked
        marked |= dict.fromkeys(deny, False)
        self._starts = [0]
        """Where each stretch begins; it ends where the next one does."""
        self._verdicts = [default]
        self._cut(marked, default)

    def _cut(self, marked: dict[Network, bool], default: bool) -> None:
        """Walk along the line; `around` are the networks that hold the place reached, innermost last."""
        around: list[tuple[int, bool]] = []
        for network in sorted(marked, key=lambda one: (one.first, -one.size)):
            self._leave(around, network.first, default)
            self._from(network.first, marked[network])
            around.append((network.first + network.size, marked[network]))
        self._leave(around, None, default)

    def _leave(self, around: list[tuple[int, bool]], place: int | None, default: bool) -> None:
        """Leave those that end before *place*, None for all."""
        while around and (place is None or around[-1][0] <= place):
            end, _ = around.pop()
            self._from(end, around[-1][1] if around else default)

    def _from(self, place: int, verdict: bool) -> None:
        if self._starts[-1] == place:
            self._starts.pop()
            self._verdicts.pop()
        if not self._verdicts or self._verdicts[-1] is not verdict:
            self._starts.append(place)
            self._verdicts.append(verdict)

    def __len__(self) -> int:
        return len(self._starts)

    def admits(self, place: int) -> bool:
        """Whether the address at *place* is let in."""
        return self._verdicts[bisect_right(self._starts, place) - 1]

    def denied(self) -> list[tuple[int, int | None]]:
        """The stretches that are not let in: first place and the one behind the last, None for the end."""
        ends: list[int | None] = [*self._starts[1:], None]
        return [
            (start, end)
            for start, end, verdict in zip(self._starts, ends, self._verdicts, strict=True)
            if not verdict
        ]


def read_networks(text: str) -> tuple[list[Network], list[str]]:
    """The networks of a file with one a line, and its mistakes as ``line 3: what is wrong``.

    Empty lines and what follows a # are skipped.
    """
    networks: list[Network] = []
    problems: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.partition("#")[0].strip()
        if entry:
            try:
                networks.append(Network.parse(entry))
            except ValueError as error:
                problems.append(f"line {number}: {error}")
    return networks, problems
