"""Which of many things are due: a timer wheel, at the same small cost however many wait.

Strategy: the times are cut into steps, and each step has a set of what is due in it. Adding and removing is
one set operation, and what is looked at each time is only what is due then. Whoever was due and is not
finished adds itself again. (Varghese and Lauck, "Hashed and hierarchical timing wheels", SOSP 1987,
scheme 4; steps are kept by number, so that there is no farthest one.)

Rejected: a heap, whose entries of sessions that have ended stay until they come up; looking at all sessions
every few seconds, which holds up the others for as long as that takes.
"""

from __future__ import annotations

import math
from typing import Generic, TypeVar

__all__ = ["Wheel"]

T = TypeVar("T")


class Wheel(Generic[T]):
    """Things by the time at which they are due, monotonic seconds; *step* is the precision."""

    __slots__ = ("_seen", "_slots", "_step")

    def __init__(self, step: float) -> None:
        self._step = step
        self._slots: dict[int, set[T]] = {}
        self._seen = -1
        """The last step that `take` has given out."""

    def add(self, item: T, due: float) -> set[T]:
        """*item* is due then, or up to a step later. To take it back discard it from the result."""
        number = max(math.ceil(due / self._step), self._seen + 1)
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = set()
        slot.add(item)
        return slot

    def take(self, now: float) -> list[T]:
        """What has become due; it is in the wheel no more."""
        last = int(now / self._step)
        if last <= self._seen:
            return []
        passed = range(self._seen + 1, last + 1)
        # After a long time in which nobody asked there are more steps than slots.
        numbers = sorted(n for n in self._slots if n <= last) if len(passed) > len(self._slots) else passed
        self._seen = last
        due: list[T] = []
        for number in numbers:
            due.extend(self._slots.pop(number, ()))
        return due
