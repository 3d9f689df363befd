"""What commands that run until they are stopped share: the loop, signals, the log, types of options."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import sys
from collections.abc import Coroutine
from typing import Any

import click

from lbkit.config.values import parse_size
from lbkit.server import Address

__all__ = ["ADDRESS", "SIZE", "log_to_stderr", "on_signals", "run_loop", "unless", "until_signal"]


class _AddressType(click.ParamType[Address]):
    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """``host:port``, ``[v6]:port`` or ``unix:/path``."""
        if isinstance(value, Address):
            return value
        try:
            return Address.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


ADDRESS = _AddressType()


class _SizeType(click.ParamType[int]):
    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Such as ``512MiB``."""
        if isinstance(value, int):
            return value
        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


SIZE = _SizeType()


def log_to_stderr(level: str, origin: str = "") -> None:
    """To standard error; *origin* marks each line."""
    logging.basicConfig(
        level=level.upper(),
        format=f"%(asctime)s %(levelname)-7s {origin}%(name)s: %(message)s",
        stream=sys.stderr,
        force=bool(origin),
    )
    logging.getLogger("hpack").setLevel(logging.WARNING)  # it would say how it encodes every field


async def unless(event: asyncio.Event, work: Coroutine[Any, Any, Any]) -> bool:
    """Run *work*, but give it up when *event* is set; whether it came to its end. Raises what it raises."""
    task, waiting = asyncio.ensure_future(work), asyncio.ensure_future(event.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task.done():
        task.result()
        return True
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return False


def on_signals(*numbers: signal.Signals) -> asyncio.Event:
    """Set by any of them."""
    event = asyncio.Event()
    for number in numbers:
        asyncio.get_running_loop().add_signal_handler(number, event.set)
    return event


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run *main* on uvloop, with as many descriptors as there can be."""
    # Not at the top: `lbkit --help` and `lbkit check` need no event loop.
    import uvloop

    _raise_descriptor_limit()
    uvloop.run(main)


def _raise_descriptor_limit() -> None:
    """As many descriptors as this process may have: a session in tcp mode takes two.

    Root may have more than its hard limit says, as HAProxy does it, too.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Not over a million: some systems say "unlimited" there and then refuse it.
    most = 1 << 20
    if os.geteuid() == 0 and hard < most:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
            return
    wanted = min(hard, most) if hard != resource.RLIM_INFINITY else most
    if soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def until_signal(work: Coroutine[Any, Any, None]) -> None:
    """Run *work*; SIGTERM, SIGINT or SIGHUP cancels it and waits for its clean-up, a second one that, too.

    Clean-up that must not be cut short sees to that itself, as the stack's does.
    """
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
