from __future__ import annotations

from datetime import UTC, datetime

from lbkit.exchange import Trail


def test_only_the_first_end_counts() -> None:
    trail = Trail()
    assert abs((datetime.now(UTC) - trail.time).total_seconds()) < 60
    trail.over()
    first = trail.ended_at
    trail.over()
    assert trail.ended_at == first
    assert 0 <= trail.duration < 60
