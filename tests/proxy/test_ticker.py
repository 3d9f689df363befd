from __future__ import annotations

import asyncio
from typing import Any

from lbkit.proxy.ticker import TICK, Ticker


class HandLoop:
    """A loop whose timers fire when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, object]] = []
        self.cancelled = 0
        self.reported: list[dict[str, Any]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: object) -> HandLoop:
        self.timers.append((self.now + delay, callback))
        return self

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.reported.append(context)

    def cancel(self) -> None:
        self.cancelled += 1

    def fire(self) -> None:
        self.now, callback = self.timers.pop(0)
        callback()  # type: ignore[operator]


def make() -> tuple[HandLoop, Ticker]:
    loop = HandLoop()
    return loop, Ticker(loop)  # type: ignore[arg-type]


def test_a_subscriber_is_called_until_it_has_nothing_to_time() -> None:
    loop, ticker = make()
    calls: list[float] = []

    def tick(now: float) -> bool:
        calls.append(now)
        return len(calls) < 3

    ticker.wake(tick)
    ticker.wake(tick)
    while loop.timers:
        loop.fire()
    assert len(calls) == 3
    assert abs(calls[2] - 3 * TICK) < 1e-9


def test_there_is_one_timer_for_all() -> None:
    loop, ticker = make()
    for _ in range(5):
        ticker.wake(lambda now: False)
    assert len(loop.timers) == 1


def test_waking_during_a_tick() -> None:
    loop, ticker = make()
    calls: list[str] = []

    def first(now: float) -> bool:
        ticker.wake(second)
        calls.append("first")
        return False

    def second(now: float) -> bool:
        calls.append("second")
        return False

    ticker.wake(first)
    loop.fire()
    assert len(loop.timers) == 1
    loop.fire()
    assert calls == ["first", "second"]


def test_close() -> None:
    loop, ticker = make()
    ticker.wake(lambda now: True)
    ticker.close()
    assert loop.cancelled == 1


async def test_on_a_real_loop() -> None:
    done = asyncio.Event()

    def tick(now: float) -> bool:
        done.set()
        return False

    Ticker(asyncio.get_running_loop()).wake(tick)
    async with asyncio.timeout(5):
        await done.wait()


def test_a_subscriber_that_fails_is_reported_and_the_others_go_on() -> None:
    loop, ticker = make()
    calls: list[float] = []
    ticker.wake(broken)
    ticker.wake(lambda now: bool(calls.append(now)) or len(calls) < 2)
    loop.fire()
    loop.fire()
    assert len(calls) == 2
    assert [str(context["exception"]) for context in loop.reported] == ["a bug"] * 2


def broken(now: float) -> bool:
    raise ValueError("a bug")
