from __future__ import annotations

import pytest

from lbkit.proxy.redirect import HttpsRedirect
from tests.exchange.wire import ask


@pytest.mark.parametrize(
    ("port", "request_head", "expected"),
    [
        (443, b"GET /a?b HTTP/1.1\r\nHost: x.example:80\r\n", b"Location: https://x.example/a?b\r\n"),
        (
            8443,
            b"POST / HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 0\r\n",
            b"Location: https://[::1]:8443/\r\n",
        ),
        (443, b"GET http://y/z HTTP/1.1\r\nHost: x\r\n", b"Location: https://y/z\r\n"),
        (443, b"GET / HTTP/1.0\r\n", b"HTTP/1.1 400 "),
        (443, b"OPTIONS * HTTP/1.1\r\nHost: x\r\n", b"HTTP/1.1 400 "),
    ],
)
async def test_where_to(port: int, request_head: bytes, expected: bytes) -> None:
    assert expected in await ask(HttpsRedirect(port), request_head + b"Connection: close\r\n\r\n")
