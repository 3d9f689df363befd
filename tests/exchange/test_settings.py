from __future__ import annotations

from lbkit.exchange import HttpSettings


def test_the_timer_is_fine_enough_for_the_shortest_time() -> None:
    assert HttpSettings().tick == 1.0
    assert HttpSettings(keep_alive=0.4).tick == 0.1
    assert HttpSettings(linger=0.0).tick == 0.01
