from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lbkit.mysql.lease import MARGIN, Lease


def test_nothing_is_held_before_it_is_granted() -> None:
    assert not Lease().held(0.0)


def test_it_counts_from_when_the_request_was_sent() -> None:
    lease = Lease()
    lease.granted(sent=10.0, ttl=5)
    assert lease.held(13.9)
    assert not lease.held(14.0)
    lease.granted(sent=12.0, ttl=5)
    assert lease.held(15.9)
    assert not lease.held(16.0)


def test_a_late_answer_takes_nothing_away() -> None:
    lease = Lease()
    lease.granted(sent=12.0, ttl=5)
    lease.granted(sent=10.0, ttl=5)
    assert lease.held(15.9)


def test_gone_is_gone_at_once() -> None:
    lease = Lease()
    lease.granted(sent=10.0, ttl=5)
    lease.granted(sent=11.0, ttl=0)
    assert not lease.held(11.1)


@given(
    st.lists(st.tuples(st.floats(0.01, 3), st.floats(0, 3)), min_size=1, max_size=20),
    st.integers(1, 60),
    st.floats(0.9, 1.1),
)
def test_what_is_held_here_has_not_run_out_there(
    steps: list[tuple[float, float]], ttl: int, pace: float
) -> None:
    """Whatever the way of a request takes, and with a clock there that goes up to a tenth faster or slower."""
    lease, now, ends_there = Lease(), 0.0, 0.0
    for pause, way in steps:
        now += pause
        if now + way > ends_there > 0:
            break  # it would come too late, and etcd would say so
        ends_there = now + way + ttl / pace
        lease.granted(now, ttl)
        assert lease.until <= ends_there
    assert lease.until <= now + ttl * (1 - MARGIN)
