"""Tokens: what somebody has written, as a text that a read can wait for.

A token is a set of global transaction ids as the server writes it, ``uuid:7`` or ``0-1-7``, "" for none; or
`PRIMARY_ONLY`, of a write whose id the server did not tell, after which only the primary is sure to have it.
It can leave the process: in a cookie, a message, a job's arguments.

Strategy: ids are kept exactly, because a replica that applies in parallel may have 7 before 5, and a group's
members take numbers from blocks of their own, so that "all up to 7" may never come about. A token stays short
all the same: where it has more than `MOST_RUNS` runs, the nearest two are joined over what lies between them.
That is most often what others wrote meanwhile, which a replica gets, too. Where it is a gap that is
never filled, reads go to the primary, which is slower and right: what no server has is not waited for there.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise

from lbkit.mysql.gtid import GtidSet

__all__ = ["LONGEST", "PRIMARY_ONLY", "Held", "checked", "merged"]

PRIMARY_ONLY = "*"
MOST_RUNS = 8
MOST_SOURCES = 6
MOST_ADDED = 64
LONGEST = 1024
"""Characters of the longest token that is taken from outside; those made here stay below."""


class Held:
    """What a server is known to have, as far as that is worth remembering: of each source the last runs.

    To `add` costs next to nothing, because every write does it and few reads ask.
    """

    def __init__(self) -> None:
        self._set = GtidSet()
        self._added: deque[str] = deque(maxlen=MOST_ADDED)

    def add(self, token: str) -> None:
        """The server has told that it has all that *token*, made here, stands for, or nobody has it."""
        self._added.append(token)

    def __contains__(self, token: str) -> bool:
        if self._added:
            for added in self._added:
                if added not in ("", PRIMARY_ONLY):
                    self._set |= GtidSet.parse(added)
            self._added.clear()
            last = {source: runs[-MOST_ADDED:] for source, runs in self._set.sources.items()}
            self._set = GtidSet(last)
        return token != PRIMARY_ONLY and GtidSet.parse(token) <= self._set


def checked(text: str) -> str:
    """A token from outside as it is used here; raises ValueError for what is none."""
    if len(text) > LONGEST:
        raise ValueError(f"a token has at most {LONGEST} characters")
    if text in ("", PRIMARY_ONLY):
        return text
    return _written(GtidSet.parse(text))


def merged(*tokens: str) -> str:
    """One token for all that *tokens* stand for; raises ValueError for what is none."""
    found = [token for token in dict.fromkeys(tokens) if token]
    if len(found) < 2:
        return found[0] if found else ""
    if PRIMARY_ONLY in found:
        return PRIMARY_ONLY
    union = GtidSet()
    for token in found:
        union |= GtidSet.parse(token)
    return _written(union)


def _written(union: GtidSet) -> str:
    """The set as a token: bounded, and for MariaDB as one position, which has each domain once."""
    mysql: dict[str, list[tuple[int, int]]] = {}
    mariadb: dict[str, tuple[int, str]] = {}
    for source, runs in union.sources.items():
        domain, _, server = source.partition("-")
        if server.isdecimal():
            # Numbers run through a domain, so that the last one stands for all of them.
            mariadb[domain] = max(mariadb.get(domain, (0, "")), (runs[-1][1], server))
        else:
            mysql[source] = list(runs)
    if (mysql and mariadb) or len(mysql) > MOST_SOURCES or len(mariadb) > MOST_SOURCES:
        # Of two flavours at once, or of more servers than one database has: nobody but the primary is asked.
        return PRIMARY_ONLY
    if mariadb:
        return ",".join(
            f"{domain}-{server}-{number}"
            for domain, (number, server) in sorted(mariadb.items(), key=lambda item: int(item[0]))
        )
    text = str(GtidSet({source: _joined(runs) for source, runs in mysql.items()}))
    # One that is too long to come back in would be lost on its way.
    return text if len(text) <= LONGEST else PRIMARY_ONLY


def _joined(runs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    while len(runs) > MOST_RUNS:
        gaps = [following[0] - run[1] for run, following in pairwise(runs)]
        nearest = gaps.index(min(gaps))
        runs[nearest : nearest + 2] = [(runs[nearest][0], runs[nearest + 1][1])]
    return runs
