from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lbkit.health import Health, HealthState


def feed(health: Health, results: str) -> str:
    """The states after each result: + passed, - failed."""
    letters = {HealthState.UP: "U", HealthState.DOWN: "D", HealthState.UNKNOWN: "?"}
    states = []
    for now, result in enumerate(results):
        health.observe(result == "+", result, now)
        states.append(letters[health.state])
    return "".join(states)


@pytest.mark.parametrize(
    ("rise", "fall", "results", "states"),
    [
        (2, 3, "+", "U"),
        (2, 3, "-", "D"),
        (2, 3, "+---", "UUUD"),
        (2, 3, "+--+---", "UUUUUUD"),
        (2, 3, "-++", "DDU"),
        (2, 3, "-+-++", "DDDDU"),
        (1, 1, "+-+", "UDU"),
    ],
)
def test_rise_and_fall(rise: int, fall: int, results: str, states: str) -> None:
    assert feed(Health(rise, fall), results) == states


def test_a_server_is_unknown_until_its_first_check() -> None:
    assert Health().state is HealthState.UNKNOWN


def test_reason_and_time_of_the_change() -> None:
    health = Health(fall=2)
    health.observe(True, "fine", 1.0)
    assert not health.observe(False, "refused", 2.0)
    assert health.observe(False, "timeout", 3.0)
    assert (health.reason, health.changed_at) == ("timeout", 3.0)


def test_assume_up() -> None:
    health = Health()
    health.assume_up(5.0)
    assert (health.state, health.changed_at) == (HealthState.UP, 5.0)


@pytest.mark.parametrize(("rise", "fall"), [(0, 1), (1, 0)])
def test_bounds(rise: int, fall: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Health(rise, fall)


@given(st.integers(1, 5), st.integers(1, 5), st.lists(st.booleans(), min_size=1))
def test_a_state_needs_its_streak(rise: int, fall: int, results: list[bool]) -> None:
    """Against a model that looks back over the whole history."""
    health = Health(rise, fall)
    up = results[0]
    for end in range(1, len(results) + 1):
        health.observe(results[end - 1], "", 0)
        need = fall if up else rise
        recent = results[max(1, end - need) : end]
        if end > 1 and len(recent) == need and all(result != up for result in recent):
            up = not up
            results = [*results[: end - 1], up, *results[end:]]
        assert (health.state is HealthState.UP) == up
