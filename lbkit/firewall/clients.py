"""`ClientTable`: something remembered of each of very many clients, in memory that does not grow.

The table has a fixed number of places. A client whose value says nothing any more (its bucket is full again,
its ban is over) leaves when a new one needs the place; nobody else is ever driven out. So no flood of
addresses frees a client from what is held against it: whoever finds the table full is the new one, who is
told so and is treated as the caller's documentation says.

Strategy: a clock hand goes round the places and at most `_LOOKS` of them are looked at for each new client,
so that the cost of one is the same whatever comes. A hand that finds nobody to leave goes on from there the
next time.

Rejected: least-recently-used order, where an attacker with many addresses drives out his own punishment; a
sweep of all places, which stops everything for milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["ClientTable"]

V = TypeVar("V")
_LOOKS = 16


class ClientTable(Generic[V]):
    """At most *capacity* clients; *is_over* says of a value, at a time, that it may be forgotten."""

    __slots__ = ("_capacity", "_hand", "_is_over", "_places", "_values")

    def __init__(self, capacity: int, is_over: Callable[[V, float], bool]) -> None:
        self._capacity = capacity
        self._is_over = is_over
        self._values: dict[int, V] = {}
        self._places: list[int] = []
        self._hand = 0

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, client: int) -> bool:
        return client in self._values

    def get(self, client: int) -> V | None:
        """What is remembered of *client*; None where nothing is."""
        return self._values.get(client)

    def put(self, client: int, value: V, now: float) -> bool:
        """Remember *value* of *client*; False where there is no place for one who is new."""
        if client not in self._values and not self._make_place(client, now):
            return False
        self._values[client] = value
        return True

    def _make_place(self, client: int, now: float) -> bool:
        places = self._places
        if len(places) < self._capacity:
            places.append(client)
            return True
        for _ in range(min(_LOOKS, len(places))):
            if self._hand >= len(places):
                self._hand = 0
            known = places[self._hand]
            if self._is_over(self._values[known], now):
                del self._values[known]
                places[self._hand] = client
                self._hand += 1
                return True
            self._hand += 1
        return False

    def convert(self, to: Callable[[V], V]) -> None:
        """Replace every value by what *to* makes of it."""
        self._values = {client: to(value) for client, value in self._values.items()}

    def resize(self, capacity: int, now: float) -> None:
        """Another number of places: where there are fewer, those leave first whose value is over, then the
        oldest."""
        self._capacity = capacity
        if len(self._values) > capacity:
            kept = {key: value for key, value in self._values.items() if not self._is_over(value, now)}
            surplus = max(0, len(kept) - capacity)
            self._values = dict(list(kept.items())[surplus:])
            self._places = list(self._values)
            self._hand = 0
