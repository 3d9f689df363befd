"""By when the present request must be answered: `remaining`, for everything that works on it.

A balancer says it by a field, the app server (``lbkit app --deadlines``) puts it here, and what the task of
a request calls finds it, in tasks and threads that it starts, too (PEP 567). `lbkit.mysql.Router` waits no
longer and stops what runs on a server by then.

    from lbkit import deadline

    answer = await client.get(url, timeout=min(5.0, deadline.remaining()))
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from lbkit.errors import DeadlineExceeded

__all__ = ["at", "bounded", "check", "remaining", "until", "within"]

_at: contextvars.ContextVar[float | None] = contextvars.ContextVar("lbkit.deadline", default=None)


def at() -> float | None:
    """Monotonic seconds (`time.monotonic`, ``loop.time``) of the deadline; None where there is none."""
    return _at.get()


def remaining() -> float:
    """Seconds that are left, at least 0; infinite where there is no deadline."""
    deadline = _at.get()
    return math.inf if deadline is None else max(0.0, deadline - time.monotonic())


def check() -> None:
    """Raises DeadlineExceeded where the deadline has passed: before work that nobody would wait for."""
    if remaining() <= 0:
        raise DeadlineExceeded("the request's deadline has passed")


@contextmanager
def until(deadline: float | None) -> Iterator[None]:
    """Have the block end by *deadline*, monotonic seconds, or by a sooner one that is set; None for none."""
    before = _at.get()
    if before is not None and (deadline is None or before < deadline):
        deadline = before
    token = _at.set(deadline)
    try:
        yield
    finally:
        _at.reset(token)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """`until` in *seconds* from now. The block itself is not stopped, but what in it heeds deadlines."""
    with until(time.monotonic() + seconds):
        yield


@asynccontextmanager
async def bounded() -> AsyncIterator[None]:
    """Stop the block at the deadline, by a cancellation; raises DeadlineExceeded then."""
    deadline = _at.get()
    if deadline is None:
        yield
        return
    check()
    try:
        async with asyncio.timeout(deadline - time.monotonic()) as limit:
            yield
    except TimeoutError:
        if limit.expired():
            raise DeadlineExceeded("the request's deadline has passed") from None
        raise
