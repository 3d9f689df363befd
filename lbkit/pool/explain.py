"""`Explanation`: why a server was or was not a candidate, for people and for JSON."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Explanation"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """One server at one moment.

    `score` is what the algorithm compares it by, the lowest being picked; None for algorithms that
    compare nothing and for servers that are no candidates.
    """

    name: str
    address: str
    candidate: bool
    """Whether the next pick may take it."""
    standing: str
    reason: str
    weight: int
    effective_weight: float
    """What slow start and the agent leave of the weight."""
    share: float
    """Its part of the candidates' weights, 0–1."""
    open_sessions: int
    limit: int
    """Connections allowed now; 0 is no limit."""
    score: float | None

    def __str__(self) -> str:
        score = "" if self.score is None else f", score {self.score:.4g}"
        verdict = "candidate" if self.candidate else "not a candidate"
        return f"{self.name}: {verdict}: {self.standing}, {self.reason}{score}"
