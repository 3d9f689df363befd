from __future__ import annotations

import pytest

from lbkit.exchange import Exchange
from lbkit.http.forwarded import Form
from lbkit.http.trusted import Trusted
from lbkit.proxy.clients import ClientReader
from tests.exchange.wire import ask
from tests.support.loops import on_both_loops

FIELDS = b"X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.2\r\n"


@on_both_loops
@pytest.mark.parametrize(
    ("trusted", "form", "client"),
    [
        (Trusted(["127.0.0.0/8"]), "x-forwarded", b"192.0.2.1"),
        (Trusted(["127.0.0.0/8"]), "both", b"192.0.2.1"),
        (Trusted(["127.0.0.0/8"]), "rfc7239", b"192.0.2.2"),
        (Trusted([]), "x-forwarded", b"127.0.0.1"),
    ],
)
async def test_the_client_is_whom_trusted_neighbours_tell(
    trusted: Trusted, form: Form, client: bytes
) -> None:
    reader = ClientReader(trusted, form)

    async def handler(exchange: Exchange) -> None:
        await exchange.respond(200, [], reader(exchange).encode())

    answer = await ask(handler, b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n" + FIELDS + b"\r\n")
    assert answer.endswith(b"\r\n\r\n" + client)
