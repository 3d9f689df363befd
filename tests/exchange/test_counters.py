from __future__ import annotations

from lbkit.exchange import Exchange
from tests.exchange.wire import LAST_GET, site
from tests.support.loops import on_both_loops


@on_both_loops
async def test_everything_is_counted() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.respond(204, [])

    async with site(handler) as where:
        answers = [await where.ask(LAST_GET), await where.ask(b"nonsense\r\n\r\n")]
        counters = where.http.counters
    assert (counters.connections, counters.requests, counters.client_errors) == (2, 1, 1)
    assert counters.responses[2] == counters.responses[4] == 1
    assert counters.bytes_in == len(LAST_GET) + len(b"nonsense\r\n\r\n")
    assert counters.bytes_out == sum(map(len, answers))
