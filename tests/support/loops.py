"""Runs a test's coroutine on asyncio's own loop and on uvloop, and looks for what is left open."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

__all__ = ["on_both_loops", "open_descriptors", "until"]

FACTORIES = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A coroutine test as two tests, one on each loop. Whatever it leaves open is an error.

    Threads of other fixtures may open something meanwhile: what seems to be left is looked for in a second run.
    """

    @functools.wraps(test)
    def run(loop_name: str, **arguments: Any) -> None:
        complaints: list[str] = []
        with asyncio.Runner(loop_factory=FACTORIES[loop_name]) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: complaints.append(str(context)))
            runner.run(settle())  # a loop opens some of its own at its first run
            for _ in range(2):
                before = open_descriptors()
                runner.run(test(**arguments))
                wait_for_closing(runner, before)
                if open_descriptors() <= before:
                    break
            else:
                raise AssertionError("descriptors were left open")
        assert not complaints

    signature = inspect.signature(test)
    name = inspect.Parameter("loop_name", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = signature.replace(parameters=[name, *signature.parameters.values()])  # type: ignore[attr-defined]
    return pytest.mark.parametrize("loop_name", list(FACTORIES))(run)


async def until(condition: Callable[[], object], limit: float = 10) -> None:
    """Wait until *condition* holds; TimeoutError when it does not within *limit* seconds."""
    async with asyncio.timeout(limit):
        while not condition():
            await asyncio.sleep(0.005)


async def settle() -> None:
    """Let callbacks that are already due run."""
    for _ in range(5):
        await asyncio.sleep(0)


def wait_for_closing(runner: asyncio.Runner, descriptors: int) -> None:
    """Run the loop until no more than *descriptors* are open, or for about a second.

    Counted while the loop does not run: uvloop has some of its own open meanwhile.
    """
    runner.run(settle())
    for _ in range(100):
        if open_descriptors() <= descriptors:
            return
        runner.run(asyncio.sleep(0.01))


def open_descriptors() -> int:
    """How many descriptors this process has open; /dev/null, of which uvloop keeps one, does not count."""
    null = os.stat(os.devnull).st_rdev
    return sum(device != null for device in map(device_of, os.listdir("/dev/fd")))


def device_of(descriptor: str) -> int:
    try:
        return os.fstat(int(descriptor)).st_rdev
    except OSError:  # the one that listed the folder
        return os.stat(os.devnull).st_rdev
