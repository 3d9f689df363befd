from __future__ import annotations

from lbkit.balancing import ALGORITHMS
from lbkit.checks import CHECKS
from lbkit.relay import RELAYS
from lbkit.runtime import catalog


def test_everything_that_is_registered_can_be_named() -> None:
    known = catalog()
    assert set(known.algorithms) == set(ALGORITHMS)
    assert set(known.checks) == set(CHECKS)
    assert set(known.relays) == set(RELAYS)
    assert known.algorithms["round_robin"] is ALGORITHMS["round_robin"].options
