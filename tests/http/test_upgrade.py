from __future__ import annotations

import pytest

from lbkit.http.messages import Headers, Request
from lbkit.http.targets import parse_target
from lbkit.http.upgrade import asked_protocols, changes_to

ALLOWED = {b"websocket", b"chat"}


def request(
    *headers: tuple[bytes, bytes], method: str = "GET", version: str = "1.1", body: bool = False
) -> Request:
    return Request(method, parse_target(b"/", method), list(headers), version, body)


WISH = ((b"Connection", b"keep-alive, Upgrade"), (b"Upgrade", b"WebSocket"))


def test_a_wish_that_is_allowed() -> None:
    assert asked_protocols(request(*WISH), ALLOWED) == [b"websocket"]
    more = request(WISH[0], (b"Upgrade", b"h2c, chat"), (b"upgrade", b"websocket"))
    assert asked_protocols(more, ALLOWED) == [b"chat", b"websocket"]


@pytest.mark.parametrize(
    "asking",
    [
        request(*WISH, version="1.0"),
        request(*WISH, body=True),
        request(*WISH, method="POST"),
        request(WISH[1]),
        request(WISH[0]),
        request((b"Connection", b"upgrade"), (b"Upgrade", b"h2c")),
        request((b"Connection", b"upgraded"), WISH[1]),
    ],
)
def test_no_wish_or_none_that_is_allowed(asking: Request) -> None:
    assert asked_protocols(asking, ALLOWED) == []
    assert asked_protocols(request(*WISH), ()) == []


def test_another_protocol_may_be_asked_for_by_other_methods() -> None:
    assert asked_protocols(request(WISH[0], (b"Upgrade", b"chat"), method="OPTIONS"), ALLOWED) == [b"chat"]


@pytest.mark.parametrize(
    ("headers", "right"),
    [
        ([(b"Connection", b"upgrade"), (b"Upgrade", b"WebSocket")], True),
        ([(b"Connection", b"upgrade")], False),
        ([(b"Upgrade", b"websocket")], False),
        ([(b"Connection", b"upgrade"), (b"Upgrade", b"h2c")], False),
        ([(b"Connection", b"upgrade"), (b"Upgrade", b"websocket, h2c")], False),
        ([(b"Connection", b"upgrade"), (b"Upgrade", b"websocket"), (b"Content-Length", b"0")], False),
        (
            [(b"Connection", b"upgrade"), (b"Upgrade", b"websocket"), (b"Transfer-Encoding", b"chunked")],
            False,
        ),
    ],
)
def test_what_a_server_may_change_to(headers: Headers, right: bool) -> None:
    assert changes_to(headers, [b"websocket"]) is right
