from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.firewall.buckets import SHARED, Buckets
from lbkit.firewall.rate import Rate


def buckets(text: str, capacity: int = 10) -> Buckets:
    return Buckets(Rate.parse(text), capacity, 7)


def test_a_burst_then_the_rate() -> None:
    some = buckets("10/s burst 3")
    assert [some.take(1, 0.0) == 0 for _ in range(4)] == [True, True, True, False]
    assert some.take(1, 0.05) == pytest.approx(0.05)
    assert some.take(1, 0.1) == 0
    assert some.take(1, 0.1) > 0
    assert [some.take(1, 100.0) == 0 for _ in range(4)] == [True, True, True, False]


def test_clients_do_not_share() -> None:
    some = buckets("1/h")
    assert [some.take(client, 0.0) for client in range(5)] == [0.0] * 5
    assert some.take(1, 1.0) == pytest.approx(3599)


@given(st.lists(st.floats(0, 0.3), max_size=200), st.integers(1, 20), st.integers(1, 5))
def test_it_is_a_token_bucket(pauses: list[float], count: int, burst: int) -> None:
    some = buckets(f"{count}/s burst {burst}")
    tokens, now = float(burst), 0.0
    for pause in pauses:
        now += pause
        tokens = min(burst, tokens + pause * count)
        if abs(tokens - 1) < 1e-6:  # where rounding decides
            return
        assert (some.take(1, now) == 0) is (tokens >= 1)
        tokens -= tokens >= 1


def test_when_the_table_is_full_the_limit_holds_for_everybody() -> None:
    some = buckets("10/s burst 10", capacity=5)
    for client in range(5):
        for _ in range(10):
            assert some.take(client, 0.0) == 0
    served = [sum(some.take(stranger, 0.0) == 0 for _ in range(50)) for stranger in range(100, 110)]
    assert max(served) <= 10
    assert sum(served) > 50, "strangers that share nothing with others have what everybody has"
    assert all(stranger not in some for stranger in range(100, 110))
    assert some.take(0, 0.0) > 0, "and nobody got rid of what he had used"


def test_a_flood_of_addresses_is_limited_as_a_whole() -> None:
    some = buckets("1/s burst 1", capacity=10)
    served = sum(some.take(client, 0.0) == 0 for client in range(100_000))
    assert served <= 10 + SHARED
    assert len(some) == 10


def test_another_rate_forgets_nothing() -> None:
    some = buckets("1/h burst 2")
    assert [some.take(1, 0.0) for _ in range(2)] == [0.0, 0.0]
    some.change(Rate.parse("1/s burst 2"), 1, 0.0)
    assert some.take(1, 0.0) == pytest.approx(1)
    some.change(Rate.parse("1/m burst 4"), 1, 0.0)
    assert [some.take(1, 0.0) == 0 for _ in range(3)] == [True, True, False]
    some.change(Rate.parse("1/m burst 1"), 1, 0.0)
    assert some.take(1, 0.0) == pytest.approx(60), "more than all cannot be missing"
