from __future__ import annotations

from benchmarks.soak import Soak, soak


def test_fifty_thousand_requests_of_every_kind_and_memory_is_flat() -> None:
    told: list[str] = []
    done = soak(50_000, told.append)
    assert done.requests >= 50_000
    assert done.failures == {}
    assert done.is_good, done.sizes
    assert len(told) == 49 and told[-1].endswith(" MiB")


def test_what_is_not_good() -> None:
    steady = [70 << 20] * 20
    assert Soak(sizes=steady).is_good
    assert not Soak(sizes=[*steady, 73 << 20]).is_good
    assert Soak(sizes=[50 << 20, *steady]).is_good, "the first tenth may grow"
    failed = Soak(sizes=steady)
    failed.failures["hello"] += 1
    assert not failed.is_good
