"""`Target`: one function to throw bytes at, with the inputs to begin with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

__all__ = ["Target", "agree", "pieces"]


@dataclass(frozen=True, slots=True)
class Target:
    """*check* returns for every input, whatever it is. It raises when something that must hold does not."""

    name: str
    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    """Each is an input; most are what the tests have."""

    def __str__(self) -> str:
        return self.name


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """*data*, cut."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


def agree(ways: Iterable[tuple[str, object]]) -> None:
    """All ways to read one input have come to the same. Raises AssertionError."""
    (name, first), *others = ways
    for other, result in others:
        assert result == first, f"{name}: {first!r}\n{other}: {result!r}"
