from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lbkit.checks.one_primary import OnePrimary
from lbkit.server import Address

ONE, TWO, THREE = (Address("10.0.0.1", port) for port in (1, 2, 3))


def test_the_first_one_stays_until_it_takes_none() -> None:
    one = OnePrimary()
    assert one.admits(ONE) is None
    assert one.admits(TWO) == ONE
    assert one.admits(ONE) is None
    one.takes_none(TWO)
    assert one.admits(TWO) == ONE
    one.takes_none(ONE)  # a switchover
    assert one.admits(TWO) is None
    assert one.admits(ONE) == TWO


def test_one_silence_is_forgiven_and_two_are_not() -> None:
    one = OnePrimary()
    one.admits(ONE)
    one.silent(ONE)
    assert one.admits(TWO) == ONE
    one.admits(ONE)
    one.silent(TWO)
    one.silent(ONE)
    assert one.admits(TWO) == ONE
    one.silent(ONE)
    assert one.admits(TWO) is None
    assert one.admits(ONE) == TWO  # it goes on, and has been replaced


def test_one_that_was_taken_away_is_in_nobodys_way() -> None:
    one = OnePrimary()
    one.admits(ONE)
    one.keep({ONE, TWO})
    assert one.admits(TWO) == ONE
    one.keep({TWO})
    assert one.admits(TWO) is None


class OnePrimaryMachine(RuleBasedStateMachine):
    """At most one is admitted by its last check, whatever happens."""

    def __init__(self) -> None:
        super().__init__()
        self.one = OnePrimary()
        self.passed: dict[Address, bool] = {}
        self.silences: dict[Address, int] = {}

    @rule(address=st.sampled_from([ONE, TWO, THREE]))
    def takes_writes(self, address: Address) -> None:
        self.passed[address] = self.one.admits(address) is None
        self.silences[address] = 0

    @rule(address=st.sampled_from([ONE, TWO, THREE]))
    def takes_none(self, address: Address) -> None:
        self.one.takes_none(address)
        self.passed[address] = False

    @rule(address=st.sampled_from([ONE, TWO, THREE]))
    def says_nothing(self, address: Address) -> None:
        self.one.silent(address)
        self.silences[address] = self.silences.get(address, 0) + 1
        if self.silences[address] >= 2:
            self.passed[address] = False

    @invariant()
    def one_at_most_passes(self) -> None:
        assert sum(self.passed.values()) <= 1


TestOnePrimaryMachine = OnePrimaryMachine.TestCase
