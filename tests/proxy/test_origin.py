from __future__ import annotations

from lbkit.proxy.origin import Origin


def test_the_end_is_told_once() -> None:
    ends: list[int] = []
    origin = Origin(("192.0.2.1", 5), None, lambda: ends.append(1))
    origin.ended()
    origin.ended()
    assert ends == [1]
    Origin().ended()
