from __future__ import annotations

import asyncio
import os
import resource
import signal

import click
import pytest

from lbkit.commands.running import ADDRESS, SIZE, on_signals, run_loop, unless, until_signal
from lbkit.server import Address


def test_the_types_of_options() -> None:
    assert ADDRESS.convert("unix:/s", None, None) == Address.parse("unix:/s")
    assert (SIZE.convert("2KiB", None, None), SIZE.convert(3, None, None)) == (2048, 3)
    for kind in (ADDRESS, SIZE):
        with pytest.raises(click.BadParameter):
            kind.convert("x y", None, None)


def test_the_loop_has_all_descriptors_there_can_be() -> None:
    seen: list[tuple[int, int]] = []

    async def main() -> None:
        seen.append(resource.getrlimit(resource.RLIMIT_NOFILE))

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        run_loop(main())
        assert seen[0][0] == seen[0][1] or seen[0][0] >= 1 << 20
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_work_is_given_up_when_something_happens() -> None:
    event = asyncio.Event()
    assert await unless(event, asyncio.sleep(0))
    event.set()
    assert not await unless(event, asyncio.sleep(1000))


async def test_signals() -> None:
    stopping = on_signals(signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGUSR1)
    await stopping.wait()
    asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR1)
    asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGHUP)
    await until_signal(asyncio.sleep(1000))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().remove_signal_handler(number)
