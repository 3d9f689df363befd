"""Named parts that announce themselves: algorithms, health checks and relays.

A part is one file of its package. It carries ``@REGISTRY.register("name", Options)`` and is found
because `discover` imports every module of that package, so a new part needs no second edit.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")

__all__ = ["Entry", "NoOptions", "Registry", "nearest"]


@dataclass(frozen=True, slots=True)
class NoOptions:
    """Options of a part that has none."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """One registered part: its name, its class, and the frozen dataclass of its options."""

    name: str
    factory: type[T]
    options: type[Any]

    @property
    def summary(self) -> str:
        """First line of the part's docstring, as `lbkit list` prints it."""
        return (self.factory.__doc__ or "").strip().splitlines()[0]


def nearest(word: str, known: Mapping[str, object] | list[str], *, listed: bool = False) -> str:
    """`` (did you mean "x"?)`` for the closest of *known*; the list of them where none is close, or with
    *listed* in any case."""
    names = sorted(known)
    close = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    everything = f"known: {', '.join(names)}" if names else ""
    if close:
        return f' (did you mean "{close[0]}"?{f" {everything}" if listed else ""})'
    return f" ({everything})" if everything else ""


class Registry(Mapping[str, Entry[T]]):
    """Name → `Entry`, filled by the decorator `register` in each part's own file."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry[T]] = {}

    def register(self, name: str, options: type[Any] = NoOptions) -> Callable[[type[T]], type[T]]:
        """Class decorator; raises ValueError when the name is taken."""

        def enter(factory: type[T]) -> type[T]:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = Entry(name, factory, options)
            return factory

        return enter

    def discover(self, package: str, path: list[str]) -> None:
        """Import every module of *package* so that its parts register themselves."""
        for module in pkgutil.iter_modules(path):
            importlib.import_module(f"{package}.{module.name}")

    def __getitem__(self, name: str) -> Entry[T]:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)
