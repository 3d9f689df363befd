"""Work that a cancellation must not cut short: ending processes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["to_the_end"]


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Await *work*, which must be bounded in time; a cancellation meanwhile takes effect when it is over.

    Without this a second Ctrl-C cancels the clean-up that the first one started, and what it had not
    come to is left running. What *work* raises is raised.
    """
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    task.result()
    if cancelled:
        raise asyncio.CancelledError
