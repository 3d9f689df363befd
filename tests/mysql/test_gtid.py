from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.mysql.gtid import GtidSet

A = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
B = "4e11fa47-71ca-11e1-9e33-c80aa9429562"

MYSQL_SOURCES = [A, B, f"{A}:deploy", f"{B}:_x1"]
MARIADB_SOURCES = ["0-1", "0-2", "10-1"]

Model = set[tuple[str, int]]


def of_model(model: Model) -> GtidSet:
    return GtidSet({source: [(n, n) for s, n in model if s == source] for source, _ in model})


def models(sources: list[str]) -> st.SearchStrategy[Model]:
    return st.sets(st.tuples(st.sampled_from(sources), st.integers(1, 12)))


def up_to(sources: list[str]) -> st.SearchStrategy[Model]:
    """What MariaDB can write: everything of a source up to a number."""
    heads = st.dictionaries(st.sampled_from(sources), st.integers(1, 12))
    return heads.map(
        lambda found: {(source, n) for source, last in found.items() for n in range(1, last + 1)}
    )


any_model = st.one_of(models(MYSQL_SOURCES), models(MARIADB_SOURCES))


@given(any_model, any_model)
def test_it_agrees_with_plain_sets(one: Model, other: Model) -> None:
    first, second = of_model(one), of_model(other)
    assert (first | second) == of_model(one | other)
    assert (first - second) == of_model(one - other)
    assert (first <= second) == (one <= other)
    assert (first < second) == (one < other)
    assert (first in second) == (one <= other)
    assert first.count == len(one)
    assert bool(first) == bool(one)
    assert (first == second) == (one == other)
    if first == second:
        assert hash(first) == hash(second)


@given(models(MYSQL_SOURCES))
def test_mysql_reads_what_it_writes(model: Model) -> None:
    assert GtidSet.parse(str(of_model(model))) == of_model(model)


@given(up_to(MARIADB_SOURCES))
def test_mariadb_reads_what_it_writes(model: Model) -> None:
    assert GtidSet.parse(str(of_model(model))) == of_model(model)


@given(st.text(alphabet="0123456789abcdef-:, \n_gxG\u0663", max_size=80))
def test_any_text_is_a_set_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        found = GtidSet.parse(text)
        assert GtidSet.parse(str(found)) == found


@pytest.mark.parametrize(
    ("text", "written", "count"),
    [
        ("", "", 0),
        (f"{A}:1-5", f"{A}:1-5", 5),
        (f"{A.upper()}:7", f"{A}:7", 1),
        (f"{A}:1-5:4-9:11,\n{B}:2", f"{A}:1-9:11,{B}:2", 11),
        (f"{A}:1-3:deploy:1-2:5", f"{A}:1-3,{A}:deploy:1-2:5", 6),
        (f"{A.replace('-', '')}:1", f"{A}:1", 1),
        (f"{A}:5-4", "", 0),
        ("0-1-0", "", 0),
        ("0-1-7", "0-1-7", 7),
        ("0-1-7,0-2-9", "0-1-7,0-2-9", 16),
        ("12345678-1-7", "12345678-1-7", 7),
    ],
)
def test_what_servers_write(text: str, written: str, count: int) -> None:
    assert str(GtidSet.parse(text)) == written
    assert GtidSet.parse(text).count == count


@pytest.mark.parametrize(
    "text",
    ["x", A, f"{A}:", f"{A}:0", f"{A}:0-3", f"{A}:1-", f"{A}:9tag:1", "0-1", "1-2-3-4", f"0-1-{2**64}",
     f"{A}:{'9' * 21}", f"{A}:{'t' * 33}:1", "0-1-\u0663"],
)  # fmt: skip
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="global transaction id|neither a tag|numbers are"):
        GtidSet.parse(text)


def test_an_old_primary_that_went_its_own_way() -> None:
    """The same number in the same domain, of two servers, is two transactions."""
    old, new = GtidSet.parse("0-1-101"), GtidSet.parse("0-1-100,0-2-150")
    assert not old <= new
    assert str(old - new) == "0-1-101"
    assert (old - new).count == 1


def test_text_is_looked_for_directly() -> None:
    found = GtidSet.parse(f"{A}:1-9")
    assert f"{A}:3-4" in found
    assert f"{A}:10" not in found
    assert repr(found) == f"GtidSet('{A}:1-9')"
    assert found.sources == {A: ((1, 9),)}
