"""Routes: which part answers a request, by host and path; the first match wins."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Route", "RouteTable"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Route(Generic[T]):
    """Requests for `host` under the prefix `path` go to `target`.

    `host` is a name without a port, ``*.example.com`` for every name below one, or None for all.
    `path` is compared with the decoded, normalised path: ``/static/`` takes what is below it and
    ``/static`` itself, too; a prefix without the final slash also takes ``/static-old``.
    """

    host: str | None
    path: str
    target: T

    def matches(self, host: str, path: bytes) -> bool:
        """*host* in lower case without a port; *path* as in `Target.path`."""
        prefix = self.path.encode()
        return (path.startswith(prefix) or path + b"/" == prefix) and self._is_for(host)

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

    def match(self, host: str, path: bytes) -> T | None:
        """The target of the first route for the Host field *host* and the normalised *path*."""
        name = _host_name(host)
        for route in self.routes:
            if route.matches(name, path):
                return route.target
        return None


def _host_name(host: str) -> str:
    """Lower case, without the port and the root's final dot: ``Example.com.:8080`` → ``example.com``."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower().removesuffix(".")
