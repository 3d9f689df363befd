from __future__ import annotations

import pytest

from lbkit.cluster.backoff import Backoff


def test_it_grows_while_the_child_ends_soon() -> None:
    backoff = Backoff(first=0.1, longest=1.0, steady=10)
    assert [backoff.after(0.0) for _ in range(6)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_it_begins_anew_after_a_long_life() -> None:
    backoff = Backoff(first=0.1, longest=1.0, steady=10)
    for _ in range(5):
        backoff.after(0.0)
    assert backoff.after(11.0) == 0.1
    assert backoff.after(1.0) == 0.2
