from __future__ import annotations

from lbkit.checks.tcp import TcpCheck
from lbkit.registry import NoOptions
from lbkit.server import Address
from tests.support.backends import Backend, hold
from tests.support.loops import on_both_loops


@on_both_loops
async def test_an_accepted_connection_passes() -> None:
    async with Backend(hold) as address:
        assert await TcpCheck(NoOptions()).probe(Address.parse(address)) == "connected"
