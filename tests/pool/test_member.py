from __future__ import annotations

import itertools
import math

import pytest

from lbkit.health import Advice, Health
from lbkit.pool import AdminState, Member, Standing
from lbkit.server import Server


def member_of(**options: float) -> Member:
    member = Member(Server("a", "127.0.0.1:1", **options), Health())  # type: ignore[arg-type]
    member.health.observe(True, "fine", 0)
    member.judge(0, ejected=False)
    return member


def test_maintenance_is_stronger_than_health_and_health_than_drain() -> None:
    order = [Standing.MAINT, Standing.DOWN, Standing.DRAIN, Standing.EJECTED, Standing.UP]
    for maint, down, drain, ejected in itertools.product([False, True], repeat=4):
        member = member_of(weight=0 if drain else 1)
        member.admin = AdminState.MAINT if maint else AdminState.READY
        if down:
            for _ in range(3):
                member.health.observe(False, "refused", 1)
        member.judge(1, ejected)
        wanted = [maint, down, drain, ejected, True].index(True)
        assert member.standing is order[wanted]


@pytest.mark.parametrize(
    ("advice", "standing", "weight", "limit"),
    [
        (Advice(percent=50), Standing.UP, 5.0, 100),
        (Advice(percent=33), Standing.UP, 53 / 16, 100),
        (Advice(percent=0), Standing.DRAIN, 0.0, 100),
        (Advice(state="drain"), Standing.DRAIN, 10.0, 100),
        (Advice(state="maint"), Standing.MAINT, 10.0, 100),
        (Advice(up=False), Standing.DOWN, 10.0, 100),
        (Advice(limit=7), Standing.UP, 10.0, 7),
        (Advice(percent=200), Standing.UP, 20.0, 100),
    ],
)
def test_advice(advice: Advice, standing: Standing, weight: float, limit: int) -> None:
    member = member_of(weight=10, max_connections=100)
    member.take(advice)
    member.judge(1, ejected=False)
    assert (member.standing, member.server.effective_weight, member.server.limit) == (standing, weight, limit)


def test_a_small_percentage_leaves_a_little() -> None:
    member = member_of(weight=1)
    member.take(Advice(percent=1))
    member.judge(1, ejected=False)
    assert member.server.effective_weight == 1 / 16


def test_what_an_agent_does_not_mention_stays() -> None:
    member = member_of(weight=10)
    member.take(Advice(percent=50, state="drain"))
    member.take(Advice(up=True))
    member.judge(1, ejected=False)
    assert (member.standing, member.agent_percent) == (Standing.DRAIN, 50)


def test_slow_start_on_weight_and_limit_at_every_return() -> None:
    member = member_of(weight=16, max_connections=32, slow_start=16)
    seen = []
    for now in range(17):
        member.judge(now, ejected=False)
        seen.append((member.server.effective_weight, member.server.limit))
    assert seen == [(float(i), 2 * i) for i in range(1, 17)] + [(16.0, 32)]
    assert member.next_step(16) == math.inf
    member.admin = AdminState.DRAIN
    member.judge(100, ejected=False)
    member.admin = AdminState.READY
    member.judge(200, ejected=False)
    assert member.server.effective_weight == 1
    assert member.next_step(200) == 201


def test_a_reload_keeps_what_was_changed_at_run_time_unless_the_configuration_changed() -> None:
    member = member_of(weight=5, max_connections=10)
    member.server.weight = 9
    member.reconfigure(Server("a", "127.0.0.1:1", weight=5, max_connections=10, backup=True))
    assert (member.server.weight, member.server.backup) == (9, True)
    member.reconfigure(Server("a", "127.0.0.1:1", weight=6, max_connections=20))
    assert (member.server.weight, member.server.max_connections) == (6, 20)
