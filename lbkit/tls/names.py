"""Which certificate, or which pool, a server name belongs to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from lbkit.config.values import plain_name

__all__ = ["CertificateNames", "NameRoutes"]

T = TypeVar("T")


class CertificateNames(Generic[T]):
    """What is found by the names of certificates: an exact name goes before a wildcard.

    ``*.example.com`` stands for exactly one label (RFC 9525 §6.3): neither ``example.com`` nor
    ``a.b.example.com``. Where two have one name the first is kept. One dictionary look-up each, whatever
    the number of names.
    """

    def __init__(self) -> None:
        self._exact: dict[str, T] = {}
        self._below: dict[str, T] = {}

    def add(self, names: Iterable[str], value: T) -> None:
        """*value* is good for *names*."""
        for name in map(plain_name, names):
            if name.startswith("*."):
                self._below.setdefault(name[2:], value)
            else:
                self._exact.setdefault(name, value)

    def find(self, name: str) -> T | None:
        """What is good for *name*; None where nothing is."""
        name = plain_name(name)
        found = self._exact.get(name)
        return self._below.get(name.partition(".")[2]) if found is None else found


class NameRoutes(Generic[T]):
    """Patterns in the order of the configuration; the first that matches wins.

    ``*.example.com`` is every name below ``example.com``, at any depth, as in the routes of http mode.
    """

    def __init__(self, routes: Iterable[tuple[str, T]]) -> None:
        self._routes = [(plain_name(pattern), value) for pattern, value in routes]

    def values(self) -> set[T]:
        """All that they lead to."""
        return {value for _, value in self._routes}

    def match(self, name: str | None, default: T | None) -> T | None:
        """What the server name *name* leads to; *default* for no name and for one that nothing matches."""
        if name is None:
            return default
        name = plain_name(name)
        for pattern, value in self._routes:
            if name == pattern or (pattern.startswith("*.") and name.endswith(pattern[1:])):
                return value
        return default
