from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lbkit.proxy.wheel import Wheel


def test_things_come_when_they_are_due_and_once() -> None:
    wheel: Wheel[str] = Wheel(0.1)
    wheel.add("soon", 10.05)
    wheel.add("later", 10.5)
    assert wheel.take(10.0) == []
    assert wheel.take(10.15) == ["soon"]
    assert wheel.take(10.45) == []
    assert wheel.take(11.0) == ["later"]
    assert wheel.take(99.0) == []


def test_what_is_discarded_does_not_come() -> None:
    wheel: Wheel[str] = Wheel(0.1)
    slot = wheel.add("gone", 1.0)
    wheel.add("here", 1.0)
    slot.discard("gone")
    assert wheel.take(2.0) == ["here"]


def test_what_is_overdue_comes_with_the_next_step() -> None:
    wheel: Wheel[str] = Wheel(0.1)
    assert wheel.take(5.0) == []
    wheel.add("late", 1.0)
    assert wheel.take(5.0) == []
    assert wheel.take(5.15) == ["late"]


def test_adding_while_taking() -> None:
    wheel: Wheel[int] = Wheel(0.1)
    wheel.add(0, 1.0)
    seen = []
    for now in (1.0, 1.2, 1.4):
        for number in wheel.take(now):
            seen.append(number)
            wheel.add(number + 1, now + 0.1)
    assert seen == [0, 1, 2]


@given(
    st.lists(st.floats(0, 1000), max_size=40),
    st.lists(st.floats(0, 1100), min_size=1, max_size=20).map(sorted),
    st.sampled_from([0.1, 1.0, 7.0]),
)
def test_never_early_and_at_most_a_step_late(dues: list[float], looks: list[float], step: float) -> None:
    wheel: Wheel[int] = Wheel(step)
    for number, due in enumerate(dues):
        wheel.add(number, due)
    waiting = set(range(len(dues)))
    for now in looks:
        for number in wheel.take(now):
            assert dues[number] <= now + 1e-9
            waiting.remove(number)
        assert all(dues[number] > now - step - 1e-9 for number in waiting)
