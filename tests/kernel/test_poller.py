from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable

import pytest

from lbkit.errors import KernelUnsupported
from lbkit.kernel.poller import ANY, ENDS, READ_HANG_UP, READABLE, WRITABLE, Poller
from tests.support.loops import on_both_loops, until


class Recorder:
    """Notes what it is told; *then* is called each time."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.masks: list[int] = []
        self._then = then

    def ready(self, mask: int) -> None:
        self.masks.append(mask)
        self._then()


def pair() -> tuple[socket.socket, socket.socket]:
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    return one, other


@on_both_loops
async def test_what_is_ready_is_told_once_until_more_happens() -> None:
    poller, (one, other) = Poller(asyncio.get_running_loop()), pair()
    recorder = Recorder()
    poller.watch(one.fileno(), recorder)
    await until(lambda: recorder.masks == [WRITABLE])
    other.send(b"x")
    await until(lambda: recorder.masks[1:] == [READABLE | WRITABLE])
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(recorder.masks) == 2
    other.shutdown(socket.SHUT_WR)
    await until(lambda: recorder.masks[2:] == [READABLE | WRITABLE | READ_HANG_UP])
    one.close()
    other.close()
    poller.stop()


@on_both_loops
async def test_taking_over_changing_and_forgetting() -> None:
    poller, (one, other) = Poller(asyncio.get_running_loop()), pair()
    first, second = Recorder(), Recorder()
    poller.watch(one.fileno(), first)
    await until(lambda: first.masks)
    poller.take_over(one.fileno(), second)
    other.send(b"x")
    await until(lambda: second.masks == [READABLE | WRITABLE])
    poller.change(one.fileno(), ENDS)
    other.send(b"y")
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(second.masks) == 1, "only its end is of interest"
    poller.change(one.fileno(), ANY)
    await until(lambda: len(second.masks) == 2)
    poller.pass_on(one.fileno(), READABLE)
    assert second.masks[2:] == [READABLE]
    assert poller.watches(one.fileno())
    poller.forget(one.fileno())
    poller.forget(one.fileno())
    assert not poller.watches(one.fileno())
    other.send(b"z")
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(second.masks) == 3
    assert len(first.masks) == 1
    one.close()
    other.close()
    poller.stop()


@on_both_loops
async def test_a_descriptor_is_not_used_again_while_its_events_are_in_line() -> None:
    """The first of two ready sockets closes both: the second is told of nothing, nor is who gets its number."""
    poller = Poller(asyncio.get_running_loop())
    pairs = [pair() for _ in range(2)]
    new: list[socket.socket] = []
    newcomer = Recorder()
    told: list[int] = []

    def close_both() -> None:
        told.append(1)
        for one, _ in pairs:
            poller.close(one)
        if not new:
            new.extend(pair())
            assert new[0].fileno() not in {one.fileno() for one, _ in pairs}
            poller.watch(new[0].fileno(), newcomer)

    for one, other in pairs:
        poller.watch(one.fileno(), Recorder(close_both))
        other.send(b"x")
    await until(lambda: newcomer.masks)
    assert told == [1]
    assert newcomer.masks == [WRITABLE]
    assert [one.fileno() for one, _ in pairs] == [-1, -1]
    for sock in (*new, *(other for _, other in pairs)):
        sock.close()
    poller.stop()


@on_both_loops
async def test_again_comes_after_the_others() -> None:
    poller, (one, other) = Poller(asyncio.get_running_loop()), pair()
    left = 3
    recorder = Recorder(lambda: go_on())

    def go_on() -> None:
        nonlocal left
        left -= 1
        if left > 0:
            poller.again(recorder)

    poller.watch(one.fileno(), recorder)
    await until(lambda: left == 0)
    assert recorder.masks == [WRITABLE, READABLE, READABLE]
    one.close()
    other.close()
    poller.stop()


async def test_a_bug_in_one_does_not_end_the_others() -> None:
    loop = asyncio.get_running_loop()
    reported: list[object] = []
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
    poller, pairs = Poller(loop), [pair() for _ in range(3)]
    error = RuntimeError("a bug")

    def fail() -> None:
        raise error

    good = Recorder()
    for watcher, (one, _) in zip((Recorder(fail), good, Recorder(fail)), pairs, strict=True):
        poller.watch(one.fileno(), watcher)
    await until(lambda: len(reported) == 2 and good.masks)
    assert reported == [error, error]
    for one, other in pairs:
        one.close()
        other.close()
    poller.stop()


async def test_where_there_is_no_epoll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "epoll")
    with pytest.raises(KernelUnsupported, match="Linux"):
        Poller(asyncio.get_running_loop())
