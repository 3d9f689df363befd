from __future__ import annotations

import math
import random
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.simulation.record import Histogram, Recorder, Window


def histogram(values: list[float]) -> Histogram:
    made = Histogram()
    made.fold(array("f", values))
    return made


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=300), st.floats(0, 1))
def test_percentiles_are_within_half_a_bucket(values: list[float], part: float) -> None:
    made = histogram(values)
    exact = sorted(values)[max(1, math.ceil(part * len(values) - 1e-9)) - 1]
    assert made.percentile(part) == pytest.approx(exact, rel=0.00055)
    assert made.mean == pytest.approx(sum(values) / len(values), rel=1e-6)
    assert made.highest == pytest.approx(max(values), rel=1e-6)
    assert made.count == len(values)


def test_folding_in_pieces_is_the_same_as_at_once() -> None:
    rng = random.Random(1)
    values = [rng.expovariate(10) for _ in range(1000)]
    pieces, other = histogram(values[:300]), histogram(values[300:])
    pieces.merge(other)
    whole = histogram(values)
    assert pieces.buckets == whole.buckets
    assert pieces.percentiles([0.5, 0.99]) == whole.percentiles([0.5, 0.99])


def test_wider_buckets() -> None:
    rng = random.Random(1)
    values = [rng.expovariate(10) for _ in range(1000)]
    fine, wide = histogram(values), histogram(values)
    wide.widen(17)
    wide.widen(15)  # no way back
    assert len(wide.buckets) < len(fine.buckets) / 2
    assert wide.percentile(0.9) == pytest.approx(fine.percentile(0.9), rel=0.009)
    both = histogram(values)
    both.merge(wide)
    wide.merge(fine)
    assert both.buckets == wide.buckets
    assert both.count == 2000


def test_an_empty_one_knows_nothing() -> None:
    empty = histogram([])
    assert math.isnan(empty.mean)
    assert math.isnan(empty.percentile(0.5))
    assert empty.exceeded() == []


def test_zero_is_zero() -> None:
    assert histogram([0.0, 0.0]).percentile(0.99) == 0


def test_the_tail() -> None:
    points = histogram([1.0, 1.0, 1.0, 2.0]).exceeded()
    assert [part for _, part in points] == [0.25, 0.0]
    assert [seconds for seconds, _ in points] == pytest.approx([1, 2], rel=0.001)


def test_windows_do_not_share_their_records() -> None:
    one, two = Window(0, 1), Window(1, 2)
    one.latency.fold(array("f", [1.0]))
    assert two.latency.count == 0


def test_a_recorder_puts_everything_into_one_window() -> None:
    record = Recorder()
    record.open_window(0.0, 1.0)
    record.counted = 3
    record.buffer.extend([0.1, 0.2])
    record.fail("timeout", 1.0)
    record.close_window(1.0, [1, 2])
    record.open_window(1.0, 2.0)
    record.counted = 4
    record.buffer.append(0.3)
    record.close_window(2.5, [0, 0])
    assert [(window.start, window.end) for window in record.windows] == [(0, 1), (1, 2.5)]
    assert [(window.arrivals, window.errors, window.latency.count) for window in record.windows] == [
        (3, 1, 2),
        (1, 0, 1),
    ]
    assert (record.latency.count, record.failed.count, record.errors) == (3, 1, {"timeout": 1})
    assert list(record.windows[0].loads) == [1, 2]
