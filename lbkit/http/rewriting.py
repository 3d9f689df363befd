"""Rewriting: what a server is asked instead of what the client asked, and fields set, added and removed.

Which server answers was decided before, on what the client asked. The path is changed in the form in which
the client wrote it as far as that can be compared byte for byte; where it cannot (``/%61pi/`` under the
prefix ``/api/``) in its decoded and normalised form, which is what the routes saw. So no spelling gets around
a rule.

What says where a message ends and whom a connection is with must not be touched by a rule; the configuration
refuses such rules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lbkit.http.messages import Headers, without
from lbkit.http.targets import Target, normalise, quote_path
from lbkit.templates import Template

__all__ = ["Changes", "FieldRules", "PathRules", "Rewriting"]


def _plain(name: bytes) -> bytes:
    """Applications that get fields as CGI variables cannot tell X_User from X-User."""
    return name.lower().replace(b"_", b"-")


@dataclass(frozen=True, slots=True)
class FieldRules:
    """First fields are removed, then those in `set_` take the place of all of that name, then some are added.

    A name stands for its spellings with ``_`` for ``-``, too: what is taken away from clients must not come
    back in disguise.
    """

    set_: tuple[tuple[bytes, Template], ...] = ()
    add: tuple[tuple[bytes, Template], ...] = ()
    remove: tuple[bytes, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.set_ or self.add or self.remove)

    def apply(self, headers: Headers, facts: Mapping[str, bytes]) -> Headers:
        """*headers* by these rules."""
        gone = {_plain(name) for name in self.remove} | {_plain(name) for name, _ in self.set_}
        kept = [(name, value) for name, value in headers if _plain(name) not in gone]
        return [*kept, *((name, value.render(facts)) for name, value in (*self.set_, *self.add))]


@dataclass(frozen=True, slots=True)
class PathRules:
    """In this order: `strip` is cut off in front, `pattern` is replaced once, `add` is put in front.

    `strip` is cut off only as whole segments: ``/api`` is no part of ``/apis``. `pattern` is searched in the
    decoded, normalised path; in `replacement` ``\\1`` is its first group.
    """

    strip: bytes = b""
    pattern: re.Pattern[bytes] | None = None
    replacement: bytes = b""
    add: bytes = b""

    def apply(self, path: bytes) -> bytes:
        """*path* as it is sent, without dot segments, by these rules; it begins with one slash.

        Raises ClientError (400) where the replacement would lead above the root.
        """
        if self.strip:
            path = self._stripped(path)
        if self.pattern is not None:
            before = normalise(path)
            after = self.pattern.sub(self.replacement, before, count=1)
            if after != before:
                path = quote_path(normalise(quote_path(b"/" + after.lstrip(b"/"))))
        return quote_path(self.add.rstrip(b"/")) + path if self.add else path

    def _stripped(self, path: bytes) -> bytes:
        prefix = self.strip.rstrip(b"/")
        if path == prefix or path.startswith(prefix + b"/"):
            rest = path[len(prefix) :]
        else:
            decoded = normalise(path)
            if decoded != prefix and not decoded.startswith(prefix + b"/"):
                return path
            rest = quote_path(decoded[len(prefix) :])
        return b"/" + rest.lstrip(b"/")


@dataclass(frozen=True, slots=True)
class Rewriting:
    """All rules for one route. Those of the listener come first in each of the tuples."""

    paths: tuple[PathRules, ...] = ()
    host: bytes = b""
    """The Host that the server is asked for; empty for the client's own."""
    request: tuple[FieldRules, ...] = ()
    response: tuple[FieldRules, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.paths or self.host or self.request or self.response)

    def then(self, other: Rewriting) -> Rewriting:
        """These rules, and after them those of *other*."""
        return Rewriting(
            self.paths + other.paths,
            other.host or self.host,
            self.request + other.request,
            self.response + other.response,
        )

    def target(self, target: Target) -> bytes:
        """What the server is asked for instead of *target*; the query stays. Raises ClientError (400)."""
        asked = target.origin_form
        if not self.paths or not asked.startswith(b"/"):
            return asked
        path, mark, query = asked.partition(b"?")
        for rules in self.paths:
            path = rules.apply(path)
        return path + mark + query


class Changes:
    """What is changed of one request and of its answer."""

    __slots__ = (
        "facts",
        "hidden",
        "request_id",
        "rules",
        "target",
        "to_client",
        "to_server",
        "trace",
    )

    def __init__(self, target: bytes) -> None:
        self.target = target
        """What the server is asked for."""
        self.rules = Rewriting()
        self.facts: Mapping[str, bytes] = {}
        """For the placeholders of the rules."""
        self.to_server: Headers = []
        """Fields that take the place of the client's of the same name."""
        self.to_client: Headers = []
        """Fields that take the place of the server's of the same name."""
        self.hidden: set[bytes] = set()
        """Names, in lower case, of the client's fields that the server does not get."""
        self.request_id = b""
        """Empty where requests get none, as `trace`."""
        self.trace = b""

    def request(self, headers: Headers) -> Headers:
        """The request's fields for the server."""
        gone = self.hidden | {_plain(name) for name, _ in self.to_server}
        if gone:
            headers = [(name, value) for name, value in headers if _plain(name) not in gone]
            headers += self.to_server
        if self.rules.host:
            headers = [(b"Host", self.rules.host), *without(headers, {b"host"})]
        for rules in self.rules.request:
            headers = rules.apply(headers, self.facts)
        return headers

    @property
    def edits_response(self) -> bool:
        """Whether `response` changes anything."""
        return bool(self.to_client or self.rules.response)

    def response(self, headers: Headers) -> Headers:
        """The answer's fields for the client."""
        if self.to_client:
            headers = [*without(headers, {name.lower() for name, _ in self.to_client}), *self.to_client]
        for rules in self.rules.response:
            headers = rules.apply(headers, self.facts)
        return headers
