from __future__ import annotations

import pytest

from lbkit.runtime.messages import (
    Drain,
    Draining,
    Failed,
    ListenerCount,
    Members,
    Message,
    PoolCount,
    Ready,
    Report,
    Result,
    Results,
    ServerCount,
    Setup,
    Sockets,
    Stop,
    Suspect,
    decode,
    encode,
)
from tests.support.servers import make_pool, make_servers


def every_kind() -> list[Message]:
    known = make_pool(*make_servers(1, 2), rise=2, fall=3).known(5.0)
    return [
        Setup(3, "[listeners]\n", b"/caf\xe9", 1, 2, {"p": known}, True),
        Setup(3, "", None, 2, 2, {}, False, [(b"/caf\xe9/bad.txt", "192.0.2.0/24\n")]),
        Setup(3, "", None, 1, 2, {}, True, [], [(b"/caf\xe9.pem", b"-----BEGIN\xff")]),
        Sockets(["web", 'my "web"\n']),
        Results([Result("p", "a", "127.0.0.1:1", False, "connection refused", False, True)]),
        Members("p", known),
        Drain(),
        Stop(),
        Ready(3),
        Failed("no"),
        Suspect("p", "a"),
        Report(
            1,
            {"web": ListenerCount(1, {"sessions": 2}, {"2xx": 3})},
            {"p": PoolCount(1, 0, {"queued": 0}, {"a": ServerCount("a:1", "up", 1, {"picks": 2})})},
        ),
        Draining(7),
    ]


@pytest.mark.parametrize("message", every_kind(), ids=lambda message: type(message).__name__)
def test_what_is_said_is_what_is_heard(message: Message) -> None:
    assert decode(encode(message)) == message
