"""`HttpCall` by itself; what it does for an application is in test_handler.py."""

from __future__ import annotations

from lbkit.asgi.call import HttpCall
from lbkit.exchange import Exchange
from tests.exchange.wire import LAST_GET, ask
from tests.support.loops import on_both_loops


@on_both_loops
async def test_after_the_request_only_the_disconnect_is_told() -> None:
    async def handler(exchange: Exchange) -> None:
        call = HttpCall(exchange)
        assert await call.receive() == {"type": "http.request", "body": b"", "more_body": False}
        await call.send({"type": "http.response.start", "status": 204})
        await call.send({"type": "http.response.body"})
        assert await call.receive() == {"type": "http.disconnect"}
        assert call.client_error is None

    assert (await ask(handler, LAST_GET)).startswith(b"HTTP/1.1 204 ")
