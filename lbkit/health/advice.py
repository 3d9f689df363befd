"""What a server's agent says of it: one line of words, as HAProxy's `agent-check`.

``75%`` sets the share of the weight, ``maxconn:30`` the connection limit, ``ready``, ``drain`` and
``maint`` the administrative state, and ``up``, ``down``, ``stopped`` and ``fail`` the health. Words are
separated by blanks or commas; what follows ``#`` is the reason for people.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["Advice", "parse_advice"]

_PERCENT = re.compile(r"([0-9]{1,3})%")
_LIMIT = re.compile(r"maxconn:([0-9]{1,7})")


@dataclass(frozen=True, slots=True)
class Advice:
    """None is nothing said about it, which leaves what was said before."""

    percent: int | None = None
    """Of the weight, 0–256; 0 drains."""
    limit: int | None = None
    """In place of `max_connections`."""
    state: Literal["ready", "drain", "maint"] | None = None
    up: bool | None = None
    reason: str = ""


def parse_advice(line: str) -> Advice:
    """Read one line; raises ValueError for a line that is empty or has an unknown word."""
    text, _, reason = line.strip().partition("#")
    percent: int | None = None
    limit: int | None = None
    state: Literal["ready", "drain", "maint"] | None = None
    up: bool | None = None
    words = text.replace(",", " ").split()
    if not words:
        raise ValueError("the agent said nothing")
    for word in words:
        lowered = word.lower()
        if match := _PERCENT.fullmatch(lowered):
            percent = int(match[1])
            if percent > 256:
                raise ValueError(f'"{word}" is not from 0% to 256%')
        elif match := _LIMIT.fullmatch(lowered):
            limit = int(match[1])
        elif lowered in ("ready", "drain", "maint"):
            state = lowered  # type: ignore[assignment]  # narrowed by the line above
        elif lowered == "up":
            up = True
        elif lowered in ("down", "stopped", "fail"):
            up = False
        else:
            raise ValueError(f"unknown word {word[:40]!a} of the agent")
    return Advice(percent, limit, state, up, " ".join(reason.split())[:200])
