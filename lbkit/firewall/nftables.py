"""A firewall as an nftables ruleset: the kernel turns away what lbkit would, before a socket exists.

One table is replaced as a whole. For each listener there are, for IPv4 and IPv6, an interval set of all that
is denied (`NetworkTable.denied`: the longest prefixes are worked out already, so that one look-up decides as
lbkit does), and dynamic sets with one element for each client: its token bucket (``limit rate over``), its
connections (``ct count over``), its offences and its ban. A denial is a TCP reset, as lbkit's is.

What the kernel cannot do, or does otherwise, is written beside the rules as a comment: it never sees requests
nor PROXY headers; it counts first packets, so that somebody can have another one banned by forging his
address, where lbkit sees only connections that were made; a full set lets newcomers through without a limit,
where lbkit lets them share one; offences leak out of a bucket in place of a window that begins with the first
one.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lbkit.firewall.firewall import FirewallSettings
from lbkit.firewall.places import END, IPV6
from lbkit.firewall.rate import Rate

__all__ = ["Port", "ruleset"]

_UNITS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0, "week": 604800.0}
_SYN = "tcp flags & (fin | syn | rst | ack) == syn ct state new"
_REJECT = "counter reject with tcp reset"
_A_LINE = 4
_NO_WORD = re.compile(r"[^A-Za-z0-9]+")


@dataclass(frozen=True, slots=True)
class Port:
    """A listener and its firewall. `host` is an IP address; ``0.0.0.0`` and ``::`` are any. `why_not` says
    what makes the kernel unable to do it, where something does; then no rules are written."""

    name: str
    host: str
    port: int
    settings: FirewallSettings
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class _Family:
    """What differs between IPv4 and IPv6."""

    digit: int
    kind: str
    source: str
    first: int
    end: int

    def client(self, prefix: int) -> str:
        """The expression for what a client is counted by."""
        if self.digit == 4 or prefix == 128:
            return self.source
        return f"{self.source} & {ipaddress.IPv6Address((1 << 128) - (1 << (128 - prefix)))}"

    def text(self, place: int) -> str:
        if self.digit == 4:
            return str(ipaddress.IPv4Address(place))
        return str(ipaddress.IPv6Address(place - IPV6))


_FAMILIES = (
    _Family(4, "ipv4_addr", "ip saddr", 0, IPV6),
    _Family(6, "ipv6_addr", "ip6 saddr", IPV6, END),
)


def ruleset(ports: Iterable[Port], table: str = "lbkit", origin: str = "") -> str:
    """The ruleset for all of *ports*, as ``nft -f`` reads it. *origin* is named in its first line."""
    ports = list(ports)
    words = _words(port.name for port in ports)
    parts = [_Chains(port, word) for port, word in zip(ports, words, strict=True)]
    lines = [
        f"# The firewall of lbkit{f' as in {_shown(origin)}' if origin else ''}, for nftables: nft -f FILE",
        "# It replaces the table as a whole; who was banned or counted then begins anew.",
        f"table inet {table}",
        f"delete table inet {table}",
        f"table inet {table} {{",
    ]
    for part in parts:
        lines += [f"\t{line}" if line else "" for line in part.lines()]
    lines += ["\tchain input {", "\t\ttype filter hook input priority filter; policy accept;"]
    lines += [f"\t\t{line}" for part in parts for line in part.entries()]
    return "\n".join([*lines, "\t}", "}", ""])


class _Chains:
    """The sets and chains of one listener; *word* is what their names begin with."""

    def __init__(self, port: Port, word: str) -> None:
        self._port = port
        self._settings = port.settings
        self._word = word
        self._has_bans = bool(port.settings.ban_after)

    def entries(self) -> Iterator[str]:
        """What leads to them from the input chain."""
        if self._port.why_not:
            return
        for family in _FAMILIES:
            where = self._where(family)
            if where is not None:
                yield f"{where}tcp dport {self._port.port} {_SYN} jump {self._word}_{family.digit}"

    def _where(self, family: _Family) -> str | None:
        """The match of the listener's address; None where it takes nobody of this family."""
        host = ipaddress.ip_address(self._port.host.partition("%")[0])
        if host.version != family.digit:
            # A socket that is bound to :: takes IPv4, too.
            return "meta nfproto ipv4 " if host.version == 6 and not int(host) else None
        if not int(host):
            return f"meta nfproto ipv{family.digit} "
        return f"{'ip' if family.digit == 4 else 'ip6'} daddr {host} "

    def lines(self) -> Iterator[str]:
        """All, with the comments on what is missing."""
        port = self._port
        yield f"# listener {_shown(port.name)}, port {port.port}"
        if port.why_not:
            yield f"# no rules: {port.why_not}"
            yield ""
            return
        yield from (f"# {note}" for note in self._notes())
        for family in _FAMILIES:
            if self._where(family) is not None:
                yield from self._family(family)
        yield ""

    def _notes(self) -> Iterator[str]:
        settings = self._settings
        if settings.request_rate is not None:
            yield f"request_rate {settings.request_rate}: not here, the kernel sees no requests"
        if settings.rules:
            yield f"{len(settings.rules)} rules for requests: not here, the kernel sees no requests"
        if settings.connection_rate is not None or settings.max_connections:
            yield f"who comes when {settings.max_clients} clients are known is limited by lbkit alone"
            yield "first packets count here, whose sender may be forged; lbkit counts made connections"
        if self._has_bans:
            after = f"ban_after {settings.ban_after} within {settings.ban_window:g} s"
            yield f"{after}: here offences leak away at that rate"

    def _family(self, family: _Family) -> Iterator[str]:
        word, digit = self._word, family.digit
        client = family.client(self._settings.ipv6_prefix)
        rules = [
            *self._of_networks(family),
            *self._of_bans(family, client),
            *self._of_connections(family, client),
            *self._of_rate(family, client),
        ]
        for declaration, _ in rules:
            yield from declaration
        if self._has_bans:
            yield from self._offence(family, client)
        yield f"chain {word}_{digit} {{"
        yield from (f"\t{rule}" for _, rule in rules)
        yield "}"

    def _of_networks(self, family: _Family) -> Iterator[tuple[list[str], str]]:
        ranges = [
            (max(first, family.first), min(END if end is None else end, family.end) - 1)
            for first, end in self._settings.networks.denied()
        ]
        ranges = [(first, last) for first, last in ranges if first <= last]
        if ranges == [(family.first, family.end - 1)]:  # an interval set of everything is none to nft
            yield [], _REJECT
        elif ranges:
            name = f"{self._word}_denied{family.digit}"
            elements = [family.text(a) if a == b else f"{family.text(a)}-{family.text(b)}" for a, b in ranges]
            yield (
                _set(name, family, "flags interval", elements=elements),
                f"{family.source} @{name} {_REJECT}",
            )

    def _of_bans(self, family: _Family, client: str) -> Iterator[tuple[list[str], str]]:
        if self._has_bans:
            name = f"{self._word}_banned{family.digit}"
            timeout = f"flags dynamic,timeout; timeout {_seconds(self._settings.ban_time)}"
            yield _set(name, family, timeout, size=self._settings.max_clients), f"{client} @{name} {_REJECT}"

    def _of_connections(self, family: _Family, client: str) -> Iterator[tuple[list[str], str]]:
        limit = self._settings.max_connections
        if limit:
            name = f"{self._word}_open{family.digit}"
            rule = f"add @{name} {{ {client} ct count over {limit} }} {self._then(family)}"
            yield _set(name, family, "flags dynamic", size=self._settings.max_clients), rule

    def _of_rate(self, family: _Family, client: str) -> Iterator[tuple[list[str], str]]:
        rate = self._settings.connection_rate
        if rate is not None:
            name = f"{self._word}_rate{family.digit}"
            # A bucket that nobody takes from is full again after so long, and as good as a new one.
            timeout = f"flags dynamic,timeout; timeout {_seconds(rate.interval * rate.burst)}"
            rule = f"update @{name} {{ {client} {_over(rate)} }} {self._then(family)}"
            yield _set(name, family, timeout, size=self._settings.max_clients), rule

    def _then(self, family: _Family) -> str:
        """What follows an offence."""
        return f"goto {self._word}_offence{family.digit}" if self._has_bans else _REJECT

    def _offence(self, family: _Family, client: str) -> Iterator[str]:
        settings, word, digit = self._settings, self._word, family.digit
        ban = f"add @{word}_banned{digit} {{ {client} }}"
        if settings.ban_after > 1:
            rate = _of_window(settings.ban_after, settings.ban_window)
            flags = f"flags dynamic,timeout; timeout {_seconds(settings.ban_window)}"
            yield from _set(f"{word}_offences{digit}", family, flags, size=settings.max_clients)
            ban = f"update @{word}_offences{digit} {{ {client} {_over(rate)} }} {ban}"
        yield f"chain {word}_offence{digit} {{"
        yield f"\t{ban}"
        yield f"\t{_REJECT}"
        yield "}"


def _set(name: str, family: _Family, flags: str, *, size: int = 0, elements: Iterable[str] = ()) -> list[str]:
    lines = [f"set {name} {{", f"\ttype {family.kind}; {flags}"]
    if size:
        lines.append(f"\tsize {size}")
    listed = list(elements)
    if listed:
        rows = [", ".join(listed[at : at + _A_LINE]) for at in range(0, len(listed), _A_LINE)]
        lines.append("\telements = { " + ",\n\t\t\t".join(rows) + " }")
    return [*lines, "}"]


def _over(rate: Rate) -> str:
    """*rate* in nft's units, of which a second, a minute and an hour are ours; rounded up where it is
    another."""
    count, unit = _in_units(rate.count, rate.seconds)
    return f"limit rate over {count}/{unit} burst {rate.burst} packets"


def _in_units(count: float, seconds: float) -> tuple[int, str]:
    for unit, length in _UNITS.items():
        times = count * length / seconds
        if times >= 1 and times == int(times):
            return int(times), unit
    return math.ceil(count * _UNITS["week"] / seconds), "week"


def _of_window(after: int, window: float) -> Rate:
    """The rate that the *after*-th offence of a window is over."""
    return Rate(after, window, after - 1)


def _seconds(duration: float) -> str:
    return f"{max(1, math.ceil(duration))}s"


def _words(names: Iterable[str]) -> list[str]:
    """For each name a word that nft takes, no two alike."""
    words: list[str] = []
    for name in names:
        word = base = f"l_{_NO_WORD.sub('_', name)[:32]}"
        number = 1
        while word in words:
            number += 1
            word = f"{base}_{number}"
        words.append(word)
    return words


def _shown(text: str) -> str:
    """*text* on the one line of its comment."""
    return "".join(char if char.isprintable() else "?" for char in text)
