"""`GtidSet`: sets of global transaction ids, MySQL's and MariaDB's, as plain values.

MySQL writes a set as ``uuid:1-5:9,uuid:tag:1-3`` (manual, "GTID Format and Storage"; tags since 8.3).
MariaDB writes positions, ``domain-server-number``: a server that is at 0-1-7 has what server 1 wrote in
domain 0 up to number 7. Both are kept as intervals of numbers by source, so that one arithmetic serves
both. A source of MariaDB's is a domain *and* a server: after a failover 0-1-101 of the old primary and
0-2-101 of the new one are two transactions, and only so is that seen. Give it `gtid_binlog_state` for
that reason, which names every server; `gtid_current_pos` names the last one of each domain.

Numbers of MariaDB's run through a domain, not through a server, so that `count` is an upper bound there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

__all__ = ["GtidSet"]

LARGEST = 2**64 - 1
"""MariaDB's largest number; MySQL's is 2**63 - 2."""

Intervals = tuple[tuple[int, int], ...]
"""First and last of each run, in order, with something missing between two runs."""

_MARIADB = re.compile(r"(\d{1,10}-\d{1,10})-(\d{1,20})", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.ASCII)
_TAG = re.compile(r"[a-z_][a-z0-9_]{0,31}", re.ASCII)
_RUN = re.compile(r"(\d{1,20})(?:-(\d{1,20}))?", re.ASCII)


class GtidSet:
    """An immutable set of transactions; compare with ``<=`` and ``in``, combine with ``|`` and ``-``."""

    __slots__ = ("_sources",)

    def __init__(self, sources: Mapping[str, Iterable[tuple[int, int]]] | None = None) -> None:
        """*sources*: ``uuid``, ``uuid:tag`` or ``domain-server`` to runs (first, last), in any order."""
        merged = {source: _merged(runs) for source, runs in (sources or {}).items()}
        self._sources: dict[str, Intervals] = {source: runs for source, runs in merged.items() if runs}

    @classmethod
    def parse(cls, text: str) -> GtidSet:
        """What a server wrote, line feeds included; "" is the empty set. Raises ValueError."""
        found: dict[str, list[tuple[int, int]]] = {}
        for item in text.replace("\n", "").split(","):
            if part := item.strip().lower():
                _read(part, found)
        return cls(found)

    def __str__(self) -> str:
        """As its flavour writes it; MariaDB's as the last of each source."""
        return ",".join(
            ":".join([source, *(_run(first, last) for first, last in runs)])
            if not _is_mariadb(source)
            else f"{source}-{runs[-1][1]}"
            for source, runs in sorted(self._sources.items())
        )

    def __repr__(self) -> str:
        return f"GtidSet({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GtidSet) and self._sources == other._sources

    def __hash__(self) -> int:
        return hash(frozenset(self._sources.items()))

    def __bool__(self) -> bool:
        return bool(self._sources)

    def __le__(self, other: GtidSet) -> bool:
        """Whether *other* has all of these."""
        return all(
            runs == theirs or not _without(runs, theirs)
            for source, runs in self._sources.items()
            for theirs in [other._sources.get(source, ())]
        )

    def __lt__(self, other: GtidSet) -> bool:
        return self != other and self <= other

    def __contains__(self, other: GtidSet | str) -> bool:
        """Whether all of *other*, a set or what a server wrote, are in here."""
        return (GtidSet.parse(other) if isinstance(other, str) else other) <= self

    def __or__(self, other: GtidSet) -> GtidSet:
        return GtidSet(
            {
                source: (*self._sources.get(source, ()), *other._sources.get(source, ()))
                for source in {**self._sources, **other._sources}
            }
        )

    def __sub__(self, other: GtidSet) -> GtidSet:
        return GtidSet(
            {source: _without(runs, other._sources.get(source, ())) for source, runs in self._sources.items()}
        )

    @property
    def count(self) -> int:
        """How many transactions; of MariaDB's at most so many."""
        return sum(last - first + 1 for runs in self._sources.values() for first, last in runs)

    @property
    def is_mariadb(self) -> bool:
        """Whether these are MariaDB's ids alone; the empty set is anybody's."""
        return all(map(_is_mariadb, self._sources))

    @property
    def sources(self) -> Mapping[str, Intervals]:
        """The runs of each source."""
        return dict(self._sources)


def _read(part: str, found: dict[str, list[tuple[int, int]]]) -> None:
    if match := _MARIADB.fullmatch(part):
        found.setdefault(match[1], []).append(_checked(1, int(match[2]), part))
        return
    uuid, *rest = part.split(":")
    if not _UUID.fullmatch(uuid.strip()) or not rest:
        raise ValueError(f'"{part[:80]}" is no global transaction id')
    plain = uuid.strip().replace("-", "")
    source = dashed = "-".join((plain[:8], plain[8:12], plain[12:16], plain[16:20], plain[20:]))
    for piece in rest:
        piece = piece.strip()
        if run := _RUN.fullmatch(piece):
            first = int(run[1])
            found.setdefault(source, []).append(_checked(first, int(run[2] or first), part))
        elif _TAG.fullmatch(piece):
            source = f"{dashed}:{piece}"
        else:
            raise ValueError(f'"{part[:80]}": "{piece[:40]}" is neither a tag nor an interval')


def _checked(first: int, last: int, part: str) -> tuple[int, int]:
    if not first or last > LARGEST:
        raise ValueError(f'"{part[:80]}": numbers are from 1 to {LARGEST}')
    return first, last


def _is_mariadb(source: str) -> bool:
    """Whether it is a domain and a server."""
    return source.partition("-")[2].isdecimal()


def _run(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _merged(runs: Iterable[tuple[int, int]]) -> Intervals:
    """In order and joined where they touch; a run that ends before it begins is empty, as for MySQL."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(runs):
        if last < first:
            continue
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return tuple(merged)


def _without(runs: Intervals, others: Intervals) -> Intervals:
    return tuple(_left(runs, others))


def _left(runs: Intervals, others: Intervals) -> Iterator[tuple[int, int]]:
    """What of *runs* is not in *others*; each list is walked once."""
    index = 0
    for first, last in runs:
        while index < len(others) and others[index][1] < first:
            index += 1
        at = index
        while at < len(others) and others[at][0] <= last:
            if first < others[at][0]:
                yield first, others[at][0] - 1
            first = others[at][1] + 1
            at += 1
        if first <= last:
            yield first, last
