from __future__ import annotations

import pytest

from lbkit.mysql.own_writes import MOST_UNMERGED, OwnWrites
from lbkit.mysql.tokens import PRIMARY_ONLY

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"


def test_it_grows_with_each_write() -> None:
    own = OwnWrites(f"{UUID}:1", now=1.0)
    own.add("", 2.0)
    assert (own.token, own.changed) == (f"{UUID}:1", 1.0)
    own.add(f"{UUID}:2", 3.0)
    own.add(f"{UUID}:4", 4.0)
    assert (own.token, own.changed) == (f"{UUID}:1-2:4", 4.0)


def test_many_writes_that_nobody_asks_about_take_no_memory() -> None:
    own = OwnWrites()
    for number in range(1, 1000):
        own.add(f"{UUID}:{number}", 0.0)
        assert len(own._added) <= MOST_UNMERGED
    assert own.token == f"{UUID}:1-999"


def test_a_write_without_an_id_outweighs_the_others() -> None:
    own = OwnWrites()
    own.add(PRIMARY_ONLY, 0.0)
    assert own.token == PRIMARY_ONLY
    own.add(f"{UUID}:1", 0.0)
    assert own.token == PRIMARY_ONLY


def test_what_comes_from_outside_is_checked() -> None:
    with pytest.raises(ValueError):
        OwnWrites("nonsense")
