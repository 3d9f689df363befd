from __future__ import annotations

import pytest

from lbkit.mysql.observation import GroupMember, Link, Observation, Reach
from lbkit.server import Address


@pytest.mark.parametrize(
    ("states", "majority"),
    [
        ([], True),
        (["ONLINE", "ONLINE", "ONLINE"], True),
        (["ONLINE", "ONLINE", "UNREACHABLE"], True),
        (["ONLINE", "UNREACHABLE", "UNREACHABLE"], False),
        (["ONLINE", "UNREACHABLE"], False),
        (["ERROR", "ONLINE", "ONLINE"], False),
    ],
)
def test_a_member_counts_only_in_the_majority(states: list[str], majority: bool) -> None:
    """The first member is the one that speaks; alone it still calls itself ONLINE and PRIMARY."""
    group = tuple(GroupMember(str(n), state, "PRIMARY") for n, state in enumerate(states))
    assert Observation("db", uuid="0", group=group).in_majority is majority


def test_a_link_runs_when_it_receives_and_applies() -> None:
    assert Link(Address("db", 1), True, True).running
    assert not Link(Address("db", 1), True, False).running
    assert not Link(Address("db", 1), False, True).running


def test_lag() -> None:
    link = Link(Address("db", 1), True, True, lag=3.0)
    assert Observation("db", link=link).lag == 3.0
    assert Observation("db", link=Link(Address("db", 1), True, False, lag=3.0)).lag is None
    assert Observation("db", writable=True).lag == 0.0
    assert Observation("db", group_lag=1.5).lag == 1.5
    assert Observation("db").lag is None


def test_only_an_answer_is_an_answer() -> None:
    assert [reach for reach in Reach if Observation("db", reach).answers] == [Reach.ANSWERS]
