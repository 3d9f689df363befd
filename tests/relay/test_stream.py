from __future__ import annotations

from lbkit.relay.stream import StreamRelay


def test_it_works_everywhere() -> None:
    assert StreamRelay.unsupported() is None
