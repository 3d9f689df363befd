"""Slow start: a server that has just become ready gets its share little by little.

Linear from one sixteenth to the whole within the given time, as HAProxy's `slowstart`, on weight and
connection limit alike; in sixteen steps, because each step makes the balancer take in new weights. Unlike
HAProxy's it follows every change to ready, also a server's first one, so that a cold server which joins is
not flooded.
"""

from __future__ import annotations

import math

__all__ = ["STEPS", "next_step", "sixteenths"]

STEPS = 16
_ROUNDING = 1e-5
"""Of a step: a moment that was worked out from a step must count as reaching it."""


def sixteenths(ready_since: float, duration: float, now: float) -> int:
    """The sixteenths of its share, 1–16, that a server may have at *now*; *duration* is seconds."""
    if duration <= 0:
        return STEPS
    done = (now - ready_since) / duration * STEPS + _ROUNDING
    return min(STEPS, math.floor(min(max(done, 0), STEPS)) + 1)


def next_step(ready_since: float, duration: float, now: float) -> float:
    """When `sixteenths` is next greater than at *now*; infinity when it is the whole already."""
    step = sixteenths(ready_since, duration, now)
    return math.inf if step == STEPS else ready_since + duration * step / STEPS
