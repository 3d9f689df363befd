from __future__ import annotations

import random
from collections import Counter
from itertools import islice

import pytest

from lbkit.simulation.keys import Keys


def counts(keys: Keys) -> Counter[bytes]:
    return Counter(islice(keys.stream(random.Random(1)), 20_000))


def test_uniform_keys_are_all_as_popular() -> None:
    seen = counts(Keys("uniform", 10))
    assert len(seen) == 10
    assert all(1800 < count < 2200 for count in seen.values())


def test_zipf_keys_follow_their_rank() -> None:
    seen = counts(Keys("zipf", 1000, 1.0))
    assert seen[b"key1"] / seen[b"key2"] == pytest.approx(2, rel=0.1)
    assert seen[b"key1"] / seen[b"key10"] == pytest.approx(10, rel=0.2)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="count: 0"):
        Keys(count=0)
    with pytest.raises(ValueError, match="exponent: -1"):
        Keys(exponent=-1)
