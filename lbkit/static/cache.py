"""`Cache`: small files with the heads of their answers, ready to be sent.

What is kept is bounded in bytes and in number, and what was asked for longest ago makes room. An entry says
when it was last compared with the disk; whoever takes it decides what that is worth.
"""

from __future__ import annotations

from collections import OrderedDict

from lbkit.http.codings import choose_coding
from lbkit.static.reply import Version

__all__ = ["Cache", "Ready", "Signature"]

Signature = tuple[tuple[int, ...], ...]
"""Of a file and each that stands in for it: device, inode, size, nanoseconds of the last change of content
and of inode."""

_OVERHEAD = 1024
"""Bytes that an entry takes beside its body, about."""
_MOST_CHOICES = 16
_LONGEST_CHOICE = 128


class Ready:
    """A file, its answer's head and what it was made of."""

    __slots__ = (
        "_choices",
        "body",
        "checked_at",
        "codings",
        "head",
        "headers",
        "is_in_check",
        "lines",
        "signature",
        "version",
    )

    def __init__(
        self,
        version: Version,
        body: bytes,
        signature: Signature | None = None,
        checked_at: float = 0.0,
        codings: dict[bytes, Ready] | None = None,
    ) -> None:
        """*signature* is None where the file may have changed after *body* was read without a trace.
        *checked_at* is monotonic seconds. *codings* are the same in content codings, best first."""
        self.version = version
        self.body = body
        self.signature = signature
        self.checked_at = checked_at
        self.is_in_check = False
        """Whether it is being compared with the disk."""
        self.codings = codings or {}
        self._choices: dict[bytes, Ready] = {}
        """What was chosen for a field Accept-Encoding: there are few of them."""
        self.headers = version.whole_fields()
        self.lines = [b"HTTP/1.1 200 OK", *(b"%b: %b" % field for field in self.headers)]
        """The same, as they go out."""
        self.head = b"\r\n".join(self.lines)

    @property
    def weight(self) -> int:
        """Bytes of memory, about."""
        return len(self.body) + _OVERHEAD + sum(coded.weight for coded in self.codings.values())

    def choose(self, accept: bytes | None) -> Ready:
        """This, or the one of `codings` that a client with the field Accept-Encoding *accept* gets."""
        if not accept:
            return self
        chosen = self._choices.get(accept)
        if chosen is None:
            chosen = self.codings.get(choose_coding(accept, tuple(self.codings)), self)
            if len(self._choices) < _MOST_CHOICES and len(accept) <= _LONGEST_CHOICE:
                self._choices[accept] = chosen
        return chosen


class Cache:
    """Entries by the path that was asked for."""

    def __init__(self, max_bytes: int = 32 * 1024 * 1024, max_entries: int = 4096) -> None:
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._entries: OrderedDict[bytes, Ready] = OrderedDict()
        self.weight = 0
        """Bytes of memory, about, of all entries."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, path: bytes) -> Ready | None:
        """What is kept of *path*, which is the last to make room now."""
        ready = self._entries.get(path)
        if ready is not None:
            self._entries.move_to_end(path)
        return ready

    def put(self, path: bytes, ready: Ready) -> None:
        """Keep *ready*, in place of what was kept of *path*; not where it alone is too large."""
        self.drop(path)
        weight = ready.weight + len(path)
        if weight > self._max_bytes:
            return
        self._entries[path] = ready
        self.weight += weight
        while self.weight > self._max_bytes or len(self._entries) > self._max_entries:
            self.drop(next(iter(self._entries)))

    def drop(self, path: bytes) -> None:
        """Keep nothing of *path*."""
        ready = self._entries.pop(path, None)
        if ready is not None:
            self.weight -= ready.weight + len(path)
