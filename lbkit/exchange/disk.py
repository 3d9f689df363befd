"""`on_disk`: what may wait for a disk, in threads of its own.

The loop's own threads are few (six on two cores) and do other things, too: as many cold reads at a time would
hold up everybody who needs one. These are 32, as nginx has in its default pool (``thread_pool default
threads=32``); they are made when they are needed, and sleep.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["THREADS", "on_disk"]

T = TypeVar("T")

THREADS = 32
"""So many reads may wait for the disk at a time; more wait in line."""

_executor = ThreadPoolExecutor(THREADS, "lbkit-disk")


def on_disk(function: Callable[..., T], *args: object) -> asyncio.Future[T]:
    """What ``function(*args)`` gives, called in a thread; its errors are raised where it is awaited.

    To give up waiting does not stop the thread.
    """
    return asyncio.get_running_loop().run_in_executor(_executor, function, *args)
