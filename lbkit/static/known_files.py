"""`KnownFiles`: the express way for requests for files that are in memory.

Clients say the same, byte for byte, whenever they ask for a file again: what a whole request led to the last
time it leads to this time, for route and file depend on nothing else. So it is looked up as it came and
answered without being read. The memory of the file says itself how long it is to be believed; where it is
not, the request goes the ordinary way.

Rejected: reading the request line only, as `Express` does, which leaves twice as much to do for each request.
"""

from __future__ import annotations

from dataclasses import dataclass

from lbkit.exchange import Exchange, HttpProtocol
from lbkit.http.plain import Trait
from lbkit.static.files import StaticFiles

__all__ = ["KnownFiles"]

_LENGTH = int(Trait.CONTENT_LENGTH)
_NOT_PLAIN = int(Trait.CLOSE | Trait.CONTENT_LENGTH | Trait.TRANSFER_ENCODING | Trait.EXPECT | Trait.UPGRADE)
_LONGEST = 2048


@dataclass(frozen=True, slots=True)
class _Known:
    files: StaticFiles
    path: bytes
    accept: bytes | None
    is_head: bool


class KnownFiles:
    """Requests of one listener, as they came, and what they led to."""

    def __init__(self, most: int = 1024) -> None:
        """*most* requests of at most 2 KiB are known; then all are forgotten, and learnt anew."""
        self._most = most
        self._known: dict[bytes, _Known] = {}

    def __len__(self) -> int:
        return len(self._known)

    def answer(self, wire: HttpProtocol, data: bytes) -> bool:
        """Answer the request *data*; False, and nothing has happened, where that is not known, or no more."""
        known = self._known.get(data)
        if known is None:
            return False
        ready = known.files.at_hand(known.path)
        if ready is None:
            return False
        if ready.codings:
            ready = ready.choose(known.accept)
        now = known.files.now()
        missing = wire.http.missing(0, now)
        wire.land(
            200, b"".join((ready.head, missing, b"\r\n\r\n", b"" if known.is_head else ready.body)), now
        )
        return True

    def learn(self, exchange: Exchange, files: StaticFiles) -> None:
        """*files* have answered *exchange* at once, and will the same."""
        request = exchange.request
        plain = request.plain
        if plain is None or plain.traits & _NOT_PLAIN or exchange.changes is not None:
            return
        if files.is_special(request):
            return
        data = b"\r\n".join(plain.lines) + b"\r\n\r\n"
        if len(data) > _LONGEST:
            return
        if len(self._known) >= self._most:
            self._known.clear()
        self._known[data] = _Known(files, request.path, files.accepted(request), request.method == "HEAD")
