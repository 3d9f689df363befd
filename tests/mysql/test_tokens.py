from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.mysql.gtid import GtidSet
from lbkit.mysql.tokens import LONGEST, MOST_ADDED, PRIMARY_ONLY, Held, checked, merged

A = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
B = "11111111-2222-3333-4444-555555555555"


def test_mysqls_tokens_are_put_together() -> None:
    assert merged(f"{A}:1", f"{A}:2", f"{B}:7") == f"{B}:7,{A}:1-2"
    assert merged("", f"{A}:1", "") == f"{A}:1"
    assert merged() == ""


def test_mariadbs_last_number_of_a_domain_stands_for_all() -> None:
    assert merged("0-1-5", "0-2-7", "0-1-6", "3-1-1") == "0-2-7,3-1-1"


def test_after_a_write_without_an_id_only_the_primary_will_do() -> None:
    assert merged(f"{A}:1", PRIMARY_ONLY) == PRIMARY_ONLY
    assert checked(PRIMARY_ONLY) == PRIMARY_ONLY


def test_two_flavours_at_once_are_for_the_primary() -> None:
    assert merged(f"{A}:1", "0-1-5") == PRIMARY_ONLY


@pytest.mark.parametrize(
    "text", ["nonsense", f"{A}", "0-1", "'; DROP TABLE x", f"{A}:1" * 100, "x" * (LONGEST + 1)]
)
def test_what_is_no_token(text: str) -> None:
    with pytest.raises(ValueError):
        checked(text)


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=60))
def test_a_token_stays_short_and_names_every_write(numbers: list[int]) -> None:
    token = ""
    for number in numbers:
        token = merged(token, f"{A}:{number}")
    assert len(token) <= LONGEST
    assert checked(token) == token
    assert all(f"{A}:{number}" in GtidSet.parse(token) for number in numbers)


def test_what_would_be_too_long_to_come_back_is_for_the_primary() -> None:
    sources = [f"{digit}" * 8 + A[8:] for digit in range(1, 7)]
    runs = ":".join(f"{number}-{number + 10**12}" for number in range(10**15, 9 * 10**15, 10**15))
    assert merged(f"{A}:1", *(f"{source}:{runs}" for source in sources[:5])) == PRIMARY_ONLY
    assert checked(merged(*(f"{source}:5" for source in sources))) != PRIMARY_ONLY


def test_what_a_server_has_told_is_remembered() -> None:
    held = Held()
    for number in (1, 2, 5):
        held.add(f"{A}:{number}")
    assert f"{A}:1-2:5" in held
    assert f"{A}:3" not in held  # somebody else's, as far as is known
    assert f"{B}:1" not in held
    held.add(PRIMARY_ONLY)
    assert PRIMARY_ONLY not in held
    mariadb = Held()
    mariadb.add("0-1-57")
    assert "0-1-56" in mariadb and "0-2-56" not in mariadb


def test_what_is_remembered_is_bounded() -> None:
    held = Held()
    for number in range(1, 10_000, 2):
        held.add(f"{A}:{number}")
        if number % 101 == 0:
            assert f"{A}:{number}" in held
    assert f"{A}:1" not in held
    assert f"{A}:9999" in held
    assert len(held._set.sources[A]) <= MOST_ADDED
