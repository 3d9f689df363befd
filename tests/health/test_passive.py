from __future__ import annotations

import pytest

from lbkit.health import ErrorCounter, PassiveRules
from lbkit.server import Outcome

DONE, ERROR, REFUSED = Outcome.DONE, Outcome.ERROR, Outcome.CONNECT_FAILED


@pytest.mark.parametrize(
    ("layer", "outcomes", "reached"),
    [
        ("layer7", [ERROR, ERROR, ERROR], [False, False, True]),
        ("layer7", [ERROR, Outcome.TIMEOUT, REFUSED], [False, False, True]),
        ("layer7", [ERROR, ERROR, DONE, ERROR], [False, False, False, False]),
        ("layer7", [ERROR, ERROR, Outcome.CANCELLED, ERROR], [False, False, False, True]),
        ("layer7", [ERROR] * 7, [False, False, True, False, False, True, False]),
        ("layer4", [ERROR, ERROR, ERROR], [False, False, False]),
        ("layer4", [REFUSED, REFUSED, REFUSED], [False, False, True]),
        ("layer4", [REFUSED, REFUSED, ERROR, REFUSED], [False, False, False, False]),
    ],
)
def test_only_consecutive_errors_of_the_layer_count(layer, outcomes, reached) -> None:  # type: ignore[no-untyped-def]
    counter, rules = ErrorCounter(), PassiveRules(layer, error_limit=3)
    assert [counter.count(outcome, rules) for outcome in outcomes] == reached
