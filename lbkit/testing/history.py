"""`History`: what clients of a database saw while it was disturbed, and what that says of it.

In the manner of Jepsen: clients do simple things at random, note when each began and how it ended, and
afterwards the notes are held against what the database has. Every attempt ends in one of three ways: it was
acknowledged, it certainly did not happen, or nobody knows. What is unknown may be there or not, at any time
after its begin; that is no fault of a database. A fault is

- **lost**: acknowledged, and not there in the end;
- **stale**: a read that had to see a write, its client's own or one that was acknowledged to somebody before
  it began under strong consistency, and did not;
- **torn**: a read of several rows that no order of whole transactions explains, here a sum that is not that
  of the beginning;
- **phantom**: there, and nobody ever tried it, or its client was told for certain that it did not happen.

Pure: times come from whoever notes. No search for a linear order is made, as Knossos does: elements of a set
are added once each, registers have one writer each, and sums are constant, so that counting is enough.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["Attempt", "End", "History", "Verdict"]


class End(Enum):
    """How an attempt ended."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    """It did not happen."""
    UNKNOWN = "unknown"
    """It may have happened, or may yet."""


@dataclass(slots=True)
class Attempt:
    """One write that was tried; ends as unknown unless somebody says otherwise."""

    value: int
    began: float
    ended: float = 0.0
    end: End = End.UNKNOWN


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many of each; `examples` has a line for some of the faults."""

    operations: int
    acknowledged: int
    refused: int
    unknown: int
    reads: int
    lost: int
    stale: int
    torn: int
    phantom: int
    examples: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether there was no fault."""
        return not (self.lost or self.stale or self.torn or self.phantom)

    def __str__(self) -> str:
        return (
            f"{self.operations} operations: {self.acknowledged} writes acknowledged, {self.refused} refused, "
            f"{self.unknown} unknown, {self.reads} reads; "
            f"{self.lost} lost, {self.stale} stale, {self.torn} torn, {self.phantom} phantom"
        )


@dataclass(slots=True)
class _Register:
    """Writes of one writer, in order: their values grow."""

    attempts: list[Attempt] = field(default_factory=list)
    acknowledged: int = 0
    """The greatest value that was."""


class History:
    """The notes of one run: a set, registers, and a bank."""

    def __init__(self, total: int = 0, most_examples: int = 10) -> None:
        """*total* is the bank's sum."""
        self.total = total
        self._most_examples = most_examples
        self._added: dict[int, Attempt] = {}
        self._registers: dict[int, _Register] = {}
        self._transfers: list[Attempt] = []
        self._reads = 0
        self._stale = 0
        self._torn = 0
        self._phantom = 0
        self._examples: list[str] = []

    # ---- the set: every element is added once

    def adds(self, value: int, now: float) -> Attempt:
        """Somebody is about to add *value*; say with `ends` how that ended. Raises ValueError where it was
        tried before."""
        if value in self._added:
            raise ValueError(f"{value} was added before: an element of the set is added once")
        attempt = self._added[value] = Attempt(value, now)
        return attempt

    def ends(self, attempt: Attempt, end: End, now: float) -> None:
        """An attempt has ended."""
        attempt.end, attempt.ended = end, now

    # ---- registers: one writer each, whose values grow

    def writes(self, key: int, now: float) -> Attempt:
        """The writer of register *key* is about to write the next value, which the attempt has."""
        register = self._registers.setdefault(key, _Register())
        attempt = Attempt(len(register.attempts) + 1, now)
        register.attempts.append(attempt)
        return attempt

    def written(self, key: int, attempt: Attempt, end: End, now: float) -> None:
        """How that ended."""
        self.ends(attempt, end, now)
        if end is End.ACKNOWLEDGED:
            self._registers[key].acknowledged = attempt.value

    def least(self, key: int) -> int:
        """The least value that a read of register *key* that begins now must see."""
        register = self._registers.get(key)
        return register.acknowledged if register else 0

    def reads(self, key: int, value: int, least: int) -> None:
        """A read of register *key* that had to see at least *least* saw *value*; 0 is that it was never
        written."""
        self._reads += 1
        attempts = self._registers.setdefault(key, _Register()).attempts
        if value < least:
            self._stale += 1
            self._note(f"register {key}: a read saw {value} after {least} had been acknowledged")
        elif value > len(attempts):
            self._phantom += 1
            self._note(f"register {key}: a read saw {value}, and {len(attempts)} is the last that was tried")
        elif value and attempts[value - 1].end is End.REFUSED:
            self._phantom += 1
            self._note(f"register {key}: a read saw {value}, which did not happen")

    # ---- the bank: transfers between accounts leave the sum as it is

    def transfers(self, now: float) -> Attempt:
        """Somebody is about to move money from one account to another."""
        attempt = Attempt(len(self._transfers), now)
        self._transfers.append(attempt)
        return attempt

    def sums(self, total: int) -> None:
        """A read of all accounts, in one statement, found *total*."""
        self._reads += 1
        if total != self.total:
            self._torn += 1
            self._note(f"bank: all accounts hold {total}, not {self.total}")

    # ---- the end

    def judge(self, elements: Collection[int], registers: Mapping[int, int]) -> Verdict:
        """What the notes say, held against what is there after all is quiet: the set's *elements* and the
        *registers*' values."""
        there = set(elements)
        lost = phantom = 0
        for value, attempt in self._added.items():
            if attempt.end is End.ACKNOWLEDGED and value not in there:
                lost += 1
                self._note(f"set: {value} was acknowledged at {attempt.ended:.3f} and is not there")
            elif attempt.end is End.REFUSED and value in there:
                phantom += 1
                self._note(f"set: {value} did not happen and is there")
        for value in there - self._added.keys():
            phantom += 1
            self._note(f"set: {value} is there and nobody added it")
        for key, register in self._registers.items():
            value = registers.get(key, 0)
            if value < register.acknowledged:
                lost += 1
                self._note(f"register {key}: {register.acknowledged} was acknowledged, and it has {value}")
        for key, value in registers.items():
            if value and not self._may_be(key, value):
                phantom += 1
                self._note(f"register {key}: it has {value}, which did not happen or was never tried")
        attempts = [*self._added.values(), *self._transfers]
        for register in self._registers.values():
            attempts += register.attempts
        ends = [attempt.end for attempt in attempts]
        return Verdict(
            operations=len(attempts) + self._reads,
            acknowledged=ends.count(End.ACKNOWLEDGED),
            refused=ends.count(End.REFUSED),
            unknown=ends.count(End.UNKNOWN),
            reads=self._reads,
            lost=lost,
            stale=self._stale,
            torn=self._torn,
            phantom=self._phantom + phantom,
            examples=tuple(self._examples),
        )

    def _may_be(self, key: int, value: int) -> bool:
        """Whether somebody tried to write it and was not told that it did not happen."""
        attempts = self._registers[key].attempts if key in self._registers else []
        return value <= len(attempts) and attempts[value - 1].end is not End.REFUSED

    def _note(self, line: str) -> None:
        if len(self._examples) < self._most_examples:
            self._examples.append(line)
