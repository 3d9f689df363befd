from __future__ import annotations

import fcntl
import os

import pytest

from lbkit.kernel.pipes import CAPACITY, Pipe, PipePool
from tests.support.loops import open_descriptors

pytestmark = pytest.mark.skipif(not hasattr(os, "splice"), reason="splice(2) is Linux's")


def test_a_pipe_is_large_and_never_blocks() -> None:
    pipe = Pipe()
    assert fcntl.fcntl(pipe.read_end, fcntl.F_GETPIPE_SZ) == CAPACITY
    with pytest.raises(BlockingIOError):
        os.read(pipe.read_end, 1)
    pipe.close()


def test_an_empty_pipe_is_used_again_and_one_with_bytes_is_not() -> None:
    pool = PipePool()
    first = pool.take()
    assert first is not None
    pool.give_back(first)
    assert pool.take() is first
    first.held = 7
    pool.give_back(first)
    assert pool.take() is not first, "nobody must get another session's bytes"
    assert pool.in_use == 1


def test_pipes_are_bounded_in_use_and_in_store() -> None:
    before = open_descriptors()
    pool = PipePool(most=3, kept=1)
    pipes = [pool.take() for _ in range(4)]
    assert pipes[3] is None
    for pipe in pipes[:3]:
        assert pipe is not None
        pool.give_back(pipe)
    assert open_descriptors() == before + 2
    pool.close()
    assert open_descriptors() == before


def test_without_descriptors_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(flags: int) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pipe2", fail)
    pool = PipePool()
    assert pool.take() is None
    assert pool.in_use == 0
