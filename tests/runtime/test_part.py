from __future__ import annotations

import asyncio

from lbkit.admin import View
from lbkit.proxy.listener import Listener
from lbkit.runtime.part import Part
from lbkit.server import Address
from tests.support.loops import on_both_loops


@on_both_loops
async def test_a_process_alone_does_everything_and_tells_nobody() -> None:
    part, view = Part(), View(0.0, [], [])
    assert part.checks
    assert part.announces
    assert part.known("p") == ()
    assert part.shown(view) is view
    loop = asyncio.get_running_loop()
    listener = Listener("l", Address("127.0.0.1", 0), lambda sock: sock.close(), loop=loop)
    part.bind(listener)
    assert listener.address.port
    listener.stop()
