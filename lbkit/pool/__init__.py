"""`Pool`: interchangeable servers, what is known of each, and the balancer that picks among them."""

from __future__ import annotations

from lbkit.pool.explain import Explanation
from lbkit.pool.known import Known
from lbkit.pool.member import AdminState, Member, Standing
from lbkit.pool.pool import Change, Pool, make_balancer
from lbkit.pool.queue import Waiter
from lbkit.pool.settings import HealthRules, PoolSettings

__all__ = [
    "AdminState",
    "Change",
    "Explanation",
    "HealthRules",
    "Known",
    "Member",
    "Pool",
    "PoolSettings",
    "Standing",
    "Waiter",
    "make_balancer",
]
