from __future__ import annotations

from lbkit.firewall.bans import Bans


def offend(bans: Bans, client: int, *times: float) -> list[bool]:
    """After each offence: whether the client is banned."""
    found = []
    for now in times:
        bans.offended(client, now)
        found.append(bans.left(client, now) > 0)
    return found


def test_so_many_offences_within_the_window_ban_for_a_time() -> None:
    bans = Bans(3, window=10, time=60, capacity=10)
    assert offend(bans, 1, 0, 5, 9) == [False, False, True]
    assert bans.left(1, 10.0) == 59
    assert bans.left(1, 69.0) == 0
    assert bans.left(2, 10.0) == 0
    assert bans.given == 1


def test_a_window_begins_with_the_first_offence() -> None:
    bans = Bans(3, window=10, time=60, capacity=10)
    assert offend(bans, 1, 0, 9, 10, 11, 12) == [False, False, False, False, True]


def test_after_a_ban_it_begins_anew() -> None:
    bans = Bans(2, window=1000, time=5, capacity=10)
    assert offend(bans, 1, 0, 1) == [False, True]
    assert offend(bans, 1, 7, 8) == [False, True]
    assert bans.given == 2


def test_a_full_table_frees_nobody_and_bans_nobody_else() -> None:
    bans = Bans(1, window=10, time=60, capacity=2)
    for client in (1, 2):
        assert offend(bans, client, 0) == [True]
    assert not any(offend(bans, stranger, 1.0)[0] for stranger in range(10, 100))
    assert bans.left(1, 1.0) == bans.left(2, 1.0) == 59
    assert bans.given == 2
    assert offend(bans, 3, 61) == [True], "when a ban is over there is a place again"


def test_resizing() -> None:
    bans = Bans(1, window=10, time=60, capacity=2)
    offend(bans, 1, 0)
    bans.resize(1, 1.0)
    assert bans.left(1, 1.0) == 59
