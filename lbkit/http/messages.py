"""The parts of HTTP messages as everything above the engine sees them.

Header fields are lists of (name, value) bytes in the order and case in which they came: clients and
servers get to see each other's spelling, and several fields of one name (Set-Cookie) stay apart.
Look-ups take the name in lower case.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from lbkit.http.targets import Target

__all__ = [
    "Body",
    "End",
    "Headers",
    "Interim",
    "Plain",
    "Request",
    "Response",
    "get",
    "get_all",
    "tokens",
    "without",
]

Headers: TypeAlias = list[tuple[bytes, bytes]]


def get(headers: Headers, name: bytes) -> bytes | None:
    """The value of the first field called *name* (lower case), None where there is none."""
    for key, value in headers:
        if key.lower() == name:
            return value
    return None


def get_all(headers: Headers, name: bytes) -> list[bytes]:
    """The values of all fields called *name* (lower case), in order."""
    return [value for key, value in headers if key.lower() == name]


def tokens(headers: Headers, name: bytes) -> list[bytes]:
    """The members of a comma-separated field in lower case, over all of its lines (RFC 9110 §5.6.1).

    Not for fields whose members may hold quoted commas.
    """
    members = (member.strip() for value in get_all(headers, name) for member in value.lower().split(b","))
    return [member for member in members if member]


def without(headers: Iterable[tuple[bytes, bytes]], names: Collection[bytes]) -> Headers:
    """*headers* less the fields whose lower-case name is in *names*."""
    return [(key, value) for key, value in headers if key.lower() not in names]


class Plain:
    """What the fast parser saw while it read a head, so that nobody has to look again.

    Whoever changes the fields of a message after it was parsed must drop this.
    """

    __slots__ = ("hops", "host", "length", "lines", "traits")

    def __init__(
        self, lines: list[bytes], traits: int, hops: list[int] | None, length: int, host: bytes = b""
    ) -> None:
        self.lines = lines
        """The head's lines as they came, the start line first, without line ends."""
        self.traits = traits
        """Which fields with a meaning for a proxy it has: bits of `lbkit.http.plain.Trait`."""
        self.hops = hops
        """Places in `lines` of fields for one connection only (RFC 9110 §7.6.1); None for no such field."""
        self.length = length
        """Content-Length; -1 where there is none."""
        self.host = host
        """The Host field of a request."""


@dataclass(slots=True)
class Request:
    """A request head.

    `version` is "1.0" or "1.1". Where the target was in absolute form, `headers` has its authority
    as Host and nothing else (RFC 9112 §3.2.2), so that there is one truth about the host.
    """

    method: str
    target: Target
    headers: Headers
    version: str = "1.1"
    has_body: bool = False
    """Whether framing announces a body, be it empty."""
    plain: Plain | None = field(default=None, compare=False, repr=False)
    """Set where the head came in the plain common form; see `lbkit.http.plain`."""

    def get(self, name: bytes) -> bytes | None:
        """The first value of the field called *name* (lower case)."""
        return get(self.headers, name)

    @property
    def path(self) -> bytes:
        """The decoded, normalised path; see `Target.path`."""
        return self.target.path

    @property
    def host(self) -> str:
        """The Host field as it came, "" where an HTTP/1.0 client sent none."""
        if self.plain is not None:
            return self.plain.host.decode("latin-1")
        return (get(self.headers, b"host") or b"").decode("latin-1")


@dataclass(slots=True)
class Response:
    """A final response head."""

    status: int
    headers: Headers
    reason: bytes = b""
    version: str = "1.1"
    plain: Plain | None = field(default=None, compare=False, repr=False)
    """Set where the head came in the plain common form; see `lbkit.http.plain`."""


@dataclass(slots=True)
class Interim:
    """A 1xx response head: more will follow."""

    status: int
    headers: Headers


@dataclass(slots=True)
class Body:
    """A piece of a message body, framing removed; never empty."""

    data: bytes


@dataclass(slots=True)
class End:
    """The message is complete."""

    trailers: Headers = field(default_factory=list)
