"""Passive observation: errors of live traffic counted against a server's health.

HAProxy's `observe layer4|layer7`, `error-limit` and `on-error`. At layer 4 only a failed connect is
an error, at layer 7 also an answer of 5xx other than 501 and 505, a broken one, a reset and silence. Only
consecutive errors count, and what a client broke off says nothing about the server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lbkit.server import Outcome

__all__ = ["ErrorCounter", "PassiveRules"]


@dataclass(frozen=True, slots=True)
class PassiveRules:
    """`error_limit` consecutive errors at `layer` make a server suspect; then `on_error`:

    ``"fail_check"`` counts as one failed check and hurries the next one (HAProxy's default),
    ``"fast_check"`` only hurries it, and ``"mark_down"`` takes the server out until checks bring it back.
    """

    layer: Literal["layer4", "layer7"] = "layer7"
    error_limit: int = 10
    on_error: Literal["fail_check", "fast_check", "mark_down"] = "fail_check"


class ErrorCounter:
    """Consecutive errors of one server."""

    __slots__ = ("errors",)

    def __init__(self) -> None:
        self.errors = 0

    def count(self, outcome: Outcome, rules: PassiveRules) -> bool:
        """Take in how a session or request ended; True when the limit is reached, which starts anew."""
        if outcome is Outcome.CANCELLED:
            return False
        failed = outcome is Outcome.CONNECT_FAILED if rules.layer == "layer4" else outcome.is_failure
        if not failed:
            self.errors = 0
            return False
        self.errors += 1
        if self.errors < rules.error_limit:
            return False
        self.errors = 0
        return True
