from __future__ import annotations

import asyncio
import contextlib
import select

import pytest

from lbkit.errors import KernelUnsupported
from lbkit.relay.resources import Resources
from tests.support.loops import on_both_loops, open_descriptors


@on_both_loops
async def test_closing_frees_everything() -> None:
    before = open_descriptors()
    shared = Resources(asyncio.get_running_loop())
    pipe = shared.pipes.take()
    assert pipe is not None
    shared.pipes.give_back(pipe)
    with contextlib.suppress(KernelUnsupported):
        assert len(shared.joins) == 0
    assert open_descriptors() > before
    shared.close()
    assert open_descriptors() == before


async def test_where_there_is_no_epoll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "epoll")
    shared = Resources(asyncio.get_running_loop())
    assert shared.poller is None
    with pytest.raises(KernelUnsupported, match="no epoll"):
        _ = shared.joins
    shared.close()
