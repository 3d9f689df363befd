"""`HttpCall` by itself; what it does for an application is in test_handler.py."""

from __future__ import annotations

from lbkit.asgi import AsgiHandler
from lbkit.asgi.call import HttpCall
from lbkit.asgi.types import Receive, Scope, Send
from lbkit.exchange import Exchange
from tests.exchange.wire import GET, LAST_GET, ask, site
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


@on_both_loops
async def test_the_length_of_a_file_that_the_web_server_sends_is_not_this_answers() -> None:
    said = [(b"x-accel-redirect", b"/private/a.pdf"), (b"content-length", b"1000"), (b"x-kept", b"1")]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": said})
        await send({"type": "http.response.body"})

    async with site(AsgiHandler(app)) as where, where.client() as client:
        for _ in range(2):
            client.send(GET)
            status, fields, _ = await client.response()
            assert (status, fields["content-length"], fields["x-kept"]) == (200, "0", "1")
            assert fields["x-accel-redirect"] == "/private/a.pdf"
