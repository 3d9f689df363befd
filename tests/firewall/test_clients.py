from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lbkit.firewall.clients import ClientTable


def table(capacity: int) -> ClientTable[float]:
    """Values are when they are over."""
    return ClientTable(capacity, lambda until, now: until <= now)


def test_what_was_put_is_there() -> None:
    known = table(2)
    assert known.put(1, 5.0, 0.0)
    assert known.put(1, 6.0, 0.0)
    assert (known.get(1), known.get(2), len(known), 1 in known) == (6.0, None, 1, True)


def test_nobody_whose_value_counts_is_driven_out() -> None:
    known = table(3)
    for client in range(3):
        assert known.put(client, 10.0, 0.0)
    assert not any(known.put(stranger, 99.0, 9.0) for stranger in range(100, 200))
    assert [known.get(client) for client in range(3)] == [10.0] * 3
    assert known.put(0, 11.0, 9.0), "who is known stays known"


def test_who_is_over_makes_place() -> None:
    known = table(3)
    for client, until in ((1, 10.0), (2, 3.0), (3, 10.0)):
        known.put(client, until, 0.0)
    assert known.put(4, 10.0, 5.0)
    assert (known.get(2), known.get(4)) == (None, 10.0)


def test_the_hand_gets_round_a_large_table() -> None:
    known = table(1000)
    for client in range(1000):
        known.put(client, 1.0 if client == 999 else 100.0, 0.0)
    tries = sum(not known.put(5000, 9.0, 2.0) for _ in range(70))
    assert 5000 in known, "some tries later"
    assert tries <= 1000 / 16


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 30)), max_size=300), st.integers(1, 8))
def test_it_never_grows_over_its_places(puts: list[tuple[int, int]], capacity: int) -> None:
    known = table(capacity)
    for now, (client, lasts) in enumerate(puts):
        held = {c for c in range(51) if (known.get(c) or 0) > now}
        if known.put(client, float(now + lasts), float(now)):
            assert known.get(client) == now + lasts
        assert len(known) <= capacity
        assert all(c in known for c in held)


def test_resizing_keeps_what_counts() -> None:
    known = table(6)
    for client in range(6):
        known.put(client, 1.0 if client < 2 else 9.0, 0.0)
    known.resize(3, 5.0)
    assert [client for client in range(6) if client in known] == [3, 4, 5]
    assert not known.put(7, 9.0, 5.0)
    known.resize(4, 5.0)
    assert known.put(7, 9.0, 5.0)
    assert len(known) == 4
