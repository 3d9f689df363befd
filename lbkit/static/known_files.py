"""`KnownFiles`: the express way for requests for files that are in memory.

Clients say the same, byte for byte, whenever they ask for a file again: what a whole request led to the last
time it leads to this time, for route and file depend on nothing else. So it is looked up as it came and
answered without being read. Of one with another query or other fields than before, method and path are looked
up and the fields surveyed: route and file depend on Host alone among them (a route that asks for more is not
learnt so), and the answer on the codings that the client takes, unless there is a condition or a range.

The memory of the file says itself how long it is to be believed; where it is not, the request goes the
ordinary way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lbkit.exchange import Exchange, HttpProtocol
from lbkit.http.plain import Trait, survey_request
from lbkit.static.cache import Ready
from lbkit.static.files import StaticFiles

__all__ = ["KnownFiles"]

_LENGTH = int(Trait.CONTENT_LENGTH)
_NOT_PLAIN = int(Trait.CLOSE | Trait.CONTENT_LENGTH | Trait.TRANSFER_ENCODING | Trait.EXPECT | Trait.UPGRADE)
_SPECIAL = _NOT_PLAIN | int(Trait.CONDITION)
_CODINGS = int(Trait.ACCEPTED_CODINGS)
_LINE = re.compile(rb"((?:GET|HEAD) /[^ ?]*)(?:\?[!\"$-~]*)? HTTP/1\.1")
_LONGEST = 2048
_MOST_HOSTS = 16


@dataclass(frozen=True, slots=True)
class _Known:
    files: StaticFiles
    path: bytes
    accept: bytes | None
    is_head: bool


class KnownFiles:
    """Requests of one listener, as they came, and what they led to."""

    def __init__(self, most: int = 1024) -> None:
        """*most* requests of at most 2 KiB are known, and as many paths; then all are forgotten, and learnt
        anew."""
        self._most = most
        self._known: dict[bytes, _Known] = {}
        self._lines: dict[bytes, dict[bytes, _Known]] = {}
        """By method and path as they come, and Host."""

    def __len__(self) -> int:
        return len(self._known)

    def answer(self, wire: HttpProtocol, data: bytes) -> bool:
        """Answer the request *data*; False, and nothing has happened, where that is not known, or no more."""
        known = self._known.get(data)
        if known is None:
            return self._answer_similar(wire, data)
        ready = known.files.at_hand(known.path)
        if ready is None:
            return False
        if ready.codings:
            ready = ready.choose(known.accept)
        self._land(wire, known, ready)
        return True

    def _answer_similar(self, wire: HttpProtocol, data: bytes) -> bool:
        """Answer a request that has other fields than the one which is known."""
        line = _LINE.fullmatch(data, 0, data.find(b"\r\n"))
        hosts = self._lines.get(line[1]) if line is not None else None
        if hosts is None or len(data) > wire.limits.head_size or data.find(b"\r\n\r\n") + 4 != len(data):
            return False
        seen = survey_request(data, wire.limits.fields)
        if seen is None:
            return False
        lines, traits, _, host = seen
        known = hosts.get(host)
        if known is None or traits & _SPECIAL:
            return False
        ready = known.files.at_hand(known.path)
        if ready is None:
            return False
        if ready.codings and traits & _CODINGS:
            values = [line[17:] for line in lines if line[:17].lower() == b"accept-encoding: "]
            ready = ready.choose(b",".join(values))
        self._land(wire, known, ready)
        return True

    def _land(self, wire: HttpProtocol, known: _Known, ready: Ready) -> None:
        now = known.files.now()
        missing = wire.http.missing(0, now)
        body = b"" if known.is_head else ready.body
        wire.land(200, b"".join((ready.head, missing, b"\r\n\r\n", body)), now)

    def learn(self, exchange: Exchange, files: StaticFiles, *, by_host: bool) -> None:
        """*files* have answered *exchange* at once, and will the same. *by_host*: they were chosen by nothing
        else than Host and the first line."""
        request = exchange.request
        plain = request.plain
        if plain is None or plain.traits & _NOT_PLAIN or exchange.changes is not None:
            return
        known = _Known(files, request.path, files.accepted(request), request.method == "HEAD")
        line = _LINE.fullmatch(plain.lines[0])
        if by_host and line is not None and len(line[1]) + len(plain.host) <= _LONGEST:
            self._learn_line(line[1], plain.host, known)
        if files.is_special(request):
            return
        data = b"\r\n".join(plain.lines) + b"\r\n\r\n"
        if len(data) > _LONGEST:
            return
        if len(self._known) >= self._most:
            self._known.clear()
        self._known[data] = known

    def _learn_line(self, line: bytes, host: bytes, known: _Known) -> None:
        if len(self._lines) >= self._most:
            self._lines.clear()
        hosts = self._lines.setdefault(line, {})
        if len(hosts) >= _MOST_HOSTS:
            hosts.clear()
        hosts[host] = known
