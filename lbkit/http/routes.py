"""Routes: which part answers a request, by host, path, method and header fields; the first match wins."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from lbkit.http.messages import Headers, get_all

__all__ = ["FieldTest", "Route", "RouteTable", "host_name"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FieldTest:
    """What a header field has to be: with a *pattern* one of its values matches that as a whole, with a
    *value* one is equal to it, else it is just there, or with `is_absent` is not."""

    name: bytes
    """In lower case."""
    value: bytes | None = None
    pattern: re.Pattern[bytes] | None = None
    is_absent: bool = False

    def holds(self, headers: Headers) -> bool:
        """Whether *headers* are as they have to be."""
        values = get_all(headers, self.name)
        if self.is_absent:
            return not values
        if self.pattern is not None:
            return any(self.pattern.fullmatch(value) for value in values)
        return bool(values) if self.value is None else self.value in values


@dataclass(frozen=True, slots=True)
class Route(Generic[T]):
    """Requests for `host` under the prefix `path` go to `target`.

    `host` is a name without a port, ``*.example.com`` for every name below one, or None for all.
    `path` is compared with the decoded, normalised path: ``/static/`` takes what is below it and
    ``/static`` itself, too; a prefix without the final slash also takes ``/static-old``. With `is_exact` it
    is the whole path; with `pattern` that has to match the whole path and `path` means nothing.

    `methods` are those that match, empty for all; `tests` must all hold.
    """

    host: str | None
    path: str
    target: T
    is_exact: bool = False
    pattern: re.Pattern[bytes] | None = None
    methods: frozenset[str] = frozenset()
    tests: tuple[FieldTest, ...] = field(default=())

    def matches(self, host: str, path: bytes) -> bool:
        """Whether host and path do; *host* in lower case without a port; *path* as in `Target.path`."""
        return self._is_at(path) and self._is_for(host)

    def allows(self, method: str, headers: Headers) -> bool:
        """Whether method and header fields are right for it."""
        if self.methods and method not in self.methods:
            return False
        return all(test.holds(headers) for test in self.tests)

    @property
    def needs_more(self) -> bool:
        """Whether host and path are not enough to say that it matches."""
        return bool(self.methods or self.tests)

    def _is_at(self, path: bytes) -> bool:
        if self.pattern is not None:
            return self.pattern.fullmatch(path) is not None
        wanted = self.path.encode()
        if self.is_exact:
            return path == wanted
        return path.startswith(wanted) or path + b"/" == wanted

    def _is_for(self, host: str) -> bool:
        if self.host is None:
            return True
        wanted = self.host.lower()
        if wanted.startswith("*."):
            return host.endswith(wanted[1:]) and len(host) > len(wanted) - 1
        return host == wanted


class RouteTable(Generic[T]):
    """Routes in the order of the configuration."""

    def __init__(self, routes: Iterable[Route[T]] = ()) -> None:
        self.routes = tuple(routes)

    def match(self, host: str, path: bytes, method: str, headers: Headers) -> T | None:
        """The target of the first route for a request; *host* is its Host field, *path* the normalised
        path.
        """
        name = host_name(host)
        for route in self.routes:
            if route.matches(name, path) and route.allows(method, headers):
                return route.target
        return None

    def place(self, host: str, path: bytes) -> Route[T] | None:
        """The first route for *host* and *path*; where it `needs_more` it may be another one after all."""
        name = host_name(host)
        for route in self.routes:
            if route.matches(name, path):
                return route
        return None


def host_name(host: str) -> str:
    """Lower case, without the port and the root's final dot: ``Example.com.:8080`` → ``example.com``."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower().removesuffix(".")
